"""A batch of classes that are ready to be solved, on any device: what every backend gives to the procedure.

Labels come as a *label matrix* (P, N): +1 right, -1 wrong, 0 takes no part. Each of its P rows is a labelling of all N
samples of the batch, and so a problem for each of its K classes at once: folds, permutations, resamples and failure
modes of many classes are one call.

Everything is a tensor on the batch's device, and stays there: nothing here waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.device import Choice, out_of_memory
from fdgpu.directions.labellings import Classes, Layout, Tensor, permuted_labels
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.kernels.folds import assign_folds
from fdgpu.progress import Reporter

T = TypeVar("T")
R = TypeVar("R", covariant=True)

PERMUTED_BYTES = {"cpu": 4, "cuda": 64}  # a label, with what it is drawn and its fold assigned with
SCORED_BYTES = 24  # a class, fold and C: the recall of both kinds, and their mean
SCORE_ROUNDING = 1e-12  # two scores closer than this are a tie, which the smaller C wins


class Duals(NamedTuple):
    """P labellings of K classes, solved: dual ``a`` (P, N); ``intercept``, ``violation`` and ``n_iter`` (P, K).

    ``decisions`` (P, N) are w·x + b, where the solver has them anyway.
    """

    a: Tensor
    intercept: Tensor
    violation: Tensor
    n_iter: Tensor
    decisions: Tensor | None = None


A = TypeVar("A", torch.Tensor, NDArray[np.float64])


class Directions(NamedTuple, Generic[A]):
    """R directions of each of K classes, on the device, or as float64 on the host.

    ``coef`` (R, K, d) are w, ``cv_scores`` (R, K, c) the score of every C, the others (R, K): ``intercept``, the index
    ``C_index`` of the chosen C, the ``n_errors`` that belong to a direction, how the solver ended, and the
    ``statistic`` with which permutations are compared. ``shift`` (R, K, d) and the last four are of the latent method
    alone, see :class:`fdgpu.directions.fit.Fit`: ``explained`` is (R, K, 3), and a SVM's shift (R, K, 0), being w.
    """

    coef: A
    intercept: A
    C_index: A
    cv_scores: A
    n_errors: A
    n_iter: A
    violation: A
    statistic: A
    shift: A
    loss_weight: A
    loss_intercept: A
    share: A
    explained: A

    @classmethod
    def of_svms(cls, *found: Tensor) -> Directions[Tensor]:
        """Add to the fields before ``statistic`` what a SVM has there: its score, and nothing of the latent method."""
        intercept, C_index, cv_scores = found[1], found[2], found[3]
        statistic = cv_scores.take_along_dim(C_index[..., None], dim=2)[..., 0]
        nothing = torch.zeros_like(intercept, dtype=torch.float64)
        unknown = torch.full_like(nothing, torch.nan)
        return Directions[
            Tensor
        ](
            *found,
            statistic,  # type: ignore[call-arg]  # seven of them are in ``found``
            found[0][..., :0],  # nothing beside w
            nothing,
            nothing,
            unknown,
            unknown[..., None].expand(*unknown.shape, 3),
        )


class ClassBatch(Protocol):
    """K classes whose embeddings (and Gram matrices, where they fit) are held, by any method."""

    layout: Layout
    solver: Solver
    settings: SolverSettings

    def one_direction(self) -> Directions[Tensor]:
        """Find one direction a class."""
        ...

    def null_statistics(self, seed: int, first: int, count: int, classes: Classes = None) -> Tensor:
        """Permute answers within each class, and repeat what gave the ``statistic``: (count, K)."""
        ...

    @property
    def permutation_bytes(self) -> int:
        """What one permutation of the batch takes."""
        ...

    def refit(self, labels: Tensor, C_index: Tensor, classes: Classes = None) -> Tensor:
        """Fit B resamples of r label matrices (r, B, N) at the chosen C (r, K): w (r, B, K, d)."""
        ...

    def nested_scores(self) -> Tensor:
        """Return (K,) balanced accuracy that no choice has made optimistic; NaN where there is none."""
        ...


class SvmBatch(ClassBatch, Protocol):
    """K classes that are solved by SVMs, a label matrix at a time."""

    def one_direction(self) -> Directions[Tensor]:
        """Fit the paper's one SVM a class: choose C by cross-validation, then fit all samples with it (2.1)."""
        labels = self.layout.labels
        scores, cv_violation = self.cross_validate(labels)
        mean = mean_scores(scores)
        C_index = choose_costs(mean, rounding=0.0 if self.settings.published else SCORE_ROUNDING)
        duals = self.fit(labels, C_index)
        return Directions.of_svms(
            self.coef(duals), duals.intercept, C_index, mean, self.layout.count(labels < 0), duals.n_iter,
            torch.maximum(cv_violation, duals.violation),
        )  # fmt: skip

    def null_statistics(self, seed: int, first: int, count: int, classes: Classes = None) -> Tensor:
        """Permute correctness within each class, and repeat the choice of C: (count, K) best scores."""
        scores, _ = self.cross_validate(permuted_labels(self.layout, seed, first, count, classes), classes)
        best: Tensor = mean_scores(scores).amax(dim=-1).nan_to_num(-torch.inf)
        return best

    @property
    def permutation_bytes(self) -> int:
        """What one permutation of the batch takes."""
        kind = "cpu" if self.layout.device.type == "cpu" else "cuda"
        scored = SCORED_BYTES * len(self.layout.sizes) * self.settings.cv * len(self.settings.Cs)
        return PERMUTED_BYTES[kind] * len(self.layout.right) + scored

    def refit(self, labels: Tensor, C_index: Tensor, classes: Classes = None) -> Tensor:
        """Fit B resamples of r label matrices (r, B, N) at the chosen C (r, K): w (r, B, K, d)."""
        r, count = labels.shape[:2]
        duals = self.fit(labels.flatten(0, 1), C_index.repeat_interleave(count, dim=0), classes)
        again: Tensor = self.coef(duals).float().unflatten(0, (r, count))
        return again

    def nested_scores(self) -> Tensor:
        """Hold out each fold, choose C by cross-validation on the others alone, fit them, and score the one held out.

        This is the score that choosing C has not made optimistic.

        Returns:
            (K,) mean balanced accuracy; NaN for a class with too few samples of a kind to cross-validate inside a fold.
        """
        layout, cv = self.layout, self.settings.cv
        outer = torch.arange(cv, device=layout.device)[:, None]
        is_held = self.folds(layout.labels) == outer  # (cv, N)
        labels = torch.where(is_held, 0, layout.labels).to(torch.int8)
        fewest = torch.minimum(layout.count(labels > 0), layout.count(labels < 0)).amin(dim=0)
        scores, _ = self.cross_validate(labels)
        C_index = torch.where(fewest >= cv, choose_costs(mean_scores(scores)), -1)
        hit = (self.decide(self.fit(labels, C_index)) > 0) == layout.right
        recalls = []
        for kind in (layout.right, ~layout.right):
            held = is_held & kind
            recalls.append(layout.count(hit & held).double() / layout.count(held))
        return torch.where(fewest >= cv, torch.stack(recalls).mean(dim=0).nanmean(dim=0), torch.nan)

    def folds(self, labels: Tensor) -> Tensor:
        """Assign scikit-learn's folds to every labelling: (P, N) int8, -1 where the label is 0."""
        return assign_folds(labels, self.layout.segments, self.settings.cv, self.layout.groups)

    def cross_validate(self, labels: Tensor, classes: Classes = None) -> tuple[Tensor, Tensor]:
        """Return held-out balanced accuracies (P, K, cv, c) float64 and the largest violation (P, K).

        NaN where not asked, and the score where a fold lacks a kind, inside or outside.
        """
        ...

    def fit(self, labels: Tensor, C_index: Tensor, classes: Classes = None) -> Duals:
        """Fit each labelling and class with the C at ``C_index`` (P, K) of the grid; below 0 it is not fitted."""
        ...

    def decide(self, duals: Duals) -> Tensor:
        """Return w·x + b of all samples, (P, N) float64."""
        ...

    def coef(self, duals: Duals) -> Tensor:
        """Return w (P, K, d)."""
        ...


