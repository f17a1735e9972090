"""A class too large for its Gram matrix, solved without one, on the CPU or a CUDA device alike.

Every labelling and fold is a row of one batch of problems, so that one pass over the embeddings serves them all. Beside
the embeddings a few float64 numbers a sample and problem are held. See :mod:`fdgpu.kernels.proximal_newton`.

On a device the host asks once a Newton step which problems are not solved yet: a byte a problem comes down. That is the
one thing here that waits.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch

from fdgpu.arrays import to_device, to_host
from fdgpu.directions.batch import Duals, SvmBatch, largest_violation
from fdgpu.directions.labellings import Classes, Layout, Tensor
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.kernels.proximal_newton import along, combined, newton_path
from fdgpu.kernels.smo_batch import Solutions

WORK_BYTES = 1 << 29  # of the problems that are solved at once
NUMBERS = 16  # float64 numbers a sample and problem that the solver holds at its peak


class NewtonBatch(SvmBatch):
    """One large class; a :class:`~fdgpu.directions.batch.SvmBatch`."""

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
        cv, n_costs = self.settings.cv, len(self.settings.Cs)
        is_held = self.folds(labels)[:, None] == torch.arange(cv, device=labels.device)[:, None]
        held = torch.where(is_held, labels[:, None], 0).flatten(0, 1)
        train = torch.where(is_held, 0, labels[:, None]).flatten(0, 1)
        scores, violations = [], []
        for rows in self._portions(len(train)):
            path = [
                (point, _balanced_accuracy(point.decisions, held[rows])) for point in self._path(train[rows], n_costs)
            ]
            violation = largest_violation(torch.stack([point.violation for point, _ in path], dim=1))
            scores.append(
                torch.stack([score for _, score in path], dim=1).masked_fill(violation.isnan()[:, None], torch.nan)
            )
            violations.append(violation)
        by_fold = torch.cat(scores).reshape(len(labels), 1, cv, n_costs)
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
        for c, point in enumerate(self._path(labels, len(self.settings.Cs), C_index)):
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

    def _path(self, labels: Tensor, n_costs: int, last: Tensor | None = None) -> Iterator[Solutions]:
        settings = self.settings
        return newton_path(
            self._x, labels, settings.Cs[:n_costs], tol=settings.tol, max_iter=settings.max_iter, last=last,
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
