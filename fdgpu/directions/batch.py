"""A batch of classes that are ready to be solved, on any device: what every backend gives to the procedure.

Labels come as a *label matrix* (P, N): +1 right, -1 wrong, 0 takes no part. Each of its P rows is a labelling of all N
samples of the batch, and so a problem for each of its K classes at once: folds, permutations, resamples and failure
modes of many classes are one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.kernels.label_matrix_numba import assign_folds_of_matrix

Labels = NDArray[np.int8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Classes = Sequence[int] | None  # indices of the classes in the batch that a call is limited to; None for all

SCORE_ROUNDING = 1e-12  # two scores closer than this are a tie, which the smaller C wins


@dataclass(frozen=True)
class Layout:
    """Which samples of a batch belong to which class: K classes one after the other, N samples in all."""

    sizes: tuple[int, ...]
    right: NDArray[np.bool_]  # (N,)

    @classmethod
    def of(cls, classes: Sequence[ClassSamples]) -> Layout:
        """Lay classes out in their order."""
        return cls(tuple(one.n for one in classes), np.concatenate([one.right for one in classes]))

    @cached_property
    def starts(self) -> Ints:
        """(K,) index of each class's first sample."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @cached_property
    def class_of(self) -> Ints:
        """(N,) class of each sample."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def labels(self) -> Labels:
        """(1, N) the label matrix of what the model got right and wrong."""
        return np.where(self.right, 1, -1).astype(np.int8)[None]

    @cached_property
    def n_errors(self) -> Ints:
        """(K,) wrong samples of each class."""
        return self.count(~self.right)

    def rows(self, k: int) -> slice:
        """Return the samples of class ``k``."""
        return slice(int(self.starts[k]), int(self.starts[k]) + self.sizes[k])

    def total(self, values: Floats) -> Floats:
        """Sum (…, N) over each class: (…, K)."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1))

    def count(self, chosen: NDArray[np.bool_]) -> Ints:
        """Count the True of (…, N) in each class: (…, K)."""
        return np.asarray(np.add.reduceat(chosen.astype(np.int64), self.starts, axis=-1))


@dataclass(frozen=True)
class Duals:
    """P labellings of K classes, solved: dual ``a`` (P, N); ``intercept``, ``violation`` and ``n_iter`` (P, K).

    ``on_device`` is the same as a backend keeps it where it was computed, so that it need not go up again.
    """

    a: Floats
    intercept: Floats
    violation: Floats
    n_iter: Ints
    on_device: object = None


@dataclass(frozen=True)
class Direction:
    """One direction of one class: ``w`` (d,) and intercept, the score (c,) of every C, and the index of the chosen one.

    ``n_errors`` belong to it; ``n_iter`` and ``violation`` say how the solver ended. ``resampled`` (B, d) are the w of
    resamples; None where none were drawn.
    """

    w: Floats
    intercept: float
    C_index: int
    cv_scores: Floats
    n_errors: int
    n_iter: int
    violation: float
    resampled: NDArray[np.float32] | None = None

    @property
    def cv_score(self) -> float:
        """Mean balanced accuracy over the folds at the chosen C."""
        return float(self.cv_scores[self.C_index])

    @property
    def strength(self) -> float:
        """The errors that it explains beyond chance: a small mode that is separated cleanly is not the strongest."""
        return self.n_errors * (2 * self.cv_score - 1)


def directions_of(
    coef: Floats, intercept: Floats, C_index: Ints, cv_scores: Floats, n_errors: Ints, n_iter: Ints, violation: Floats
) -> list[Direction]:
    """Return a direction of each of K classes, from (K, d), (K,), (K,), (K, c), (K,), (K,) and (K,)."""
    columns = (intercept, C_index, n_errors, n_iter, violation)
    return [
        Direction(w, float(b), int(index), scores, int(errors), int(steps), float(gap))
        for w, scores, b, index, errors, steps, gap in zip(coef, cv_scores, *columns, strict=True)
    ]


