"""A class too large for its Gram matrix, solved without one, on the CPU or a CUDA device alike.

Every sheet and fold is a row of one batch of problems, so that one pass over the embeddings serves them all; what is
held beside these is a few float64 numbers a sample and problem. See :mod:`fdgpu.kernels.proximal_newton`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import doubles
from fdgpu.directions.batch import Fits, Labels, Layout, PaperFits
from fdgpu.directions.choosing import paper_fits_in_turn
from fdgpu.directions.folds import folds_of_sheets
from fdgpu.directions.problem import ClassTask, SolverSettings
from fdgpu.kernels.proximal_newton import PathPoint, along, combined, newton_path

WORK_BYTES = 1 << 29  # of the problems that are solved at once
NUMBERS = 16  # float64 numbers a sample and problem that the solver holds at its peak


class NewtonBatch:
    """One large class; a :class:`~fdgpu.directions.batch.ClassBatch`."""

    solver = "newton"

    def __init__(self, task: ClassTask, settings: SolverSettings, device: torch.device) -> None:
        self.layout = Layout((task.n,), task.right)
        self._x = task.samples.whitened(task.rows, settings.torch_dtype, device)
        self._settings = settings

    def paper_fits(self) -> PaperFits:
        """Choose every class's C, and fit it."""
        return paper_fits_in_turn(self)

    def cross_validate(
        self,
        labels: Labels,
        classes: Sequence[int] | None = None,  # noqa: ARG002 - there is one
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Hold out every fold of every sheet; ``classes`` can only be this one."""
        cv, n_costs = self._settings.cv, len(self._settings.costs)
        folds = folds_of_sheets(labels, self.layout.sizes, cv)
        is_held = (folds[:, None] == np.arange(cv)[:, None]).reshape(len(labels) * cv, -1)
        of_fold = np.repeat(labels, cv, axis=0)
        held, train = of_fold * is_held, of_fold * ~is_held
        scores, violation = np.full((len(train), n_costs), np.nan), np.full(len(train), np.nan)
        for rows in self._portions(len(train)):
            own = self._up(held[rows])
            for c, point in enumerate(self._path(train[rows], n_costs)):
                scores[rows, c] = _balanced_accuracy(point.decisions, own)
                violation[rows] = np.fmax(violation[rows], doubles(point.violation))
        by_fold = scores.reshape(len(labels), 1, cv, n_costs)
        return by_fold, violation.reshape(len(labels), 1, cv).max(axis=-1)

    def fit(
        self,
        labels: Labels,
        places: NDArray[np.int64],
        classes: Sequence[int] | None = None,  # noqa: ARG002 - there is one
    ) -> Fits:
        """Fit every sheet along the path up to its own C."""
        p = len(labels)
        a, n_iter = np.zeros(labels.shape), np.zeros((p, 1), np.int64)
        intercept, violation = np.full((p, 1), np.nan), np.full((p, 1), np.nan)
        for rows in self._portions(p):
            own = np.arange(p)[rows]
            for c, point in enumerate(self._path(labels[rows], int(places[rows].max()) + 1)):
                ends = places[rows, 0] == c  # for the others of this portion it is a step on their way
                a[own[ends]] = doubles(point.a)[ends]
                for array, found in (
                    (intercept, point.intercept),
                    (violation, point.violation),
                    (n_iter, point.n_iter),
                ):
                    array[own[ends], 0] = doubles(found)[ends]
        return Fits(a, intercept, violation, n_iter)

    def decide(self, fits: Fits) -> NDArray[np.float64]:
        """Return X Xᵀ a + b of all samples."""
        return np.concatenate(
            [doubles(along(self._x, combined(self._x, self._up(fits.a[rows])))) for rows in self._portions(len(fits.a))]
        ) + np.asarray(fits.intercept)

    def coef(self, fits: Fits) -> NDArray[np.float64]:
        """Return w = Xᵀ a."""
        return np.concatenate(
            [doubles(combined(self._x, self._up(fits.a[rows]))) for rows in self._portions(len(fits.a))]
        )[:, None]

    def _path(self, labels: Labels, n_costs: int) -> Iterator[PathPoint]:
        settings = self._settings
        return newton_path(
            self._x, self._up(labels), settings.costs[:n_costs], tol=settings.tol, max_iter=settings.max_iter
        )

    def _portions(self, problems: int) -> Iterator[slice]:
        """Yield the problems in portions that fit."""
        at_once = max(1, WORK_BYTES // (8 * NUMBERS * self.layout.sizes[0]))
        bounds = [*range(0, problems, at_once), problems]
        return (slice(first, last) for first, last in pairwise(bounds))

    def _up(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._x.device)


def _balanced_accuracy(decisions: torch.Tensor, held: torch.Tensor) -> NDArray[np.float64]:
    """(P,) mean recall of both kinds among samples whose label in ``held`` (P, n) is not 0; NaN if one is missing."""
    hits = (decisions > 0) == (held > 0)
    recalls = [(hits & kind).sum(dim=1).double() / kind.sum(dim=1) for kind in (held > 0, held < 0)]
    return doubles(torch.stack(recalls).mean(dim=0))
