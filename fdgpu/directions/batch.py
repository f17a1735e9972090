"""A batch of classes that are ready to be solved, on whatever device: what every backend gives to the procedure.

Labels come as *sheets*: one row of labels over all samples of the batch, +1 right, -1 wrong, 0 takes no part. A sheet
is a problem for each class at once, so that folds, permutations and failure modes of many classes are one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fdgpu.directions.problem import ClassTask, SolverSettings

Labels = NDArray[np.int8]


@dataclass(frozen=True)
class Layout:
    """Which samples of a batch belong to which class: K classes one after the other, N samples in all."""

    sizes: tuple[int, ...]
    right: NDArray[np.bool_]  # (N,)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(K,) place of each class's first sample."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @cached_property
    def class_of(self) -> NDArray[np.int64]:
        """(N,) class of each sample."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    @cached_property
    def labels(self) -> Labels:
        """(1, N) the sheet of what the model got right and wrong."""
        return np.where(self.right, 1, -1).astype(np.int8)[None]

    @cached_property
    def n_errors(self) -> NDArray[np.int64]:
        """(K,) wrong samples of each class."""
        return self.total(~self.right)

    def rows(self, k: int) -> slice:
        """Return the samples of class ``k``."""
        return slice(int(self.starts[k]), int(self.starts[k]) + self.sizes[k])

    def total(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sum (…, N) over each class: (…, K)."""
        counted = values.astype(np.int64) if values.dtype == bool else values
        return np.asarray(np.add.reduceat(counted, self.starts, axis=-1))


@dataclass(frozen=True)
class Fits:
    """P sheets fitted on K classes: dual ``a`` (P, N), and ``intercept``, ``violation``, ``n_iter`` (P, K)."""

    a: NDArray[np.float64]
    intercept: NDArray[np.float64]
    violation: NDArray[np.float64]
    n_iter: NDArray[np.int64]


@dataclass(frozen=True)
class PaperFits:
    """The paper's SVM of K classes: all samples of each, at the C that cross-validation chose.

    ``scores`` (K, c) mean held-out balanced accuracies; ``places`` (K,) of the chosen C in the grid; ``coef`` (K, d),
    ``intercept`` and ``n_iter`` (K,); ``violation`` (K,) the largest of all folds and of the fit.
    """

    scores: NDArray[np.float64]
    places: NDArray[np.int64]
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    n_iter: NDArray[np.int64]
    violation: NDArray[np.float64]


class ClassBatch(Protocol):
    """K classes whose embeddings (and Gram matrices, where they fit) are held. ``classes`` limits a call to some."""

    layout: Layout
    solver: str  # "gram", "newton" where the Gram matrix did not fit, or "cuml"

    def paper_fits(self) -> PaperFits:
        """Choose every class's C by cross-validation, and fit all of its samples with it (2.1)."""
        ...

    def cross_validate(
        self, labels: Labels, classes: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return held-out balanced accuracies (P, K, cv, c) and the largest violation (P, K); NaN where not asked."""
        ...

    def fit(self, labels: Labels, places: NDArray[np.int64], classes: Sequence[int] | None = None) -> Fits:
        """Fit each sheet and class with the C at ``places`` (P, K) of the grid."""
        ...

    def decide(self, fits: Fits) -> NDArray[np.float64]:
        """Return w·x + b of all samples, (P, N)."""
        ...

    def coef(self, fits: Fits) -> NDArray[np.float64]:
        """Return w (P, K, d)."""
        ...


class Backend(Protocol):
    """Opens classes in the order they come, holding only as many of them at once as its memory allows."""

    name: str

    def open(self, classes: Sequence[ClassTask], settings: SolverSettings) -> Iterator[ClassBatch]:
        """Yield batches; raise before the first one if a class cannot be solved at all."""
        ...
