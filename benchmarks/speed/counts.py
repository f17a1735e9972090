"""Bytes and operations of every kernel, counted from its code and, for the solvers, from the steps they took.

Operations are additions, multiplications, divisions, comparisons and selections; a fused multiply-add is two.
Two kinds of bytes are kept apart: what must come from and go to memory once, however large the caches, and what the
loads and stores of the code ask for, most of which caches serve. Registers are not counted, nor are the vectors that
the CPU solver keeps in its first cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.speed.steps import Path

FLOAT, INT64, LABEL = 4, 8, 1


@dataclass(frozen=True)
class Work:
    """Bytes that memory must move, bytes that the code asks for, and operations."""

    bytes: float = 0.0
    requested_bytes: float = 0.0
    operations: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.bytes + other.bytes,
            self.requested_bytes + other.requested_bytes,
            self.operations + other.operations,
        )

    def times(self, copies: float) -> Work:
        """Return so many times the work."""
        return Work(copies * self.bytes, copies * self.requested_bytes, copies * self.operations)


# --- Gram matrices --------------------------------------------------------------------------------------------------


def gram_work_numba(sizes: Sequence[int], d: int) -> Work:
    """Count ``x @ x.T``, of which BLAS multiplies one triangle; I/O: read x, write K."""
    moved = sum(FLOAT * (n * d + n * n) for n in sizes)
    return Work(moved, moved, sum(n * (n + 1) * d for n in sizes))


def gram_work_triton(sizes: Sequence[int], d: int, block: int, block_d: int, products: int) -> Work:
    """Count the tiles of the lower triangle: each reads its rows and its columns, and is written with its mirror image.

    Args:
        sizes: rows of each class.
        d: features of a row.
        block: rows of a tile; a tile at the edge multiplies zeros, but does not read them.
        block_d: features a step, with zeros past the last.
        products: tensor-core products for one (three where float32 is made of TF32).
    """
    work = Work()
    padded = block_d * -(-d // block_d)
    for n in sizes:
        side = -(-n // block)
        # row tile i is read as rows i + 1 times and as columns side - i times: side + 1 times in all
        requested = FLOAT * (d * n * (side + 1) + n * n)
        operations = side * (side + 1) // 2 * 2 * block * block * padded * products
        work += Work(FLOAT * (n * d + n * n), requested, operations)
    return work


# --- solvers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What one step asks of caches and arithmetic, for each sample that the solver holds.

    - numba (``smo_numba._ascend``): two rows of K, of the training part that was gathered. Operations: 4 for the index
      of i, 10 for the gains, 3 for the index of j, 7 for the new residual and its extremes.
    - triton (``smo_triton.ascend``): two rows of K and its diagonal, of the whole class. Operations: 4 for bounds and
      room, 13 for drop, curvature, gain and step, 7 for the reduction over them, 12 for the new alphas, 3 for v, 12 for
      its extremes.
    """

    vectors: int
    operations: int


NUMBA_STEP = Step(vectors=2, operations=24)
TRITON_STEP = Step(vectors=3, operations=51)


def solver_work_numba(paths: Iterable[Path], gather: bool) -> Work:
    """Count the CPU solver.

    Fresh residuals: one for the bounds, one after each C that moved, and one before each C after the first that did;
    a residual that sends the solver back for more steps is not known and not counted.

    Args:
        paths: the problems.
        gather: whether they are folds, whose training part is copied and whose held-out rows are decided.
    """
    work = Work()
    for path in paths:
        m, held = path.train, path.n - path.train
        products = 1 + path.moved + path.after_first_move
        requested = FLOAT * (path.steps * NUMBA_STEP.vectors * m + products * m * m)
        operations = path.steps * NUMBA_STEP.operations * m + products * 2 * m * m
        if gather:
            requested += FLOAT * (2 * m * m + held * m)
            operations += len(path.n_iter) * 2 * held * m
        work += Work(FLOAT * path.n * (path.n if not gather else path.train), requested, operations)
    return work


def solver_work_triton(paths: Iterable[Path], problems_a_class: int) -> Work:
    """Count the GPU solver, whose problems read the whole Gram matrix of their class, held-out samples and all.

    Fresh products: one for the bounds and one after each C that moved; a second one at the same C is not known and not
    counted. ``problems_a_class`` share one Gram matrix, which memory must deliver once.
    """
    work = Work()
    for path in paths:
        n, products = path.n, 1 + path.moved
        labels = LABEL * 2 * n * (1 + len(path.n_iter))
        requested = FLOAT * (path.steps * TRITON_STEP.vectors * n + products * (n * n + 3 * n)) + labels
        operations = path.steps * TRITON_STEP.operations * n + products * 2 * n * n
        work += Work(FLOAT * n * n / problems_a_class, requested, operations)
    return work


# --- captions -------------------------------------------------------------------------------------------------------


def caption_work(candidates: int, groups: int, d: int, itemsize: int, block: int) -> Work:
    """Count ``score_captions`` on candidates that are rows of their own; I/O: read captions, write and read scores.

    Three vectors of d come with every tile of ``block`` captions, from caches but for the first time. Eight operations
    an element: the difference, its scaling, and three multiplications and additions. Groups fill their tiles.
    """
    tiles = -(-candidates // block)
    moved = candidates * (d * itemsize + 2 * FLOAT) + FLOAT * d * (2 * groups + 1)
    requested = candidates * (d * itemsize + 2 * FLOAT) + tiles * (3 * FLOAT * d + 8)
    return Work(moved, requested, 8.0 * candidates * d)


# --- rows -----------------------------------------------------------------------------------------------------------


def preparation_work(rows: int, d: int) -> Work:
    """Count what a fit does to rows on the device that need no whitening, each pass reading or writing all of them.

    Check that all are finite (read), gather (read, write), norms (read), divide (read, write).
    """
    passes = 6 * FLOAT * rows * d
    return Work(passes, passes, 6.0 * rows * d)