class ClassBatch(Protocol):
    """K classes whose embeddings (and Gram matrices, where they fit) are held."""

    layout: Layout
    solver: Solver

    def paper_directions(self) -> list[Direction]:
        """Fit the paper's one SVM a class: choose C by cross-validation, then fit all samples with it (2.1)."""
        labels = self.layout.labels
        by_fold, cv_violation = self.cross_validate(labels)
        scores = by_fold.mean(axis=2)
        C_index = choose_costs(scores)
        duals = self.fit(labels, C_index)
        violation = np.maximum(cv_violation, duals.violation)
        return directions_of(
            self.coef(duals)[0], duals.intercept[0], C_index[0], scores[0], self.layout.n_errors, duals.n_iter[0],
            violation[0],
        )  # fmt: skip

    def cross_validate(self, labels: Labels, classes: Classes = None) -> tuple[Floats, Floats]:
        """Return held-out balanced accuracies (P, K, cv, c) and the largest violation (P, K); NaN where not asked."""
        ...

    def fit(self, labels: Labels, C_index: Ints, classes: Classes = None) -> Duals:
        """Fit each labelling and class with the C at ``C_index`` (P, K) of the grid."""
        ...

    def decide(self, duals: Duals) -> Floats:
        """Return w·x + b of all samples, (P, N)."""
        ...

    def coef(self, duals: Duals) -> Floats:
        """Return w (P, K, d)."""
        ...


class SolverBackend(Protocol):
    """Opens classes in the order they come, holding only as many of them at once as its memory allows."""

    name: str

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> Iterator[ClassBatch]:
        """Yield batches; raise before the first one if a class cannot be solved at all."""
        ...


def in_batches(
    classes: Sequence[ClassSamples], size_of: Callable[[ClassSamples], int], capacity: int, largest: int
) -> Iterator[list[ClassSamples]]:
    """Yield classes in order, as many at once as ``capacity`` bytes hold, and one at least.

    A class of more than ``largest`` samples, which has to be solved in another way, comes alone.
    """
    batch: list[ClassSamples] = []
    held = 0
    for one in classes:
        size, alone = size_of(one), one.n > largest
        if batch and (alone or held + size > capacity):
            yield batch
            batch, held = [], 0
        if alone:
            yield [one]
            continue
        batch.append(one)
        held += size
    if batch:
        yield batch


# --- folds, and the choice of C by the scores on them ---------------------------------------------------------------


def assign_folds(labels: Labels, sizes: Sequence[int], cv: int) -> NDArray[np.int16]:
    """Assign folds class by class as ``StratifiedKFold(cv)`` without shuffling does; -1 where the label is 0.

    Args:
        labels: (P, N) label matrix, the classes one after the other.
        sizes: samples of each class.
        cv: number of folds; no class has fewer of either label.

    Returns:
        (P, N) fold of each sample.
    """
    folds = np.empty(labels.shape, np.int16)
    assign_folds_of_matrix(np.ascontiguousarray(labels), np.asarray(sizes, np.int64), cv, folds)
    return folds


def choose_costs(scores: Floats, slack: Floats | float = 0.0) -> Ints:
    """Return the index of the smallest C whose score is the best, or within ``slack`` of it.

    Args:
        scores: (…, c); NaN where nothing was scored, for which the index is 0.
        slack: (…, 1) or a number.
    """
    best = scores.max(axis=-1, keepdims=True)
    return np.asarray(np.argmax(scores >= best - slack - SCORE_ROUNDING, axis=-1), np.int64)


def standard_error(scores: Floats, n_right: Ints, n_wrong: Ints) -> Floats:
    """Return the binomial standard error of the best mean balanced accuracy.

    Args:
        scores: (…, c) means over the folds.
        n_right: (…) right samples, each held out once.
        n_wrong: (…) wrong samples.

    Returns:
        (…, 1).
    """
    best = scores.max(axis=-1)
    counts = 1 / np.maximum(1, n_right) + 1 / np.maximum(1, n_wrong)
    return np.asarray(np.sqrt(best * (1 - best) * counts / 4)[..., None])
