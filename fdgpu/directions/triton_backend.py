"""The CUDA backend: Gram matrices and every labelling, fold and C of a batch of classes on the device.

Rows are gathered and whitened on the device, where they are already if the caller's embeddings are. Permutations and
folds go up as one byte a label, scores come back; nothing n x n leaves the device. See
:mod:`fdgpu.kernels.smo_triton` for the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import bring_down, to_host
from fdgpu.directions.batch import (
    SCORE_ROUNDING,
    ClassBatch,
    Classes,
    Direction,
    Duals,
    Floats,
    Ints,
    Labels,
    Layout,
    assign_folds,
    directions_of,
    in_batches,
)
from fdgpu.directions.newton_batch import NewtonBatch
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.errors import InputError
from fdgpu.kernels.gram_triton import gram_matrices
from fdgpu.kernels.smo_batch import LARGEST_CLASS, MOST_FOLDS, MOST_STEPS, SMALLEST_TOL, GramBatch, Solutions
from fdgpu.kernels.smo_triton import cross_validate_labels, fit_labels

SHARE_OF_MEMORY = 0.4  # of the device's free memory for the Gram matrices of one batch
FALLBACK_BYTES = 1 << 30  # where the device does not say how much is free


class TritonBackend:
    """Batched SMO on a CUDA device; ``device="cpu"`` only where Triton interprets."""

    name = "triton"

    def __init__(self, device: str | torch.device = "cuda") -> None:
        self.device = torch.device(device)

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> Iterator[ClassBatch]:
        """Yield batches of classes, in order, as many at once as the device holds.

        A class that one program cannot hold is a batch of its own, solved on the same device without a Gram matrix.

        Raises:
            InputError: if tolerance, folds or steps are beyond what the kernel solves.
        """
        if settings.tol < SMALLEST_TOL:
            raise InputError(
                f"tol is {settings.tol:g}: the triton backend computes in float32 and resolves {SMALLEST_TOL:g}; "
                "use backend='numba' for smaller ones"
            )
        for name, value, most in (("cv", settings.cv, MOST_FOLDS), ("max_iter", settings.max_iter, MOST_STEPS)):
            if value > most:
                raise InputError(f"{name} is {value}: the triton backend takes at most {most}; use backend='numba'")
        for batch in in_batches(classes, lambda one: 4 * one.n * one.n, self._capacity(), LARGEST_CLASS):
            if batch[0].n > LARGEST_CLASS:
                yield NewtonBatch(batch[0], settings, self.device)
            else:
                yield TritonBatch(batch, settings, self.device)

    def _capacity(self) -> int:
        if self.device.type != "cuda":
            return FALLBACK_BYTES
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(SHARE_OF_MEMORY * free)


class TritonBatch(ClassBatch):
    """Classes with their Gram matrices on the device; a :class:`~fdgpu.directions.batch.ClassBatch`."""

    solver = Solver.GRAM

    def __init__(self, classes: Sequence[ClassSamples], settings: SolverSettings, device: torch.device) -> None:
        self.layout = Layout.of(classes)
        self._settings, self._device = settings, device
        self._x = whitened(classes, torch.float32, device)
        sizes = list(self.layout.sizes)
        self._sizes = torch.tensor(sizes, dtype=torch.int64, device=device)
        starts = torch.nn.functional.pad(self._sizes.cumsum(0), (1, 0))
        grams, gram_starts = gram_matrices(self._x, starts, sizes)
        self._grams = GramBatch(grams, gram_starts, starts, sizes)
        self._costs = torch.tensor(settings.Cs, dtype=torch.float32, device=device)

    def paper_directions(self) -> list[Direction]:
        """Choose every class's C, and fit it; all of it on the device, which is waited for once, at the end."""
        scores, cv_violation = self._cross_validate(self.layout.labels)
        mean = scores.mean(dim=2)
        best = mean.amax(dim=-1, keepdim=True)
        C_index = (mean >= best - SCORE_ROUNDING).to(torch.int32).argmax(dim=-1).to(torch.int32)  # the smallest C
        solved = self._fit(self.layout.labels, C_index)
        violation = torch.maximum(cv_violation, solved.violation)
        coef, intercept, chosen, cv_scores, n_iter, gap = bring_down(
            "directions",
            self._coef(solved)[0],
            solved.intercept[0],
            C_index[0],
            mean[0],
            solved.n_iter[0],
            violation[0],
        )
        n_errors = self.layout.n_errors
        return directions_of(
            coef, intercept, chosen.astype(np.int64), cv_scores, n_errors, n_iter.astype(np.int64), gap
        )

    def cross_validate(self, labels: Labels, classes: Classes = None) -> tuple[Floats, Floats]:
        """Hold out every fold of every labelling and class, in one launch a block size."""
        scores, violation = bring_down("scores", *self._cross_validate(labels, classes))
        return scores, violation

    def fit(self, labels: Labels, C_index: Ints, classes: Classes = None) -> Duals:
        """Fit every labelling on every class."""
        solved = self._fit(labels, self._up(C_index.astype(np.int32)), classes)
        a, intercept, violation, n_iter = bring_down(
            "duals", solved.a, solved.intercept, solved.violation, solved.n_iter
        )
        return Duals(a, intercept, violation, n_iter.astype(np.int64), solved)

    def decide(self, duals: Duals) -> Floats:
        """Return w·x + b of all samples, which the solver keeps up to date."""
        return to_host(_solved(duals).decisions.double(), "decisions")

    def coef(self, duals: Duals) -> Floats:
        """Return w = Xᵀ a, summed over each class."""
        return to_host(self._coef(_solved(duals)).double(), "w")

    def _cross_validate(self, labels: Labels, classes: Classes = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (P, K, cv, c) scores and (P, K) violations, on the device."""
        cv = self._settings.cv
        folds = assign_folds(labels, self.layout.sizes, cv).astype(np.int8)
        scores, violation = cross_validate_labels(
            self._grams, self._up(labels), self._up(folds), cv, self._costs, tol=self._settings.tol,
            max_iter=self._settings.max_iter, classes=classes,
        )  # fmt: skip
        return scores, violation.amax(dim=-1)

    def _fit(self, labels: Labels, C_index: torch.Tensor, classes: Classes = None) -> Solutions:
        solved = fit_labels(
            self._grams, self._up(labels), C_index, self._costs, tol=self._settings.tol,
            max_iter=self._settings.max_iter, classes=classes,
        )  # fmt: skip
        return solved._replace(a=solved.a.nan_to_num())  # of a class that was not asked for

    def _coef(self, solved: Solutions) -> torch.Tensor:
        """Return (P, K, d) on the device."""
        return torch.stack(
            [torch.segment_reduce(a[:, None] * self._x, "sum", lengths=self._sizes, axis=0) for a in solved.a]
        )

    def _up(self, array: NDArray[np.generic]) -> torch.Tensor:
        """Copy to the device; from pinned memory, as a copy from any other would wait for the device."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else tensor


def _solved(duals: Duals) -> Solutions:
    if not isinstance(duals.on_device, Solutions):
        raise TypeError("duals were not solved on the device: a TritonBatch decides by what its own fit returned")
    return duals.on_device
