"""A class too large for its Gram matrix, solved without one, on the CPU or a CUDA device alike.

Every labelling and fold is a row of one batch of problems, so that one pass over the embeddings serves them all. Beside
the embeddings a few float64 numbers a sample and problem are held. See :mod:`fdgpu.kernels.proximal_newton`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_host
from fdgpu.directions.batch import ClassBatch, Classes, Duals, Floats, Ints, Labels, Layout, assign_folds
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.kernels.proximal_newton import along, combined, newton_path
from fdgpu.kernels.smo_batch import Solutions

WORK_BYTES = 1 << 29  # of the problems that are solved at once
NUMBERS = 16  # float64 numbers a sample and problem that the solver holds at its peak


class NewtonBatch(ClassBatch):
    """One large class; a :class:`~fdgpu.directions.batch.ClassBatch`."""

    solver = Solver.NEWTON

    def __init__(self, samples: ClassSamples, settings: SolverSettings, device: torch.device) -> None:
        self.layout = Layout.of([samples])
        self._x = whitened([samples], settings.dtype, device)
        self._settings = settings

    def cross_validate(
        self,
        labels: Labels,
        classes: Classes = None,  # noqa: ARG002 - there is one
    ) -> tuple[Floats, Floats]:
        """Hold out every fold of every labelling; ``classes`` can only be this one."""
        cv, n_costs = self._settings.cv, len(self._settings.Cs)
        folds = assign_folds(labels, self.layout.sizes, cv)
        is_held = (folds[:, None] == np.arange(cv)[:, None]).reshape(len(labels) * cv, -1)
        of_fold = np.repeat(labels, cv, axis=0)
        held, train = of_fold * is_held, of_fold * ~is_held
        scores, violation = np.full((len(train), n_costs), np.nan), np.full(len(train), np.nan)
        for rows in self._portions(len(train)):
            own = self._up(held[rows])
            for c, point in enumerate(self._path(train[rows], n_costs)):
                scores[rows, c] = _balanced_accuracy(point.decisions, own)
                violation[rows] = np.fmax(violation[rows], _doubles(point.violation))
        by_fold = scores.reshape(len(labels), 1, cv, n_costs)
        return by_fold, violation.reshape(len(labels), 1, cv).max(axis=-1)

    def fit(
        self,
        labels: Labels,
        C_index: Ints,
        classes: Classes = None,  # noqa: ARG002 - there is one
    ) -> Duals:
        """Fit every labelling along the path up to its own C."""
        p = len(labels)
        a, n_iter = np.zeros(labels.shape), np.zeros((p, 1), np.int64)
        intercept, violation = np.full((p, 1), np.nan), np.full((p, 1), np.nan)
        for rows in self._portions(p):
            own = np.arange(p)[rows]
            for c, point in enumerate(self._path(labels[rows], int(C_index[rows].max()) + 1)):
                done = C_index[rows, 0] == c  # for the others of this portion it is a step on their way
                a[own[done]] = _doubles(point.a)[done]
                for array, found in (
                    (intercept, point.intercept),
                    (violation, point.violation),
                    (n_iter, point.n_iter),
                ):
                    array[own[done], 0] = _doubles(found)[done]
        return Duals(a, intercept, violation, n_iter)

    def decide(self, duals: Duals) -> Floats:
        """Return X Xᵀ a + b of all samples."""
        return np.concatenate(
            [
                _doubles(along(self._x, combined(self._x, self._up(duals.a[rows]))))
                for rows in self._portions(len(duals.a))
            ]
        ) + np.asarray(duals.intercept)

    def coef(self, duals: Duals) -> Floats:
        """Return w = Xᵀ a."""
        return np.concatenate(
            [_doubles(combined(self._x, self._up(duals.a[rows]))) for rows in self._portions(len(duals.a))]
        )[:, None]

    def _path(self, labels: Labels, n_costs: int) -> Iterator[Solutions]:
        settings = self._settings
        return newton_path(
            self._x, self._up(labels), settings.Cs[:n_costs], tol=settings.tol, max_iter=settings.max_iter
        )

    def _portions(self, problems: int) -> Iterator[slice]:
        """Yield the problems in portions that fit."""
        at_once = max(1, WORK_BYTES // (8 * NUMBERS * self.layout.sizes[0]))
        bounds = [*range(0, problems, at_once), problems]
        return (slice(first, last) for first, last in pairwise(bounds))

    def _up(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._x.device)


def _balanced_accuracy(decisions: torch.Tensor, held: torch.Tensor) -> Floats:
    """(P,) mean recall of both kinds among samples whose label in ``held`` (P, n) is not 0; NaN if one is missing."""
    hits = (decisions > 0) == (held > 0)
    recalls = [(hits & kind).sum(dim=1).double() / kind.sum(dim=1) for kind in (held > 0, held < 0)]
    return _doubles(torch.stack(recalls).mean(dim=0))


def _doubles(tensor: torch.Tensor) -> Floats:
    return np.asarray(to_host(tensor.double(), "a Newton path"))
