"""fdgpu's kernels on one shape, one by one: time measured, bytes and operations counted, shares of the ceilings.

A share of the copy bandwidth counts what memory must move once; what caches serve is asked for besides, and may pass
100 %. The solver is bound by neither: its steps wait for each other, and for two reductions each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.speed.ceilings import Ceilings
from benchmarks.speed.clock import kernel_seconds
from benchmarks.speed.counts import (
    Work,
    gram_work_numba,
    gram_work_triton,
    solver_work_numba,
    solver_work_triton,
)
from benchmarks.speed.measuring import Measured, device_name
from benchmarks.speed.rows import Row
from benchmarks.speed.steps import Path, cross_validation_paths, refit_paths
from fdgpu.device import cpu_count
from fdgpu.directions.batch import Layout, assign_folds
from fdgpu.directions.numba_backend import NumbaBatch
from fdgpu.directions.parameters import SolverSettings

GRAM, CROSS_VALIDATION, REFIT = "Gram matrices", "cross-validation", "refit"


@dataclass(frozen=True)
class Paths:
    """The problems of one fit, with the steps that each of them takes."""

    cross_validation: list[Path]
    refit: list[Path]

    @classmethod
    def of(cls, measured: Measured, settings: SolverSettings) -> Paths:
        """Count over all classes."""
        every = range(measured.shape.classes)
        costs, cv, tol = tuple(settings.Cs), settings.cv, settings.tol
        return cls(
            cross_validation_paths(measured.problem, costs, cv, tol, every),
            refit_paths(measured.problem, measured.fitted, costs, tol),
        )


@dataclass(frozen=True)
class Kernel:
    """One kernel on all classes of a shape."""

    name: str
    run: Callable[[], object]
    work: Work


@dataclass(frozen=True)
class Yardstick:
    """Whose kernels run on what, what that can do at most, and how often they are timed."""

    backend: str
    device: torch.device
    ceilings: Ceilings
    rounds: int


def kernel_rows(measured: Measured, paths: Paths, settings: SolverSettings, against: Yardstick) -> list[Row]:
    """Time every kernel of a fit."""
    open_kernels = triton_kernels if against.backend == "triton" else numba_kernels
    shape = measured.shape
    with open_kernels(measured, paths, settings, against.device) as kernels:
        return [kernel_row(shape.name, shape.classes, kernel, against) for kernel in kernels]


def kernel_row(shape: str, classes: int, kernel: Kernel, against: Yardstick) -> Row:
    """Time one kernel, and compare what it does with what the device can do."""
    took = kernel_seconds(kernel.run, against.device, against.rounds)
    work, ceilings = kernel.work, against.ceilings
    copy, matmul = work.bytes / took / ceilings.copy, work.operations / took / ceilings.matmul
    asked = work.requested_bytes / took / ceilings.copy
    return Row(
        shape=shape,
        line=f"kernel: {kernel.name}",
        kind="kernel",
        device=device_name(against.device),
        timed=f"all {classes}",
        rounds=against.rounds,
        fdgpu_s=took / classes,
        total_s=took,
        bytes=work.bytes / classes,
        requested_bytes=work.requested_bytes / classes,
        operations=work.operations / classes,
        copy_share=copy,
        matmul_share=matmul,
        result=f"{percent(copy)} of copy ({percent(asked)} asked), {percent(matmul)} of matmul",
    )


def percent(share: float) -> str:
    """Return a share in words: two digits below 10 %."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


@contextmanager
def numba_kernels(
    measured: Measured, paths: Paths, settings: SolverSettings, _: torch.device
) -> Iterator[list[Kernel]]:
    """Yield the CPU backend's: BLAS, and the solver on a batch of all classes at once."""
    problem, d = measured.problem, measured.shape.d
    classes = [(problem.x[problem.rows(k)], problem.right[problem.rows(k)]) for k in range(measured.shape.classes)]
    layout = Layout(tuple(problem.sizes), np.concatenate([right for _, right in classes]))
    rows, grams = [x for x, _ in classes], [x @ x.T for x, _ in classes]
    threads, C_index = cpu_count(), _chosen(measured, settings)
    with ThreadPoolExecutor(threads) as pool:
        batch = NumbaBatch(layout, rows, grams, settings, pool, threads)
        labels = batch.layout.labels
        yield [
            Kernel(GRAM, lambda: [x @ x.T for x, _ in classes], gram_work_numba(problem.sizes, d)),
            Kernel(
                CROSS_VALIDATION,
                lambda: batch.cross_validate(labels),
                solver_work_numba(paths.cross_validation, gather=True),
            ),
            Kernel(REFIT, lambda: batch.fit(labels, C_index), solver_work_numba(paths.refit, gather=False)),
        ]


@contextmanager
def triton_kernels(
    measured: Measured, paths: Paths, settings: SolverSettings, device: torch.device
) -> Iterator[list[Kernel]]:
    """Yield the CUDA backend's launches, on tensors that are there already; on the CPU only where Triton interprets."""
    from fdgpu.kernels import gram_triton, smo_batch, smo_triton

    problem, sizes, cv = measured.problem, measured.problem.sizes, settings.cv
    x, starts = torch.from_numpy(problem.x).to(device), torch.from_numpy(problem.bounds).to(device)
    grams = smo_batch.GramBatch(*gram_triton.gram_matrices(x, starts, sizes), starts, sizes)
    matrix = np.where(problem.right, 1, -1).astype(np.int8)[None]
    labels = torch.from_numpy(matrix).to(device)
    folds = torch.from_numpy(assign_folds(matrix, sizes, cv).astype(np.int8)).to(device)
    C_index = torch.from_numpy(_chosen(measured, settings).astype(np.int32)).to(device)
    costs = torch.tensor(settings.Cs, device=device)
    precision, _ = gram_triton.precision_of(x.dtype, _capability(device))
    products = 3 if precision == "tf32x3" else 1
    stop: dict[str, Any] = {"tol": settings.tol, "max_iter": settings.max_iter}
    yield [
        Kernel(
            GRAM,
            lambda: gram_triton.gram_matrices(x, starts, sizes),
            gram_work_triton(sizes, x.shape[1], gram_triton.BLOCK, gram_triton.BLOCK_D, products),
        ),
        Kernel(
            CROSS_VALIDATION,
            lambda: smo_triton.cross_validate_labels(grams, labels, folds, cv, costs, **stop),
            solver_work_triton(paths.cross_validation, cv),
        ),
        Kernel(
            REFIT,
            lambda: smo_triton.fit_labels(grams, labels, C_index, costs, **stop),
            solver_work_triton(paths.refit, 1),
        ),
    ]


def _capability(device: torch.device) -> int | None:
    if device.type != "cuda":
        return None
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def _chosen(measured: Measured, settings: SolverSettings) -> np.ndarray:
    """Return (1, k) the index in the grid of every class's C."""
    return np.array([[settings.Cs.index(float(cost)) for cost in measured.fitted.cost]])
