"""The CUDA backend: Gram matrices and every sheet, fold and C of a batch of classes on the device.

Rows are gathered and whitened on the device, where they are already if the caller's embeddings are. Permutations and
folds go up as one byte a label, scores come back; nothing n x n leaves the device. See
:mod:`fdgpu.kernels.smo_triton` for the method.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import bring_down, doubles
from fdgpu.directions.batch import ClassBatch, Fits, Labels, Layout, PaperFits
from fdgpu.directions.batching import in_batches
from fdgpu.directions.folds import SCORE_ROUNDING, folds_of_sheets
from fdgpu.directions.newton_batch import NewtonBatch
from fdgpu.directions.problem import ClassTask, SolverSettings
from fdgpu.errors import InputError
from fdgpu.kernels.gram_triton import gram_matrices
from fdgpu.kernels.smo_sheets import LARGEST_CLASS, SMALLEST_TOL, GramBatch, SheetFits
from fdgpu.kernels.smo_triton import cross_validate_sheets, fit_sheets

SHARE_OF_MEMORY = 0.4  # of the device's free memory for the Gram matrices of one batch
FALLBACK_BYTES = 1 << 30  # where the device does not say how much is free


class TritonBackend:
    """Batched SMO on a CUDA device; ``device="cpu"`` only where Triton interprets."""

    name = "triton"

    def __init__(self, device: str | torch.device = "cuda") -> None:
        self.device = torch.device(device)

    def open(self, classes: Sequence[ClassTask], settings: SolverSettings) -> Iterator[ClassBatch]:
        """Yield batches of classes, in order, as many at once as the device holds.

        A class that one program cannot hold is a batch of its own, solved on the same device without a Gram matrix.

        Raises:
            InputError: if the tolerance is beyond what the kernel solves.
        """
        if settings.tol < SMALLEST_TOL:
            raise InputError(
                f"tol is {settings.tol:g}: the triton backend computes in float32 and resolves {SMALLEST_TOL:g}; "
                "use backend='numba' for smaller ones"
            )
        for batch in in_batches(classes, lambda task: 4 * task.n * task.n, self._capacity(), LARGEST_CLASS):
            if batch[0].n > LARGEST_CLASS:
                yield NewtonBatch(batch[0], settings, self.device)
            else:
                yield TritonBatch(batch, settings, self.device)

    def _capacity(self) -> int:
        if self.device.type != "cuda":
            return FALLBACK_BYTES
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(SHARE_OF_MEMORY * free)


@dataclass(frozen=True)
class TritonFits(Fits):
    """What was solved, on the host for the procedure and on the device for what is computed from it."""

    solved: SheetFits


class TritonBatch:
    """Classes with their Gram matrices on the device; a :class:`~fdgpu.directions.batch.ClassBatch`."""

    solver = "gram"

    def __init__(self, tasks: Sequence[ClassTask], settings: SolverSettings, device: torch.device) -> None:
        sizes = [task.n for task in tasks]
        self.layout = Layout(tuple(sizes), np.concatenate([task.right for task in tasks]))
        self._settings, self._device = settings, device
        rows = np.concatenate([task.rows for task in tasks])
        self._x = tasks[0].samples.whitened(rows, torch.float32, device)
        self._sizes = torch.tensor(sizes, dtype=torch.int64, device=device)
        starts = torch.nn.functional.pad(self._sizes.cumsum(0), (1, 0))
        grams, gram_starts = gram_matrices(self._x, starts, sizes)
        self._grams = GramBatch(grams, gram_starts, starts, sizes)
        self._costs = torch.tensor(settings.costs, dtype=torch.float32, device=device)

    def paper_fits(self) -> PaperFits:
        """Choose every class's C, and fit it; all of it on the device, which is waited for once, at the end."""
        scores, cv_violation = self._cross_validate(self.layout.labels)
        mean = scores.mean(dim=2)
        best = mean.amax(dim=-1, keepdim=True)
        places = (mean >= best - SCORE_ROUNDING).to(torch.int32).argmax(dim=-1).to(torch.int32)  # the smallest C
        fits = self._fit(self.layout.labels, places)
        violation = torch.maximum(cv_violation, fits.violation)
        down = bring_down(mean[0], places[0], self._coef(fits)[0], fits.intercept[0], fits.n_iter[0], violation[0])
        chosen, n_iter = down[1].astype(np.int64), down[4].astype(np.int64)
        return PaperFits(down[0], chosen, down[2], down[3], n_iter, down[5])

    def cross_validate(
        self, labels: Labels, classes: Sequence[int] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Hold out every fold of every sheet and class, in one launch a block size."""
        scores, violation = bring_down(*self._cross_validate(labels, classes))
        return scores, violation

    def fit(self, labels: Labels, places: NDArray[np.int64], classes: Sequence[int] | None = None) -> Fits:
        """Fit every sheet on every class."""
        solved = self._fit(labels, self._up(places.astype(np.int32)), classes)
        a, intercept, violation, n_iter = bring_down(solved.a, solved.intercept, solved.violation, solved.n_iter)
        return TritonFits(a, intercept, violation, n_iter.astype(np.int64), solved)

    def decide(self, fits: Fits) -> NDArray[np.float64]:
        """Return w·x + b of all samples, which the solver keeps up to date."""
        return doubles(_solved(fits).decisions)

    def coef(self, fits: Fits) -> NDArray[np.float64]:
        """Return w = Xᵀ a, summed over each class."""
        return doubles(self._coef(_solved(fits)))

    def _cross_validate(
        self, labels: Labels, classes: Sequence[int] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (P, K, cv, c) scores and (P, K) violations, on the device."""
        cv = self._settings.cv
        folds = folds_of_sheets(labels, self.layout.sizes, cv).astype(np.int8)
        scores, violation = cross_validate_sheets(
            self._grams, self._up(labels), self._up(folds), cv, self._costs, classes=classes, **self._stop
        )
        return scores, violation.amax(dim=-1)

    def _fit(self, labels: Labels, places: torch.Tensor, classes: Sequence[int] | None = None) -> SheetFits:
        solved = fit_sheets(self._grams, self._up(labels), places, self._costs, classes=classes, **self._stop)
        return solved._replace(a=solved.a.nan_to_num())  # of a class that was not asked for

    def _coef(self, solved: SheetFits) -> torch.Tensor:
        """Return (P, K, d) on the device."""
        sheets = [torch.segment_reduce(a[:, None] * self._x, "sum", lengths=self._sizes, axis=0) for a in solved.a]
        return torch.stack(sheets)

    @property
    def _stop(self) -> dict[str, Any]:
        return {"tol": self._settings.tol, "max_iter": self._settings.max_iter}

    def _up(self, array: NDArray[Any]) -> torch.Tensor:
        """Copy to the device; from pinned memory, as a copy from any other would wait for the device."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else tensor


def _solved(fits: Fits) -> SheetFits:
    if not isinstance(fits, TritonFits):
        raise TypeError(f"fits is {type(fits).__name__}: a TritonBatch decides by what its own fit returned")
    return fits.solved
