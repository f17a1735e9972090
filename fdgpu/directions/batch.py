"""A batch of classes that are ready to be solved, on any device: what every backend gives to the procedure.

Labels come as a *label matrix* (P, N): +1 right, -1 wrong, 0 takes no part. Each of its P rows is a labelling of all N
samples of the batch, and so a problem for each of its K classes at once: folds, permutations, resamples and failure
modes of many classes are one call.

Everything is a tensor on the batch's device, and stays there: nothing here waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import accumulate
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device
from fdgpu.device import Choice, out_of_memory
from fdgpu.directions.groups import Blocks, lay_out_groups
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.kernels.draws import Segments
from fdgpu.kernels.folds import Groups, assign_folds
from fdgpu.progress import Reporter

Tensor = torch.Tensor
Classes = Sequence[int] | None  # indices of the classes in the batch that a call is limited to; None for all
T = TypeVar("T")
R = TypeVar("R", covariant=True)

SCORE_ROUNDING = 1e-12  # two scores closer than this are a tie, which the smaller C wins


@dataclass(frozen=True)
class Layout:
    """Which samples of a batch belong to which class: K classes one after the other, N samples in all.

    Attributes:
        sizes: samples of each class, on the host.
        n_errors: wrong ones of each class, on the host.
        indices: of each class among all that were fitted, which seed what is random in it.
        segments: the same as ``sizes`` on the device.
        right: (N,) bool on the device.
        groups: of samples that stay together; None where each stands for itself, as are ``blocks``, how they exchange.
    """

    sizes: tuple[int, ...]
    n_errors: tuple[int, ...]
    indices: tuple[int, ...]
    segments: Segments
    right: Tensor
    groups: Groups | None = None
    blocks: Blocks | None = None

    @classmethod
    def of(cls, classes: Sequence[ClassSamples], device: torch.device) -> Layout:
        """Lay classes out in their order."""
        sizes = tuple(one.n for one in classes)
        right = [one.right for one in classes]
        groups = [one.groups for one in classes if one.groups is not None]
        return cls(
            sizes,
            tuple(int((~one.right).sum()) for one in classes),
            tuple(one.index for one in classes),
            segments_of(sizes, device),
            to_device(np.concatenate(right), device),
            *(lay_out_groups(groups, right, device) if groups else ()),
        )

    @property
    def device(self) -> torch.device:
        """Where the batch is."""
        return self.right.device

    @cached_property
    def starts(self) -> list[int]:
        """K + 1 first samples of the classes, on the host."""
        return [0, *accumulate(self.sizes)]

    @cached_property
    def labels(self) -> Tensor:
        """(1, N) the label matrix of what the model got right and wrong."""
        return torch.where(self.right, 1, -1).to(torch.int8)[None]

    @cached_property
    def lengths(self) -> Tensor:
        """(K,) samples of each class."""
        return self.segments.starts.diff()

    def rows(self, k: int) -> slice:
        """Return the samples of class ``k``."""
        return slice(self.starts[k], self.starts[k + 1])

    def groups_of(self, k: int) -> tuple[NDArray[np.int64], int] | None:
        """Return the group of each sample of class ``k``, numbered from 0, and how many there are; on the CPU only."""
        if self.groups is None:
            return None
        first, last = self.groups.segments.starts[k : k + 2].tolist()
        return self.groups.of[self.rows(k)].numpy() - first, last - first

    def each(self, of_class: Tensor) -> Tensor:
        """Spread (…, K) over the samples of each class: (…, N)."""
        return of_class[..., self.segments.of]

    def total(self, values: Tensor) -> Tensor:
        """Sum (…, N) over each class: (…, K)."""
        lengths = self.lengths.expand(*values.shape[:-1], -1)
        return torch.segment_reduce(values, "sum", lengths=lengths, axis=values.ndim - 1, unsafe=True)

    def count(self, chosen: Tensor) -> Tensor:
        """Count the True of (…, N) in each class: (…, K)."""
        return count_in(self.segments, chosen)


def segments_of(sizes: Sequence[int], device: torch.device) -> Segments:
    """Return classes of so many members on a device."""
    starts, of = np.cumsum([0, *sizes], dtype=np.int64), np.repeat(np.arange(len(sizes)), sizes)
    return Segments(to_device(starts, device), to_device(of, device))


def count_in(segments: Segments, chosen: Tensor) -> Tensor:
    """Count the True of (…, U) in each class: (…, K)."""
    return torch.nn.functional.pad(chosen.cumsum(dim=-1), (1, 0))[..., segments.starts].diff(dim=-1)


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
    ``C_index`` of the chosen C, the ``n_errors`` that belong to a direction, and how the solver ended.
    """

    coef: A
    intercept: A
    C_index: A
    cv_scores: A
    n_errors: A
    n_iter: A
    violation: A


class ClassBatch(Protocol):
    """K classes whose embeddings (and Gram matrices, where they fit) are held."""

    layout: Layout
    solver: Solver
    settings: SolverSettings

    def paper_directions(self) -> Directions[Tensor]:
        """Fit the paper's one SVM a class: choose C by cross-validation, then fit all samples with it (2.1)."""
        labels = self.layout.labels
        scores, cv_violation = self.cross_validate(labels)
        mean = mean_scores(scores)
        C_index = choose_costs(mean, rounding=0.0 if self.settings.published else SCORE_ROUNDING)
        duals = self.fit(labels, C_index)
        return Directions(
            self.coef(duals), duals.intercept, C_index, mean, self.layout.count(labels < 0), duals.n_iter,
            torch.maximum(cv_violation, duals.violation),
        )  # fmt: skip

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
