"""The CPU backend: Gram matrix once a class, every fold and C solved over it, all cores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.device import cpu_count
from fdgpu.directions.folds import balanced_weights, choose_cost, cross_validation_scores, stratified_folds
from fdgpu.directions.problem import ClassSamples, ClassSolution, ClassTask, SolverSettings
from fdgpu.errors import InputError
from fdgpu.kernels.smo_numba import fold_decisions, solve_path

BATCH_BYTES = 1 << 30  # Gram matrices and the folds' copies of them that are held at once
LARGEST_BYTES = 6 << 30  # a single class may take more than a batch, up to this


@dataclass
class _Prepared:
    """A class on its way through the backend."""

    samples: ClassSamples
    y: NDArray[np.float64]
    gram: NDArray[Any]
    folds: NDArray[np.int64]
    decisions: NDArray[np.float64]
    violation: float = 0.0


class NumbaBackend:
    """Batched SMO on all cores; see :mod:`fdgpu.kernels.smo_numba` for the method."""

    name = "numba"

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or cpu_count()

    def solve(self, classes: Sequence[ClassTask], settings: SolverSettings) -> Iterator[ClassSolution]:
        """Yield one solution a class, in order; about 1 GiB of Gram matrices is held at once.

        Raises:
            InputError: before the first class is solved, if one is too large for its Gram matrix.
        """
        self._check_sizes(classes, settings)
        costs = np.asarray(settings.costs, np.float64)
        with ThreadPoolExecutor(self.threads) as pool:
            for batch in self._batches(classes, settings):
                # the pool gathers and whitens the next classes while all cores multiply this one's
                prepared = [_prepare(samples, settings) for samples in pool.map(lambda task: task.load(), batch)]
                tasks = [(item, fold) for item in prepared for fold in range(settings.cv)]
                violations = pool.map(lambda task: _hold_out(*task, costs=costs, settings=settings), tasks)
                for (item, _), violation in zip(tasks, violations, strict=True):
                    item.violation = max(item.violation, violation)
                yield from pool.map(partial(_refit, costs=costs, settings=settings), prepared)

    def _check_sizes(self, classes: Sequence[ClassTask], settings: SolverSettings) -> None:
        largest = max((task.n for task in classes), default=0)
        if self._bytes(largest, settings) > LARGEST_BYTES:
            raise InputError(
                f"a class has {largest} samples: its Gram matrix and folds would take "
                f"{self._bytes(largest, settings) / 2**30:.1f} GiB, the numba backend holds at most "
                f"{LARGEST_BYTES / 2**30:.0f} GiB; fit on a subset of this class"
            )

    def _bytes(self, n: int, settings: SolverSettings) -> int:
        """Bytes of a Gram matrix and of the copies of its training parts, of which every thread holds one."""
        copies = min(self.threads, settings.cv) * ((settings.cv - 1) / settings.cv) ** 2
        return int(n * n * np.dtype(settings.dtype).itemsize * (1 + copies))

    def _batches(self, classes: Sequence[ClassTask], settings: SolverSettings) -> Iterator[list[ClassTask]]:
        batch: list[ClassTask] = []
        held = 0
        for task in classes:
            size = self._bytes(task.n, settings)
            if batch and held + size > BATCH_BYTES:
                yield batch
                batch, held = [], 0
            batch.append(task)
            held += size
        if batch:
            yield batch


def _prepare(samples: ClassSamples, settings: SolverSettings) -> _Prepared:
    return _Prepared(
        samples=samples,
        y=np.where(samples.right, 1.0, -1.0),
        gram=samples.x @ samples.x.T,  # NumPy sees the symmetry and does half the work
        folds=stratified_folds(samples.right, settings.cv),
        decisions=np.empty((len(settings.costs), len(samples.x))),
    )


def _hold_out(item: _Prepared, fold: int, *, costs: NDArray[np.float64], settings: SolverSettings) -> float:
    """Write the decision values of the samples that ``fold`` holds out."""
    train = item.folds != fold
    weights = np.zeros(len(train))
    weights[train] = balanced_weights(item.samples.right[train])
    violation, _ = fold_decisions(
        item.gram, item.y, item.folds, fold, weights, costs, settings.tol, settings.max_iter, item.decisions
    )
    return float(violation)


def _refit(item: _Prepared, *, costs: NDArray[np.float64], settings: SolverSettings) -> ClassSolution:
    """Choose C and fit all samples of the class with it, warm-started from the smaller C."""
    right = item.samples.right
    scores = cross_validation_scores(item.decisions, right, item.folds, settings.cv)
    best = choose_cost(scores)
    a, intercept, violation, n_iter = solve_path(
        item.gram, item.y, balanced_weights(right), costs[: best + 1], settings.tol, settings.max_iter
    )
    w = item.samples.x.T @ a[best].astype(item.samples.x.dtype)
    return ClassSolution(
        w=w.astype(np.float64),
        intercept=float(intercept[best]),
        cost=float(costs[best]),
        cv_score=float(scores[best]),
        cv_scores=scores,
        n_iter=int(n_iter[best]),
        violation=max(item.violation, float(violation[best])),
    )
