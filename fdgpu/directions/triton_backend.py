"""The CUDA backend: Gram matrices and every labelling, fold and C of a batch of classes on the device.

Rows are gathered and whitened on the device, where they are already if the caller's embeddings are. Labels and folds
are made there, and what is solved stays there: nothing here waits for the device. See :mod:`fdgpu.kernels.smo_triton`
for the method.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fdgpu.arrays import to_device
from fdgpu.directions.batch import ClassBatch, Duals, NewtonBatch, SvmBatch, largest_violation
from fdgpu.directions.labellings import Classes, Layout, Tensor
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.directions.testing import ROUND_BYTES
from fdgpu.errors import InputError
from fdgpu.kernels import libsvm_triton, smo_triton
from fdgpu.kernels.gram_triton import gram_matrices
from fdgpu.kernels.smo_batch import LARGEST_CLASS, MOST_STEPS, SMALLEST_TOL, GramBatch
from fdgpu.kernels.smo_triton import SCRATCH_BYTES
from fdgpu.rows import CHUNK_BYTES

SHARE_OF_MEMORY = 0.8  # of what is free; the rest is for what the allocator loses between blocks
FALLBACK_BYTES = 1 << 30  # where the device does not say how much is free


class TritonBackend:
    """Batched SMO on a CUDA device; ``device="cpu"`` only where Triton interprets."""

    name = "triton"
    at_once = 1

    def __init__(self, device: str | torch.device = "cuda") -> None:
        self.device = torch.device(device)

    def check(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> None:
        """Refuse what is beyond the kernels.

        Raises:
            InputError: for a tolerance or steps that they do not solve; with ``published`` for too large a class.
        """
        largest = max((one.n for one in classes), default=0)
        if settings.published and largest > LARGEST_CLASS:
            raise InputError(
                f"a class has {largest} samples: with published=True the triton backend takes at most {LARGEST_CLASS}; "
                "use backend='numba', which takes more"
            )
        if settings.tol < SMALLEST_TOL:
            raise InputError(
                f"tol is {settings.tol:g}: the triton backend computes in float32 and resolves {SMALLEST_TOL:g}; "
                "use backend='numba' for smaller ones"
            )
        if settings.max_iter > MOST_STEPS:
            raise InputError(
                f"max_iter is {settings.max_iter}: the triton backend takes at most {MOST_STEPS}; use backend='numba'"
            )

    def capacity(self) -> int:
        """Bytes that the classes of one batch may take, beside what is the same for any number of them."""
        if self.device.type != "cuda":
            return FALLBACK_BYTES
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(SHARE_OF_MEMORY * free) - 3 * CHUNK_BYTES["cuda"] - SCRATCH_BYTES - ROUND_BYTES["cuda"]

    def bytes_of(self, one: ClassSamples, settings: SolverSettings) -> int | None:
        """Rows whitened, and times a dual; Gram matrix and its diagonal. None above one program's."""
        if one.n > LARGEST_CLASS:
            return None
        if settings.published:
            return one.n * (one.embeddings.shape[1] * (8 + 8) + (4 + 8) * one.n + 8)
        return one.n * (one.embeddings.shape[1] * (4 + 4) + 4 * one.n + 4)

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> ClassBatch:
        """Whiten classes and multiply them; one that a program cannot hold is solved without a Gram matrix."""
        if classes[0].n > LARGEST_CLASS:
            return NewtonBatch(classes[0], settings, self.device)
        return TritonBatch(classes, settings, self.device)


class TritonBatch(SvmBatch):
    """Classes with their Gram matrices on the device; a :class:`~fdgpu.directions.batch.ClassBatch`."""

    solver = Solver.GRAM

    def __init__(self, classes: Sequence[ClassSamples], settings: SolverSettings, device: torch.device) -> None:
        self.layout, self.settings = Layout.of(classes, device), settings
        self._x = whitened(classes, torch.float32, device)
        sizes, starts = list(self.layout.sizes), self.layout.segments.starts
        self._steps = libsvm_triton if settings.published else smo_triton
        if settings.published:  # float32 rows in float64, as scikit-learn takes them
            self._x = self._x.double()
            self._grams: GramBatch = libsvm_triton.ExactGrams.of(self._x, starts, sizes)
        else:
            self._grams = GramBatch(*gram_matrices(self._x, starts, sizes), starts, sizes)
        self._costs = to_device(np.array(settings.Cs, np.float64 if settings.published else np.float32), device)

    def cross_validate(self, labels: Tensor, classes: Classes = None) -> tuple[Tensor, Tensor]:
        """Hold out every fold of every labelling and class, in one launch a block size."""
        scores, violation = self._steps.cross_validate_labels(
            self._grams, labels, self.folds(labels), self.settings.cv, self._costs, tol=self.settings.tol,
            max_iter=self.settings.max_iter, classes=classes,
        )  # fmt: skip
        return scores, largest_violation(violation)

    def fit(self, labels: Tensor, C_index: Tensor, classes: Classes = None) -> Duals:
        """Fit every labelling on every class."""
        solved = self._steps.fit_labels(
            self._grams, labels, C_index.to(torch.int32), self._costs, tol=self.settings.tol,
            max_iter=self.settings.max_iter, classes=classes,
        )  # fmt: skip
        # 0 for a class that was not asked for
        return Duals(
            solved.a.nan_to_num(), solved.intercept, solved.violation, solved.n_iter, solved.decisions.double()
        )

    def decide(self, duals: Duals) -> Tensor:
        """Return w·x + b of all samples, which the solver keeps up to date.

        Raises:
            TypeError: for duals without decision values, which are not of this batch's own fit.
        """
        if duals.decisions is None:
            raise TypeError("duals have no decision values: a TritonBatch decides by what its own fit returned")
        return duals.decisions

    def coef(self, duals: Duals) -> Tensor:
        """Return w = Xᵀ a, summed over each class."""
        lengths = self.layout.lengths
        return torch.stack(
            [
                torch.segment_reduce(
                    a[:, None].to(self._x.dtype) * self._x, "sum", lengths=lengths, axis=0, unsafe=True
                )
                for a in duals.a
            ]
        )
