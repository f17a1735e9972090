"""A batch of classes that are ready to be solved, on any device: what every backend gives to the procedure.

Labels come as a *label matrix* (P, N): +1 right, -1 wrong, 0 takes no part. Each of its P rows is a labelling of all N
samples of the batch, and so a problem for each of its K classes at once: folds, permutations, resamples and failure
modes of many classes are one call.

Everything is a tensor on the batch's device, and stays there. What holds classes is a backend's own; the batch of one
large class, which is the same on every device, is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device, to_host
from fdgpu.device import Choice
from fdgpu.directions.labellings import Classes, Layout, Tensor, permuted_labels
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.kernels.folds import assign_folds
from fdgpu.kernels.proximal_newton import along, combined, newton_path
from fdgpu.kernels.smo_batch import Solutions
from fdgpu.progress import Reporter

T = TypeVar("T")
R = TypeVar("R", covariant=True)

PERMUTED_BYTES = {"cpu": 4, "cuda": 64}  # a label, with what it is drawn and its fold assigned with
SCORED_BYTES = 24  # a class, fold and C: the recall of both kinds, and their mean
WORK_BYTES = 1 << 29  # of a large class's problems that are solved at once
NUMBERS = 16  # float64 numbers a sample and problem that its solver holds at its peak
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
    def of_svms(
        cls,
        coef: Tensor,
        intercept: Tensor,
        C_index: Tensor,
        cv_scores: Tensor,
        n_errors: Tensor,
        n_iter: Tensor,
        violation: Tensor,
    ) -> Directions[Tensor]:
        """Add what a SVM has in the other fields: its score as the statistic, and nothing of the latent method."""
        statistic = cv_scores.take_along_dim(C_index[..., None], dim=2)[..., 0]
        nothing = torch.zeros_like(intercept, dtype=torch.float64)
        unknown = torch.full_like(nothing, torch.nan)
        return Directions(
            coef, intercept, C_index, cv_scores, n_errors, n_iter, violation, statistic, coef[..., :0], nothing,
            nothing, unknown, unknown[..., None].expand(*unknown.shape, 3),
        )  # fmt: skip


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
    """Does work on all classes in batches, here or on a cluster; see :mod:`fdgpu.directions.dealing`."""

    @property
    def choice(self) -> Choice | None:
        """The backend, and why it was chosen; None while nobody has."""
        ...

    def __call__(self, classes: Sequence[ClassSamples], work: Work[T]) -> Iterator[T]:
        """Yield what the work returns of each batch; all classes of a call can be in one batch."""
        ...


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


# --- a class too large for its Gram matrix ----------------------------------------------------------------------------


class NewtonBatch(SvmBatch):
    """A class too large for its Gram matrix, solved without one, on the CPU or a CUDA device alike.

    Every labelling and fold is a row of one batch of problems, so that one pass over the embeddings serves them all.
    Beside the embeddings a few float64 numbers a sample and problem are held. See :mod:`fdgpu.kernels.proximal_newton`.

    On a device the host asks once a Newton step which problems are not solved yet: a byte a problem comes down. That is
    the one thing here that waits.
    """

    solver = Solver.NEWTON

    def __init__(self, samples: ClassSamples, settings: SolverSettings, device: torch.device) -> None:
        self.layout = Layout.of([samples], device)
        self._x = whitened([samples], settings.dtype, device)
        self.settings = settings

    def cross_validate(
        self,
        labels: Tensor,
        classes: Classes = None,  # noqa: ARG002 - there is one
    ) -> tuple[Tensor, Tensor]:
        """Hold out every fold of every labelling; ``classes`` can only be this one."""
        cv = self.settings.cv
        is_held = self.folds(labels)[:, None] == torch.arange(cv, device=labels.device)[:, None]
        held = torch.where(is_held, labels[:, None], 0).flatten(0, 1)
        train = torch.where(is_held, 0, labels[:, None]).flatten(0, 1)
        scores, violations = [], []
        for rows in self._portions(len(train)):
            path = [(point, _balanced_accuracy(point.decisions, held[rows])) for point in self._path(train[rows])]
            violation = largest_violation(torch.stack([point.violation for point, _ in path], dim=1))
            scores.append(
                torch.stack([score for _, score in path], dim=1).masked_fill(violation.isnan()[:, None], torch.nan)
            )
            violations.append(violation)
        by_fold = torch.cat(scores).reshape(len(labels), 1, cv, -1)
        return by_fold, largest_violation(torch.cat(violations).reshape(len(labels), 1, cv))

    def fit(
        self,
        labels: Tensor,
        C_index: Tensor,
        classes: Classes = None,  # noqa: ARG002 - there is one
    ) -> Duals:
        """Fit every labelling along the path, and keep of each what it was at its own C."""
        solved = [self._fit(labels[rows], C_index[rows, 0]) for rows in self._portions(len(labels))]
        a, intercept, violation, n_iter = (torch.cat(parts) for parts in zip(*solved, strict=True))
        return Duals(a, intercept[:, None], violation[:, None], n_iter[:, None])

    def _fit(self, labels: Tensor, C_index: Tensor) -> list[Tensor]:
        """Return dual, intercept, violation and steps."""
        nothing = Solutions.empty(labels, (len(labels),), torch.float64, steps=torch.int64)
        kept = [torch.zeros_like(nothing.a), nothing.intercept, nothing.violation, torch.zeros_like(nothing.n_iter)]
        for c, point in enumerate(self._path(labels, C_index)):
            here = C_index == c  # for the others it is a step on their way
            found = (point.a, point.intercept, point.violation, point.n_iter)
            kept = [
                torch.where(here[:, None] if new.ndim > 1 else here, new, old)
                for new, old in zip(found, kept, strict=True)
            ]
        return kept

    def decide(self, duals: Duals) -> Tensor:
        """Return X Xᵀ a + b of all samples."""
        products = [along(self._x, combined(self._x, duals.a[rows])) for rows in self._portions(len(duals.a))]
        return torch.cat(products) + duals.intercept

    def coef(self, duals: Duals) -> Tensor:
        """Return w = Xᵀ a."""
        return torch.cat([combined(self._x, duals.a[rows]) for rows in self._portions(len(duals.a))])[:, None]

    def _path(self, labels: Tensor, last: Tensor | None = None) -> Iterator[Solutions]:
        settings = self.settings
        return newton_path(
            self._x, labels, settings.Cs, tol=settings.tol, max_iter=settings.max_iter, last=last,
            indices=_indices,
        )  # fmt: skip

    def _portions(self, problems: int) -> Iterator[slice]:
        """Yield the problems in portions that fit."""
        at_once = max(1, WORK_BYTES // (8 * NUMBERS * self.layout.sizes[0]))
        bounds = [*range(0, problems, at_once), problems]
        return (slice(first, last) for first, last in pairwise(bounds))


def _indices(mask: Tensor) -> Tensor:
    """Return where (P,) is True; the host has to know how many problems there are."""
    return to_device(np.flatnonzero(to_host(mask, "which problems are not solved yet")), mask.device)


def _balanced_accuracy(decisions: Tensor, held: Tensor) -> Tensor:
    """(P,) mean recall of both kinds among samples whose label in ``held`` (P, n) is not 0; NaN if one is missing."""
    hits = (decisions > 0) == (held > 0)
    recalls = [(hits & kind).sum(dim=1).double() / kind.sum(dim=1) for kind in (held > 0, held < 0)]
    return torch.stack(recalls).mean(dim=0)