class SolverBackend(Protocol):
    """Opens batches of classes, and says how many a batch may hold."""

    name: str

    @property
    def at_once(self) -> int:
        """Batches that are worked on side by side, each by one thread of torch; 1 where a batch takes all threads."""
        ...

    def check(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> None:
        """Raise an error if any class cannot be solved at all."""
        ...

    def capacity(self) -> int:
        """Bytes that one batch may take."""
        ...

    def bytes_of(self, one: ClassSamples, settings: SolverSettings) -> int | None:
        """Bytes that a class takes of them, whatever of it is allocated; None for one that has to come alone."""
        ...

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> ClassBatch:
        """Hold classes that fit together."""
        ...


class Work(Protocol[R]):
    """What is done with a batch of classes; it may be sent to another machine."""

    def __call__(self, batch: ClassBatch, *, progress: Reporter) -> R:
        """Do it."""
        ...


class Solve(Protocol):
    """Does work on all classes in batches, here (:class:`Here`) or on a cluster (:mod:`fdgpu.directions.dealing`)."""

    @property
    def choice(self) -> Choice | None:
        """The backend, and why it was chosen; None while nobody has."""
        ...

    def __call__(self, classes: Sequence[ClassSamples], work: Work[T]) -> Iterator[T]:
        """Yield what the work returns of each batch; all classes of a call can be in one batch."""
        ...


def over_batches(
    backend: SolverBackend,
    classes: Sequence[ClassSamples],
    settings: SolverSettings,
    work: Callable[[ClassBatch], T],
) -> Iterator[T]:
    """Do ``work`` on all classes in their order, as many at once as the backend holds; if memory ends, on half as many.

    What is found of a class does not depend on the classes beside it.

    Raises:
        Exception: if a single class does not fit, whatever said so.
    """
    backend.check(classes, settings)
    if backend.at_once > 1 and len(classes) > 1:
        yield from _side_by_side(backend, classes, settings, work)
        return
    capacity, first, most = backend.capacity(), 0, len(classes)
    while first < len(classes):
        last = first + min(most, _that_fit([backend.bytes_of(one, settings) for one in classes[first:]], capacity))
        try:
            done = work(backend.open(classes[first:last], settings))
        except Exception as error:
            if last - first == 1 or not out_of_memory(error):
                raise
        else:
            yield done
            first = last
            continue
        most = (last - first) // 2
        torch.cuda.empty_cache()  # here, where the error no longer holds the tensors that did not fit


def _side_by_side(
    backend: SolverBackend,
    classes: Sequence[ClassSamples],
    settings: SolverSettings,
    work: Callable[[ClassBatch], T],
) -> Iterator[T]:
    """Do ``work`` on batches in as many threads as the backend wants; how they are cut depends on nothing else.

    Each thread does its small products alone. Two that share every product wait for each other, and the longer the
    more else is running.
    """
    capacity, most, parts = backend.capacity(), -(-len(classes) // backend.at_once), [0]
    while (first := parts[-1]) < len(classes):
        sizes = [backend.bytes_of(one, settings) for one in classes[first : first + most]]
        parts.append(first + _that_fit(sizes, capacity))
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(backend.at_once, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield from pool.map(
                lambda part: work(backend.open(classes[part[0] : part[1]], settings)), list(pairwise(parts))
            )
        finally:
            torch.set_num_threads(threads)  # a thread sets that of its BLAS for all


@dataclass(frozen=True)
class Here:
    """Solves in this process; a :class:`Solve`."""

    choice: Choice
    backend: SolverBackend
    settings: SolverSettings
    progress: Reporter

    def __call__(self, classes: Sequence[ClassSamples], work: Work[T]) -> Iterator[T]:
        """Yield what the work returns of each batch."""
        return over_batches(self.backend, classes, self.settings, partial(work, progress=self.progress))


def _that_fit(sizes: Sequence[int | None], capacity: int) -> int:
    """Return how many of the first classes fit together; one at least."""
    held = 0
    for count, size in enumerate(sizes):
        if count and (size is None or held + size > capacity):
            return count
        if size is None:
            return 1
        held += size
    return len(sizes)


# --- the choice of C by the scores on the folds ---------------------------------------------------------------------


def mean_scores(by_fold: Tensor) -> Tensor:
    """Average (P, K, cv, c) over the folds that hold both kinds out and train on both; NaN where there is none."""
    return by_fold.nanmean(dim=2)


def largest_violation(violation: Tensor) -> Tensor:
    """Return the largest over the last dimension, passing over NaN; NaN if there is nothing else."""
    most = violation.nan_to_num(-torch.inf).amax(dim=-1)
    return torch.where(most > -torch.inf, most, torch.nan)


def choose_costs(scores: Tensor, slack: Tensor | float = 0.0, rounding: float = SCORE_ROUNDING) -> Tensor:
    """Return the index of the smallest C whose score is the best, or within ``slack`` of it.

    Args:
        scores: (…, c); NaN where nothing was scored, for which the index is 0.
        slack: (…, 1) or a number.
        rounding: two scores closer than this are a tie.
    """
    good = scores >= scores.amax(dim=-1, keepdim=True) - slack - rounding
    return good.to(torch.int8).argmax(dim=-1)


def standard_error(scores: Tensor, n_right: Tensor, n_wrong: Tensor) -> Tensor:
    """Return the binomial standard error of the best mean balanced accuracy.

    Args:
        scores: (…, c) means over the folds.
        n_right: (…) right samples, each held out once.
        n_wrong: (…) wrong samples.

    Returns:
        (…, 1).
    """
    best = scores.amax(dim=-1)
    counts = 1 / n_right.double().clamp(min=1) + 1 / n_wrong.double().clamp(min=1)
    return (best * (1 - best) * counts / 4).sqrt()[..., None]
