"""Bytes and operations by formula, against programs that count one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.speed.comparison import Fitted
from benchmarks.speed.counts import (
    NUMBA_STEP,
    TRITON_STEP,
    Work,
    caption_work,
    gram_work_numba,
    gram_work_triton,
    preparation_work,
    solver_work_numba,
    solver_work_triton,
)
from benchmarks.speed.data import Problem, Shape, make
from benchmarks.speed.steps import Path, cross_validation_paths, refit_paths
from fdgpu.directions.batch import assign_folds
from fdgpu.kernels.gram_triton import tile_table
from fdgpu.kernels.smo_numba import held_out_recalls

COSTS = (1e-3, 1e-1, 1.0)


@pytest.mark.parametrize("sizes", [[3], [8, 1], [9, 16, 4]], ids=str)
def test_gram_tiles_are_counted_load_by_load(sizes: list[int]) -> None:
    block, block_d, d, products = 4, 8, 11, 3
    read = operations = 0
    for k, row_tile, column_tile in tile_table(torch.tensor(sizes), sizes, block).tolist():
        for tile in (row_tile, column_tile):
            read += sum(4 * d for row in range(tile * block, (tile + 1) * block) if row < sizes[k])
        operations += sum(2 * products * block * block for _ in range(16))  # d, rounded up to whole steps
    written = sum(4 for n in sizes for _ in range(n * n))
    work = gram_work_triton(sizes, d, block, block_d, products)
    assert work.requested_bytes == read + written
    assert work.operations == operations
    assert work.bytes == sum(4 * n * d for n in sizes) + written


def test_gram_of_blas_is_a_triangle() -> None:
    operations = sum(2 * 5 for n in (3, 6) for i in range(n) for j in range(i + 1))
    assert gram_work_numba([3, 6], 5) == Work(4 * (9 * 5 + 45), 4 * (9 * 5 + 45), operations)


def problem_and_paths() -> tuple[Problem, list[Path]]:
    problem = make(Shape("", (30, 41), 12))
    return problem, cross_validation_paths(problem, COSTS, 2, 1e-3, range(2))


def test_steps_are_those_of_the_backends_own_call() -> None:
    problem, paths = problem_and_paths()
    counted = []
    for k in range(2):
        x, labels = problem.x[problem.rows(k)], np.where(problem.right[problem.rows(k)], 1, -1).astype(np.int8)
        folds = assign_folds(labels[None], [len(x)], 2)[0]
        for fold in range(2):
            recalls = np.empty((3, 2))
            _, steps = held_out_recalls(x @ x.T, labels, folds, fold, np.array(COSTS), 1e-3, 10_000, recalls)
            counted.append((len(x), int((folds != fold).sum()), steps))
    assert [(path.n, path.train, path.steps) for path in paths] == counted
    assert sum(path.steps for path in paths) > 20


def test_a_refit_ends_at_the_c_that_was_chosen() -> None:
    problem, _ = problem_and_paths()
    fitted = Fitted(np.arange(2), np.array([1e-3, 1.0]), np.zeros((2, 12), np.float32), np.zeros((2, 3)))
    first, last = refit_paths(problem, fitted, COSTS, 1e-3)
    assert (first.n, first.train, len(first.n_iter)) == (30, 30, 1)
    assert (last.n, last.train, len(last.n_iter)) == (41, 41, 3)


def test_permuted_labels_take_other_steps() -> None:
    problem, paths = problem_and_paths()
    permuted = cross_validation_paths(problem, COSTS, 2, 1e-3, range(2), permuted=True)
    assert [(path.n, path.train) for path in permuted] == [(path.n, path.train) for path in paths]
    assert [path.n_iter for path in permuted] != [path.n_iter for path in paths]


def test_path_knows_which_costs_moved() -> None:
    path = Path(10, 5, (0, 3, 0, 4))
    assert (path.steps, path.moved, path.after_first_move) == (7, 2, 2)
    still = Path(10, 5, (0, 0))
    assert (still.moved, still.after_first_move) == (0, 0)


def test_solver_of_the_cpu_is_counted_as_it_runs() -> None:
    """Walk along the path as ``solve_path`` does, and count rows and products."""
    _, paths = problem_and_paths()
    requested = operations = moved_bytes = 0
    for path in paths:
        m, held = path.train, path.n - path.train
        moved_bytes += 4 * m * path.n
        requested += 4 * (2 * m * m + held * m)
        products, at_bounds = 1, True
        for steps in path.n_iter:
            products += not at_bounds
            for _ in range(steps):
                requested += 4 * 2 * m
                operations += 24 * m
            products += steps > 0
            at_bounds &= steps == 0
            operations += sum(2 * m for _ in range(held))
        requested += products * 4 * m * m
        operations += products * 2 * m * m
    assert solver_work_numba(paths, gather=True) == Work(moved_bytes, requested, operations)


def test_solver_of_the_gpu_is_counted_as_it_runs() -> None:
    """Walk along the path as ``cross_validate_kernel`` does; all of it is over whole classes."""
    _, paths = problem_and_paths()
    requested = operations = 0
    for path in paths:
        n, products = path.n, 1
        requested += 2 * n
        for steps in path.n_iter:
            requested += 2 * n + steps * 3 * 4 * n
            operations += steps * 51 * n
            products += steps > 0
        requested += products * sum(4 * n + 3 * 4 for _ in range(n))  # a row; a stored, read, and read back
        operations += products * 2 * n * n
    assert solver_work_triton(paths, problems_a_class=2) == Work(4 * (30**2 + 41**2), requested, operations)


class Counting(float):
    """A number that counts what is done to it."""

    done = 0

    def _counted(self, value: float) -> Counting:
        Counting.done += 1
        return Counting(value)

    def __add__(self, other: float) -> Counting:
        return self._counted(float(self) + float(other))

    def __sub__(self, other: float) -> Counting:
        return self._counted(float(self) - float(other))

    def __mul__(self, other: float) -> Counting:
        return self._counted(float(self) * float(other))

    def __truediv__(self, other: float) -> Counting:
        return self._counted(float(self) / float(other))

    def __ge__(self, other: float) -> bool:
        Counting.done += 1
        return float(self) >= float(other)

    def larger(self, other: float) -> Counting:
        return self._counted(max(float(self), float(other)))

    def smaller(self, other: float) -> Counting:
        return self._counted(min(float(self), float(other)))

    def choose(self, condition: bool, other: float) -> Counting:
        return self._counted(float(self) if condition else float(other))


def test_operations_of_a_step_are_those_of_its_loops() -> None:
    """The four loops of ``_ascend`` over one sample, written with numbers that count."""
    v, no_rise, no_fall, top, d, row_i, row_j, step, two = (Counting(value) for value in range(1, 10))
    Counting.done = 0
    index = Counting(0).choose(v - no_rise >= top, 7).smaller(7)
    fall = (top - v - no_fall).larger(0)
    gain = fall * fall / (d + d - two * row_i).larger(1e-12)
    best = gain.larger(0)
    index = Counting(0).choose(gain >= best, 7).smaller(index)
    moved = v - step * (row_i - row_j)
    (moved - no_rise).larger(0)
    (moved + no_fall).smaller(0)
    assert Counting.done == NUMBA_STEP.operations
    assert TRITON_STEP.operations == 4 + 13 + 7 + 12 + 3 + 12  # as the docstring breaks it down


def test_captions_are_read_once() -> None:
    candidates, d = 48, 10
    read_once = sum(2 * d for _ in range(candidates)) + 4 * d * (2 * 3 + 1)
    scores = 2 * 4 * candidates
    work = caption_work(candidates, 3, d, itemsize=2, block=16)
    assert work.bytes == read_once + scores
    assert work.requested_bytes == 2 * d * candidates + scores + 3 * (3 * 4 * d + 8)
    assert work.operations == 8 * d * candidates


def test_works_add_and_multiply() -> None:
    assert Work(1, 2, 3) + Work(10, 20, 30) == Work(11, 22, 33)
    assert Work(1, 2, 3).times(4) == Work(4, 8, 12)
    assert preparation_work(5, 2).bytes == 6 * 4 * 10
