r"""libsvm's own steps and roundings on the GPU, a problem a program: :mod:`fdgpu.kernels.libsvm_numba`'s method.

Everything but the Gram matrix is float64, and nothing is fused, so that the roundings are libsvm's. Instead of swapping
samples, a program keeps their order as a rank, and a mask of those that are not left out. After samples were left out
and came back, libsvm's order is another; that decides between exact ties alone. A Gram matrix is a product of matrices,
and may differ by an ulp from libsvm's dot products: where a diagonal decides a tie, that is a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from fdgpu.kernels.smo_batch import GramBatch, Solutions, check_folds, check_indices, check_problem
from fdgpu.kernels.smo_triton import SCRATCH_BYTES, launches

TAU = tl.constexpr(1e-12)  # libsvm's curvature of a pair that has none
FAR = tl.constexpr(1e300)  # beyond every value; finite, so that differences stay numbers
LOOK = tl.constexpr(1000)  # steps between two looks at what may be left out


@dataclass(frozen=True)
class ExactGrams(GramBatch):
    """Gram matrices that were multiplied in float64 and rounded to float32, and ``exact`` (N,) float64 diagonals."""

    exact: torch.Tensor

    @classmethod
    def of(cls, x: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> ExactGrams:
        """Multiply the rows ``x`` (N, d) float64 of each class."""
        grams = [part @ part.T for part in x.split(sizes)]
        squares = torch.tensor([0, *(n * n for n in sizes)]).cumsum(0)[: len(sizes)].to(starts)
        return cls(
            torch.cat([one.float().flatten() for one in grams]), squares, starts, sizes,
            torch.cat([one.diagonal() for one in grams]),
        )  # fmt: skip


# --- kernels --------------------------------------------------------------------------------------------------------
# y is libsvm's, +1 for wrong and -1 for right, and u its y·G; see libsvm_numba. ``taking`` are the samples that take
# part, ``active`` those of them that are not left out.


@triton.jit
def value_at(values, index, i):
    """Return the value at an index."""
    return tl.sum(tl.where(index == i, values, 0.0), 0)


@triton.jit
def side_of(y, alpha, bound):
    """Return 1 where y·alpha may not rise, -1 where it may not fall, 0 where it is free."""
    return tl.where(alpha >= bound, y, tl.where(alpha <= 0, -y, 0.0))


@triton.jit
def choose(gram_ptr, n, diagonal, index, rank, y, alpha, bound, u, active, tol):
    """(i, j), the last of those that are equally good; j = -1 where the problem is solved."""
    side = side_of(y, alpha, bound)
    may_rise, may_fall = active & (side != 1), active & (side != -1)
    top = tl.max(tl.where(may_rise, -u, -FAR), 0)
    first = tl.max(tl.where(may_rise & (-u == top), rank, -1), 0)
    i = tl.sum(tl.where(active & (rank == first), index, 0), 0)
    row = tl.load(gram_ptr + i * n + index, mask=index < n, other=0.0).to(tl.float64)
    falling = tl.max(tl.where(may_fall, u, -FAR), 0)
    difference = top + u
    curvature = value_at(diagonal, index, i) + diagonal - 2.0 * row
    change = -(difference * difference) / tl.where(curvature > 0, curvature, TAU)
    may_join = may_fall & (difference > 0)
    best = tl.min(tl.where(may_join, change, FAR), 0)
    second = tl.max(tl.where(may_join & (change == best), rank, -1), 0)
    j = tl.sum(tl.where(active & (rank == second), index, 0), 0)
    solved = (first < 0) | (second < 0) | (top + falling < tol)
    return i, tl.where(solved, -1, j)


@triton.jit
def moved(y_i, y_j, g_i, g_j, a_i, a_j, most_i, most_j, curvature):
    """Return both alphas after the pair was moved as far as it helps and their bounds allow."""
    # of different labels: their difference stays
    step, difference = (-g_i - g_j) / curvature, a_i - a_j
    p, q = a_i + step, a_j + step
    low_j, low_i = (difference > 0) & (q < 0), (difference <= 0) & (p < 0)
    p, q = tl.where(low_j, difference, tl.where(low_i, 0.0, p)), tl.where(low_j, 0.0, tl.where(low_i, -difference, q))
    beyond = difference > most_i - most_j
    high_i, high_j = beyond & (p > most_i), (beyond == 0) & (q > most_j)
    other_p = tl.where(high_i, most_i, tl.where(high_j, most_j + difference, p))
    other_q = tl.where(high_i, most_i - difference, tl.where(high_j, most_j, q))
    # of the same label: their sum stays
    step, total = (g_i - g_j) / curvature, a_i + a_j
    p, q = a_i - step, a_j + step
    high_i, low_j = (total > most_i) & (p > most_i), (total <= most_i) & (q < 0)
    p, q = (
        tl.where(high_i, most_i, tl.where(low_j, total, p)),
        tl.where(high_i, total - most_i, tl.where(low_j, 0.0, q)),
    )
    high_j, low_i = (total > most_j) & (q > most_j), (total <= most_j) & (p < 0)
    p, q = (
        tl.where(high_j, total - most_j, tl.where(low_i, 0.0, p)),
        tl.where(high_j, most_j, tl.where(low_i, total, q)),
    )
    return tl.where(y_i == y_j, p, other_p), tl.where(y_i == y_j, q, other_q)


@triton.jit
def plus_product(gram_ptr, n, a_ptr, a, index, total):
    """Total + K a, row by row; a passes through memory."""
    tl.store(a_ptr + index, a, mask=index < n)
    tl.debug_barrier()  # every thread reads what others stored
    for row in range(n):
        own = tl.load(gram_ptr + row * n + index, mask=index < n, other=0.0).to(tl.float64)
        total += tl.load(a_ptr + row) * own
    tl.debug_barrier()  # the next product may store only now
    return total


@triton.jit
def extremes(y, alpha, bound, u, active):
    """Largest -u that may rise and largest u that may fall; their sum is the KKT violation."""
    side = side_of(y, alpha, bound)
    rising = tl.max(tl.where(active & (side != 1), -u, -FAR), 0)
    return rising, tl.max(tl.where(active & (side != -1), u, -FAR), 0)


@triton.jit
def reconstructed(gram_ptr, n, a_ptr, index, y, alpha, bound, u, fixed, taking, active):
    """U, with that of the samples that were left out computed anew."""
    free = active & (side_of(y, alpha, bound) == 0)
    anew = plus_product(gram_ptr, n, a_ptr, tl.where(free, y * alpha, 0.0), index, fixed - y)
    return tl.where(taking & (active == 0), anew, u)


@triton.jit
def solve(gram_ptr, n, a_ptr, diagonal, labels, taking, cost, index, tol, max_iter):
    """(a, K a + b, b, violation, steps, whether both kinds are there) for one C, from zero."""
    wrong, right = taking & (labels < 0), taking & (labels > 0)
    m_wrong, m_right = tl.sum(wrong.to(tl.int32), 0), tl.sum(right.to(tl.int32), 0)
    m = m_wrong + m_right
    solvable = (m_wrong > 0) & (m_right > 0)
    rank = tl.where(
        wrong, tl.cumsum(wrong.to(tl.int32), 0) - 1, m_wrong + tl.cumsum(right.to(tl.int32), 0) - 1
    )  # the order of libsvm's samples
    of_wrong = cost * (m.to(tl.float64) / (2 * tl.maximum(m_wrong, 1)).to(tl.float64))
    of_right = cost * (m.to(tl.float64) / (2 * tl.maximum(m_right, 1)).to(tl.float64))
    y = tl.where(wrong, 1.0, tl.where(right, -1.0, 0.0)).to(tl.float64)
    bound = tl.where(wrong, of_wrong, tl.where(right, of_right, 0.0))
    alpha, fixed = tl.zeros_like(y), tl.zeros_like(y)
    u, active = -y, taking
    steps, countdown, near = 0, tl.minimum(m, LOOK) + 1, 0
    running = solvable.to(tl.int32)
    while (running > 0) & (steps < max_iter):
        countdown -= 1
        if countdown == 0:
            countdown = tl.minimum(m, LOOK)
            rising, falling = extremes(y, alpha, bound, u, active)
            if (near == 0) & (rising + falling <= tol * 10):
                near = 1
                u = reconstructed(gram_ptr, n, a_ptr, index, y, alpha, bound, u, fixed, taking, active)
                active = taking
            side = side_of(y, alpha, bound)
            idle = ((side == 1) & (-u > rising)) | ((side == -1) & (u > falling))
            active = active & (idle == 0)
        i, j = choose(gram_ptr, n, diagonal, index, rank, y, alpha, bound, u, active, tol)
        if j < 0:
            u = reconstructed(gram_ptr, n, a_ptr, index, y, alpha, bound, u, fixed, taking, active)
            active = taking
            i, j = choose(gram_ptr, n, diagonal, index, rank, y, alpha, bound, u, active, tol)
            countdown = 1
        if j < 0:
            running = 0
        else:
            steps += 1
            row_i = tl.load(gram_ptr + i * n + index, mask=index < n, other=0.0).to(tl.float64)
            row_j = tl.load(gram_ptr + j * n + index, mask=index < n, other=0.0).to(tl.float64)
            curvature = value_at(diagonal, index, i) + value_at(diagonal, index, j) - 2.0 * value_at(row_i, index, j)
            curvature = tl.where(curvature <= 0, TAU, curvature)
            y_i, y_j = value_at(y, index, i), value_at(y, index, j)
            a_i, a_j = value_at(alpha, index, i), value_at(alpha, index, j)
            most_i, most_j = value_at(bound, index, i), value_at(bound, index, j)
            g_i, g_j = y_i * value_at(u, index, i), y_j * value_at(u, index, j)
            p, q = moved(y_i, y_j, g_i, g_j, a_i, a_j, most_i, most_j, curvature)
            alpha = tl.where(index == i, p, tl.where(index == j, q, alpha))
            change = row_i * (y_i * (p - a_i)) + row_j * (y_j * (q - a_j))
            u = tl.where(active, u + change, u)
            turned_i = (p >= most_i).to(tl.float64) - (a_i >= most_i).to(tl.float64)
            turned_j = (q >= most_j).to(tl.float64) - (a_j >= most_j).to(tl.float64)
            fixed += turned_i * y_i * (most_i * row_i)
            fixed += turned_j * y_j * (most_j * row_j)
    u = reconstructed(gram_ptr, n, a_ptr, index, y, alpha, bound, u, fixed, taking, active)
    rising, falling = extremes(y, alpha, bound, u, taking)
    free = taking & (side_of(y, alpha, bound) == 0)
    n_free = tl.sum(free.to(tl.int32), 0)
    mean = tl.sum(tl.where(free, u, 0.0), 0) / tl.maximum(n_free, 1).to(tl.float64)
    intercept = tl.where(n_free > 0, mean, (falling - rising) / 2)
    a = -y * alpha
    decisions = plus_product(gram_ptr, n, a_ptr, a, index, tl.zeros_like(a)) + intercept
    return a, decisions, intercept, rising + falling, steps, solvable


@triton.jit(do_not_specialize=["n_samples", "n_classes", "n_labellings", "cv", "n_costs", "max_iter"])
def cross_validate_kernel(
    grams_ptr,  # flat float32
    diagonal_ptr,  # (N,) float64
    gram_starts_ptr,  # (K,) int64
    starts_ptr,  # (K + 1) int64
    classes_ptr,  # int32 indices of the classes of this launch
    labels_ptr,  # (P, N) int8
    folds_ptr,  # (P, N) int8
    limits_ptr,  # (1 + c,) float64: tol, and every C
    a_ptr,  # (P, cv, c, N) float64 scratch
    hits_ptr,  # (P, K, cv, c, 2) int32: wrong and right samples that were hit
    held_ptr,  # (P, K, cv, 2) int32: and all of them
    violation_ptr,  # (P, K, cv, c) float64
    n_samples,
    n_classes,
    n_labellings,
    cv,
    n_costs,
    max_iter,
    BLOCK: tl.constexpr,
):
    """Hold out one fold of one class under one labelling, for one C."""
    program = tl.program_id(0)
    of_labelling = cv * n_costs
    k = tl.load(classes_ptr + program // (n_labellings * of_labelling)).to(tl.int64)
    labelling = (program % (n_labellings * of_labelling) // of_labelling).to(tl.int64)
    fold, c = program % of_labelling // n_costs, program % n_costs
    start = tl.load(starts_ptr + k)
    n = (tl.load(starts_ptr + k + 1) - start).to(tl.int32)
    index = tl.arange(0, BLOCK)
    at = labelling * n_samples + start + index
    labels = tl.load(labels_ptr + at, mask=index < n, other=0)
    is_held = (tl.load(folds_ptr + at, mask=index < n, other=0) == fold) & (labels != 0)
    diagonal = tl.load(diagonal_ptr + start + index, mask=index < n, other=0.0)
    _, decisions, _, violation, _, solvable = solve(
        grams_ptr + tl.load(gram_starts_ptr + k), n,
        a_ptr + ((labelling * cv + fold) * n_costs + c) * n_samples + start, diagonal, labels,
        (labels != 0) & (is_held == 0), tl.load(limits_ptr + 1 + c), index, tl.load(limits_ptr), max_iter,
    )  # fmt: skip
    positive = decisions >= 0
    out = (labelling * n_classes + k) * cv + fold
    wrong, right = is_held & (labels < 0), is_held & (labels > 0)
    tl.store(hits_ptr + (out * n_costs + c) * 2, tl.sum((wrong & (positive == 0)).to(tl.int32), 0))
    tl.store(hits_ptr + (out * n_costs + c) * 2 + 1, tl.sum((right & positive).to(tl.int32), 0))
    if c == 0:
        tl.store(held_ptr + out * 2, tl.where(solvable, tl.sum(wrong.to(tl.int32), 0), 0))
        tl.store(held_ptr + out * 2 + 1, tl.where(solvable, tl.sum(right.to(tl.int32), 0), 0))
    tl.store(violation_ptr + out * n_costs + c, tl.where(solvable, violation, float("nan")))


@triton.jit(do_not_specialize=["n_samples", "n_classes", "n_labellings", "max_iter"])
def fit_kernel(
    grams_ptr,  # flat float32
    diagonal_ptr,  # (N,) float64
    gram_starts_ptr,  # (K,) int64
    starts_ptr,  # (K + 1) int64
    classes_ptr,  # int32 indices of the classes of this launch
    labels_ptr,  # (P, N) int8
    C_index_ptr,  # (P, K) int32
    limits_ptr,  # (1 + c,) float64: tol, and every C
    a_ptr,  # (P, N) float64, as are the next three
    decisions_ptr,  # (P, N)
    intercept_ptr,  # (P, K)
    violation_ptr,  # (P, K)
    n_iter_ptr,  # (P, K) int32
    n_samples,
    n_classes,
    n_labellings,
    max_iter,
    BLOCK: tl.constexpr,
):
    """Fit all samples of one class under one labelling, with the C at its index."""
    program = tl.program_id(0)
    k = tl.load(classes_ptr + program // n_labellings).to(tl.int64)
    labelling = (program % n_labellings).to(tl.int64)
    start = tl.load(starts_ptr + k)
    n = (tl.load(starts_ptr + k + 1) - start).to(tl.int32)
    index = tl.arange(0, BLOCK)
    at, out = labelling * n_samples + start + index, labelling * n_classes + k
    c = tl.load(C_index_ptr + out)
    labels = tl.where(c < 0, 0, tl.load(labels_ptr + at, mask=index < n, other=0))
    diagonal = tl.load(diagonal_ptr + start + index, mask=index < n, other=0.0)
    a, decisions, intercept, violation, steps, solvable = solve(
        grams_ptr + tl.load(gram_starts_ptr + k), n, a_ptr + labelling * n_samples + start, diagonal, labels,
        labels != 0, tl.load(limits_ptr + 1 + tl.maximum(c, 0)), index, tl.load(limits_ptr), max_iter,
    )  # fmt: skip
    nan = float("nan")
    tl.store(a_ptr + at, tl.where(solvable, a, nan), mask=index < n)
    tl.store(decisions_ptr + at, tl.where(solvable, decisions, nan), mask=index < n)
    tl.store(intercept_ptr + out, tl.where(solvable, intercept, nan))
    tl.store(violation_ptr + out, tl.where(solvable, violation, nan))
    tl.store(n_iter_ptr + out, tl.where(solvable, steps, -1))


# --- launchers ------------------------------------------------------------------------------------------------------


def cross_validate_labels(
    batch: ExactGrams,
    labels: torch.Tensor,
    folds: torch.Tensor,
    cv: int,
    costs: torch.Tensor,
    *,
    tol: float,
    max_iter: int,
    classes: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do the work of :func:`fdgpu.kernels.smo_triton.cross_validate_labels`, every C from zero; ``costs`` float64."""
    check_problem(batch, labels, costs.float(), tol, max_iter)
    check_folds(folds, cv, labels)
    n_labellings, n_samples = labels.shape
    shape = (n_labellings, len(batch.sizes), cv)
    violation = torch.full((*shape, len(costs)), torch.nan, dtype=torch.float64, device=labels.device)
    hits = torch.zeros((*violation.shape, 2), dtype=torch.int32, device=labels.device)
    held = torch.zeros((*shape, 2), dtype=torch.int32, device=labels.device)
    at_once = max(1, min(n_labellings, SCRATCH_BYTES // (8 * cv * len(costs) * max(1, n_samples))))
    scratch = torch.empty((at_once, cv, len(costs), n_samples), dtype=torch.float64, device=labels.device)
    labels, folds, limits = labels.contiguous(), folds.contiguous(), _limits(tol, costs)
    with torch.cuda.device_of(labels):
        for first in range(0, n_labellings, at_once):
            rows = slice(first, min(first + at_once, n_labellings))
            for launch, chosen in launches(batch, classes, labels.device):
                cross_validate_kernel[(len(chosen) * (rows.stop - first) * cv * len(costs),)](
                    batch.grams, batch.exact, batch.gram_starts, batch.starts, chosen, labels[rows], folds[rows],
                    limits, scratch, hits[rows], held[rows], violation[rows], n_samples, len(batch.sizes),
                    rows.stop - first, cv, len(costs), max_iter, BLOCK=launch.block, num_warps=launch.num_warps,
                    enable_fp_fusion=False,
                )  # fmt: skip
    recalls = hits.double() / held[..., None, :]
    return recalls.mean(dim=-1), violation.amax(dim=-1)


def fit_labels(
    batch: ExactGrams,
    labels: torch.Tensor,
    C_index: torch.Tensor,
    costs: torch.Tensor,
    *,
    tol: float,
    max_iter: int,
    classes: Sequence[int] | None = None,
) -> Solutions:
    """Do the work of :func:`fdgpu.kernels.smo_triton.fit_labels`, each at its C alone; all numbers are float64."""
    check_problem(batch, labels, costs.float(), tol, max_iter)
    check_indices(C_index, labels, batch)
    solved = Solutions.empty(labels, C_index.shape, torch.float64)
    labels, C_index, limits = labels.contiguous(), C_index.contiguous(), _limits(tol, costs)
    with torch.cuda.device_of(labels):
        for launch, chosen in launches(batch, classes, labels.device):
            fit_kernel[(len(chosen) * len(labels),)](
                batch.grams, batch.exact, batch.gram_starts, batch.starts, chosen, labels, C_index, limits, *solved,
                labels.shape[1], len(batch.sizes), len(labels), max_iter, BLOCK=launch.block,
                num_warps=launch.num_warps, enable_fp_fusion=False,
            )  # fmt: skip
    return solved


def _limits(tol: float, costs: torch.Tensor) -> torch.Tensor:
    """Return tol before every C, in float64: a number that is passed to a kernel would be float32."""
    return torch.nn.functional.pad(costs.double(), (1, 0), value=tol)
