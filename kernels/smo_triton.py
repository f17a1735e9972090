r"""Thousands of small support vector machines in one launch, by sequential minimal optimisation on the GPU.

The method is :mod:`fdgpu.kernels.smo_numba`'s: with :math:`a_i = y_i \alpha_i`, :math:`g = K a` and :math:`v = y - g`,
a step takes :math:`i = \arg\max_{a_i < u_i} v_i` and the :math:`j` of largest second-order gain among
:math:`a_j > l_j`, moves :math:`a_i` up and :math:`a_j` down by the same amount, and a problem is done when
:math:`\max_{a < u} v - \min_{a > l} v \le tol`, believed only of a :math:`g` that was computed afresh.

One program is one problem: a labelling, a class, and the fold that is held out. What that rests on:

- Nothing is gathered. A sample that takes no part, or is held out, has the bounds 0 and never moves, but its g is kept
  up to date like any other, so that its decision value g + b is there for free. The problems of a class read one Gram
  matrix, and are neighbours in the grid, so that they find it in L2.
- A step has two reductions across threads and no more: what a step needs of i and j travels with the reductions.
- The path starts at C = 1 with all alphas at their bounds; a, g and the bounds are multiplied by the ratio of two Cs.
  Rounding is monotone, so that what sat at its bound sits at the new one exactly; g keeps its relative precision, and a
  C at which nothing moves costs no product at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from fdgpu.kernels.smo_batch import GramBatch, Solutions, check_folds, check_indices, check_problem, classes_asked

FAR = tl.constexpr(1e30)  # value of an index that may not move; finite, so that differences of two stay numbers
FLAT = tl.constexpr(1e-12)  # curvature of a pair of equal samples, as in libsvm
MOST_REGISTERS = 168  # a thread of a small problem: 12 warps an SM
MOST_REFRESHES = tl.constexpr(20)  # rounding that this many fresh products cannot settle will not settle
SCRATCH_BYTES = 256 << 20  # duals of one launch; more labellings than fit are solved in several launches


@dataclass(frozen=True)
class SolverLaunch:
    """How the problems of one block size are launched, and why.

    - ``block``: the next power of two of the class's size, as a problem lives in registers. Every block size is a
      launch of its own, so that a small class is not padded to the largest.
    - ``num_warps``: 8 samples a thread. Five vectors are live in a step, 40 registers; with 8 loads a row in flight a
      thread hides part of the latency of L2. Up to 256 samples that is one warp: reductions are shuffles alone, without
      a barrier, and an SM holds 12 such problems or more. At 8192 it is 32 warps, which leave 64 registers a thread.
    - ``rows`` of the Gram matrix that a fresh product holds at once: 4 keep 32 loads a thread in flight; from 4096
      samples on registers are short, and the many warps keep as many in flight with fewer.
    - Registers: up to 1024 samples 168 a thread are allowed; left alone, the assembler may stop at 128 and spill.
      From 256 samples on it takes 122 to 168 and spills nothing, but 8 bytes on sm_70 with Triton 3.5. At 2048 and 4096
      it may spill up to 308 bytes, and at 8192, with 64 registers, up to 1.2 KB, which stay in L1.
      ``python -m tools.kernel_usage`` prints them for every architecture.
    - ``fused``: reduce tuples. Off in the interpreter only, which takes a Python loop over the samples for a reduction
      that it does not know; plain reductions give the same numbers there.
    """

    block: int
    num_warps: int
    rows: int
    fused: bool

    @classmethod
    def choose(cls, n: int, *, fused: bool = True) -> SolverLaunch:
        """Choose for a class of ``n`` samples."""
        block = max(16, triton.next_power_of_2(n))
        return cls(block, num_warps=max(1, block // 256), rows=4 if block <= 2048 else 2, fused=fused)

    @property
    def options(self) -> dict[str, int]:
        """What a kernel is launched with."""
        own = {"FUSED": self.fused, "BLOCK": self.block, "ROWS": self.rows, "num_warps": self.num_warps}
        bound = {"maxnreg": MOST_REGISTERS} if self.block <= 1024 else {}
        return own | bound | {"enable_fp_fusion": True}


# --- kernels --------------------------------------------------------------------------------------------------------


@triton.jit
def again(x, COMPILED: tl.constexpr):
    """Return x, and keep the compiler from hoisting what is computed from it out of the loops.

    Otherwise it computes the bounds and label of each sample, and the address of each load, once before the loops, and
    keeps them in registers. Registers are scarcer here than instructions: they are recomputed where they are needed.
    """
    if COMPILED:
        x = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [x], dtype=x.dtype, is_pure=False, pack=1)
    return x


@triton.jit
def more_extreme(top, i, bottom, other_top, other_i, other_bottom):
    """Combine the largest v that may rise and its index, and the smallest v that may fall."""
    take = (other_top > top) | ((other_top == top) & (other_i < i))
    return tl.where(take, other_top, top), tl.where(take, other_i, i), tl.minimum(bottom, other_bottom)


@triton.jit
def more_gainful(gain, j, step, room, other_gain, other_j, other_step, other_room):
    """Combine the largest gain, its index and the step that it allows, and the smallest room."""
    take = (other_gain > gain) | ((other_gain == gain) & (other_j < j))
    return (
        tl.where(take, other_gain, gain),
        tl.where(take, other_j, j),
        tl.where(take, other_step, step),
        tl.minimum(room, other_room),
    )


@triton.jit
def extremes(v, a, limit, index, FUSED: tl.constexpr):
    """(top, i, bottom): top − bottom is the KKT violation, i the lowest index of the top."""
    rising = tl.where(a < tl.maximum(limit, 0.0), v, -FAR)
    falling = tl.where(a > tl.minimum(limit, 0.0), v, FAR)
    if FUSED:
        top, i, bottom = tl.reduce((rising, index, falling), 0, more_extreme)
    else:
        top, i = tl.max(rising, 0, return_indices=True)
        bottom = tl.min(falling, 0)
    return top, i, bottom


@triton.jit
def best_partner(gain, step, room, index, FUSED: tl.constexpr):
    """(j, its step, the smallest room) for the lowest j of the largest gain."""
    if FUSED:
        _, j, step_j, least = tl.reduce((gain, index, step, room), 0, more_gainful)
    else:
        _, j = tl.max(gain, 0, return_indices=True)
        step_j = tl.sum(tl.where(index == j, step, 0.0), 0)
        least = tl.min(room, 0)
    return j, step_j, least


@triton.jit
def product(gram_ptr, n, a_ptr, a, index, FUSED: tl.constexpr, BLOCK: tl.constexpr, ROWS: tl.constexpr):
    """(a, K a), afresh: a passes through memory, and ROWS rows a time are summed in float32, the rest in float64."""
    own = again(index, FUSED)
    tl.store(a_ptr + own, a, mask=own < n)
    tl.debug_barrier()  # every thread reads what others stored
    total = tl.zeros((BLOCK,), tl.float64)  # of large sums, of which most cancels
    for first in range(0, n, ROWS):
        part = tl.zeros((BLOCK,), tl.float32)
        for ahead in tl.static_range(ROWS):
            row = first + ahead
            a_row = tl.load(a_ptr + row, mask=row < n, other=0.0)
            part += a_row * tl.load(gram_ptr + row * n + index, mask=tl.maximum(index, row) < n, other=0.0)
        total += part
    tl.debug_barrier()  # the next product may store only now
    # a is read back instead of kept: registers are short where the sums are held
    own = again(index, FUSED)
    return tl.load(a_ptr + own, mask=own < n, other=0.0), total.to(tl.float32)


@triton.jit
def signs(limit):
    """Y of the samples that take part, 0 elsewhere: a bound has its label's sign."""
    return tl.where(limit > 0, 1.0, tl.where(limit < 0, -1.0, 0.0))


@triton.jit
def climb(
    gram_ptr, n, a, v, top, i, bottom, limit, diagonal_ptr, index, steps, aim, max_iter, FUSED: tl.constexpr
):  # fmt: skip
    """Step until the violation is at most ``aim``; (a, top, bottom, steps).

    A function of its own, as the compilers of Triton 3.0 to 3.4 crash on a loop that is written within a loop.
    """
    while (top - bottom > aim) & (steps < max_iter):
        row_i_ptr = gram_ptr + i * n
        d_i = tl.load(row_i_ptr + i)
        # read in every step: there are no registers to keep it in, nor its addresses, which a shift by what is
        # always 0, but not known to be, ties to the step
        diagonal = tl.load(diagonal_ptr + (again(steps, FUSED) >> 31) + index, mask=index < n, other=0.0)
        row_i = tl.load(row_i_ptr + index, mask=index < n, other=0.0)
        bound = again(limit, FUSED)
        upper, lower = tl.maximum(bound, 0.0), tl.minimum(bound, 0.0)
        fall_room, rise_room = a - lower, upper - a
        drop = tl.maximum(top - tl.where(a > lower, v, FAR), 0.0)
        newton = drop / tl.maximum(d_i + diagonal - 2.0 * row_i, FLAT)
        room = tl.where(index == i, rise_room, FAR)
        j, step, room_i = best_partner(drop * newton, tl.minimum(newton, fall_room), room, index, FUSED)
        step = tl.minimum(step, room_i)
        row_j = tl.load(gram_ptr + j * n + index, mask=index < n, other=0.0)
        # who is stopped by its bound sits at it exactly: off by a rounding it would pass for a free sample
        risen = tl.where(step >= rise_room, upper, tl.minimum(a + step, upper))
        fallen = tl.where(step >= fall_room, lower, tl.maximum(a - step, lower))
        a = tl.where(index == i, risen, tl.where(index == j, fallen, a))
        v -= step * (row_i - row_j)
        top, i, bottom = extremes(v, a, bound, index, FUSED)
        steps += 1
    return a, top, bottom, steps


@triton.jit
def ascend(
    gram_ptr,
    n,
    a_ptr,
    a,
    g,
    limit,
    diagonal_ptr,
    index,
    tol,
    max_iter,
    FUSED: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Solve for one C from a feasible ``a`` whose product is ``g``; (a, g, violation, steps).

    ``limit`` is y C s(y): alpha's bound with the label's sign, and 0 where a sample takes no part.
    """
    aim = tol * 0.9  # a little tighter, so that a fresh product seldom sends us back
    v = signs(limit) - g
    top, i, bottom = extremes(v, a, limit, index, FUSED)
    steps = 0
    refreshes = 0
    while (top - bottom > tol) & (steps < max_iter) & (refreshes < MOST_REFRESHES):
        a, top, bottom, steps = climb(
            gram_ptr, n, a, v, top, i, bottom, limit, diagonal_ptr, index, steps, aim, max_iter, FUSED
        )
        a, g = product(gram_ptr, n, a_ptr, a, index, FUSED, BLOCK, ROWS)
        bound = again(limit, FUSED)
        v = signs(bound) - g
        top, i, bottom = extremes(v, a, bound, index, FUSED)
        refreshes += 1
    return a, g, top - bottom, steps


@triton.jit
def intercept_of(a, g, limit):
    """Mean residual of the free samples; with none, the middle of the interval that is optimal (libsvm's rule).

    The middle is taken of labels and of −g apart: for a small C, g is far below the rounding of a residual near 1.
    """
    upper, lower = tl.maximum(limit, 0.0), tl.minimum(limit, 0.0)
    free = (a > lower) & (a < upper)
    n_free = tl.sum(free.to(tl.int32), 0)
    mean = tl.sum(tl.where(free, signs(limit) - g, 0.0), 0) / tl.maximum(n_free, 1)
    rising, falling = a < upper, a > lower
    top_right = tl.max(tl.where(rising & (limit > 0), -g, -FAR), 0)
    top_wrong = tl.max(tl.where(rising & (limit < 0), -g, -FAR), 0)
    bottom_right = tl.min(tl.where(falling & (limit > 0), -g, FAR), 0)
    bottom_wrong = tl.min(tl.where(falling & (limit < 0), -g, FAR), 0)
    of_right = top_right + 1.0 >= top_wrong - 1.0
    of_wrong = bottom_wrong - 1.0 <= bottom_right + 1.0
    labels = tl.where(of_right, 1.0, -1.0) - tl.where(of_wrong, 1.0, -1.0)
    middle = (labels + (tl.where(of_right, top_right, top_wrong) + tl.where(of_wrong, bottom_wrong, bottom_right))) / 2
    return tl.where(n_free > 0, mean, middle)


@triton.jit
def balanced_limits(labels, train):
    """(y s(y), whether both kinds are there): s(y) = m / (2 m_y) over the samples of ``train``, 0 elsewhere."""
    right, wrong = train & (labels > 0), train & (labels < 0)
    m_right, m_wrong = tl.sum(right.to(tl.int32), 0), tl.sum(wrong.to(tl.int32), 0)
    m = (m_right + m_wrong).to(tl.float32)
    s_right, s_wrong = m / (2 * tl.maximum(m_right, 1)), m / (2 * tl.maximum(m_wrong, 1))
    solvable = (m_right > 0) & (m_wrong > 0)
    limit = tl.where(right, s_right, tl.where(wrong, -s_wrong, 0.0))
    return tl.where(solvable, limit, 0.0), solvable


@triton.jit(do_not_specialize=["n_samples", "n_classes", "n_labellings", "cv", "n_costs", "max_iter"])
def cross_validate_kernel(
    grams_ptr,  # flat
    diagonal_ptr,  # (N,)
    gram_starts_ptr,  # (K,) int64
    starts_ptr,  # (K + 1) int64
    classes_ptr,  # int32 indices of the classes of this launch
    labels_ptr,  # (P, N) int8
    folds_ptr,  # (P, N) int8
    costs_ptr,  # (c,)
    a_ptr,  # (P, cv, N) scratch
    hits_ptr,  # (P, K, cv, c + 1, 2) int32: wrong and right samples that were hit, and after the last C all of them
    violation_ptr,  # (P, K, cv)
    n_samples,
    n_classes,
    n_labellings,
    cv,
    n_costs,
    tol,
    max_iter,
    FUSED: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Hold out one fold of one class under one labelling, for every C."""
    of_class = n_labellings * cv
    program = tl.program_id(0)
    k = tl.load(classes_ptr + program // of_class).to(tl.int64)
    labelling = (program % of_class // cv).to(tl.int64)
    fold = program % cv
    start = tl.load(starts_ptr + k)
    n = (tl.load(starts_ptr + k + 1) - start).to(tl.int32)
    gram_ptr = grams_ptr + tl.load(gram_starts_ptr + k)
    labels_ptr += labelling * n_samples + start
    folds_ptr += labelling * n_samples + start
    a_ptr += (labelling * cv + fold) * n_samples + start
    out = (labelling * n_classes + k) * cv + fold
    hits_ptr += out * (n_costs + 1) * 2

    index = tl.arange(0, BLOCK)
    labels = tl.load(labels_ptr + index, mask=index < n, other=0)
    folds = tl.load(folds_ptr + index, mask=index < n, other=0)
    limit, solvable = balanced_limits(labels, folds != fold)
    diagonal_ptr += start
    a, g = product(gram_ptr, n, a_ptr, limit, index, FUSED, BLOCK, ROWS)
    last, worst = 1.0, 0.0
    for c in range(n_costs):
        cost = tl.load(costs_ptr + c)
        ratio = cost / last
        last = cost
        a, g, limit = a * ratio, g * ratio, limit * ratio
        a, g, violation, _ = ascend(
            gram_ptr, n, a_ptr, a, g, limit, diagonal_ptr, index, tol, max_iter, FUSED, BLOCK, ROWS
        )
        worst = tl.maximum(worst, violation)
        # read again instead of kept: registers are for the steps
        own = again(index, FUSED)
        labels = tl.load(labels_ptr + own, mask=own < n, other=0)
        held = tl.load(folds_ptr + own, mask=own < n, other=0) == fold
        positive = g + intercept_of(a, g, limit) > 0
        right_hits = tl.sum((held & (labels > 0) & positive).to(tl.int32), 0)
        wrong_hits = tl.sum((held & (labels < 0) & (positive == 0)).to(tl.int32), 0)
        tl.store(hits_ptr + 2 * c, wrong_hits)
        tl.store(hits_ptr + 2 * c + 1, right_hits)
    own = again(index, FUSED)
    labels = tl.load(labels_ptr + own, mask=own < n, other=0)
    held = (tl.load(folds_ptr + own, mask=own < n, other=0) == fold) & solvable
    tl.store(hits_ptr + 2 * n_costs, tl.sum((held & (labels < 0)).to(tl.int32), 0))
    tl.store(hits_ptr + 2 * n_costs + 1, tl.sum((held & (labels > 0)).to(tl.int32), 0))
    tl.store(violation_ptr + out, tl.where(solvable, worst, float("nan")))


@triton.jit(do_not_specialize=["n_samples", "n_classes", "n_labellings", "max_iter"])
def fit_kernel(
    grams_ptr,  # flat
    diagonal_ptr,  # (N,)
    gram_starts_ptr,  # (K,) int64
    starts_ptr,  # (K + 1) int64
    classes_ptr,  # int32 indices of the classes of this launch
    labels_ptr,  # (P, N) int8
    C_index_ptr,  # (P, K) int32
    costs_ptr,  # (c,)
    a_ptr,  # (P, N)
    decisions_ptr,  # (P, N)
    intercept_ptr,  # (P, K)
    violation_ptr,  # (P, K)
    n_iter_ptr,  # (P, K) int32
    n_samples,
    n_classes,
    n_labellings,
    tol,
    max_iter,
    FUSED: tl.constexpr,
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Fit all samples of one class under one labelling, up to the C at its index."""
    program = tl.program_id(0)
    k = tl.load(classes_ptr + program // n_labellings).to(tl.int64)
    labelling = (program % n_labellings).to(tl.int64)
    start = tl.load(starts_ptr + k)
    n = (tl.load(starts_ptr + k + 1) - start).to(tl.int32)
    gram_ptr = grams_ptr + tl.load(gram_starts_ptr + k)
    a_ptr += labelling * n_samples + start
    out = labelling * n_classes + k

    index = tl.arange(0, BLOCK)
    labels = tl.load(labels_ptr + labelling * n_samples + start + index, mask=index < n, other=0)
    limit, solvable = balanced_limits(labels, labels != 0)
    diagonal_ptr += start
    a, g = product(gram_ptr, n, a_ptr, limit, index, FUSED, BLOCK, ROWS)
    last, violation, steps = 1.0, 0.0, 0
    n_costs = tl.load(C_index_ptr + out) + 1
    for c in range(n_costs):
        cost = tl.load(costs_ptr + c)
        ratio = cost / last
        last = cost
        a, g, limit = a * ratio, g * ratio, limit * ratio
        a, g, violation, steps = ascend(
            gram_ptr, n, a_ptr, a, g, limit, diagonal_ptr, index, tol, max_iter, FUSED, BLOCK, ROWS
        )
    solved = solvable & (n_costs > 0)
    nan = float("nan")
    intercept = tl.where(solved, intercept_of(a, g, limit), nan)
    own = again(index, FUSED)
    tl.store(a_ptr + own, tl.where(solved, a, nan), mask=own < n)
    tl.store(decisions_ptr + labelling * n_samples + start + own, g + intercept, mask=own < n)
    tl.store(intercept_ptr + out, intercept)
    tl.store(violation_ptr + out, tl.where(solved, violation, nan))
    tl.store(n_iter_ptr + out, tl.where(solved, steps, -1))


# --- launchers ------------------------------------------------------------------------------------------------------


def cross_validate_labels(
    batch: GramBatch,
    labels: torch.Tensor,
    folds: torch.Tensor,
    cv: int,
    costs: torch.Tensor,
    *,
    tol: float,
    max_iter: int,
    classes: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Score every C on every held-out fold, without a synchronisation with the host.

    Args:
        batch: Gram matrices of K classes with N samples in all, none above 8192.
        labels: (P, N) int8 label matrix: +1 right, -1 wrong, 0 for a sample that takes no part.
        folds: (P, N) int8 fold of each sample, 0 to cv - 1; not read where the label is 0.
        cv: number of folds.
        costs: (c,) float32, ascending, positive.
        tol: largest KKT violation, at least 1e-5.
        max_iter: most steps for one C.
        classes: the classes to solve; all if None.

    Returns:
        (P, K, cv, c) float64 balanced accuracy on the held-out fold, and (P, K, cv) float32 largest violation of the
        path, above ``tol`` where ``max_iter`` ended it. NaN for classes not asked for; where a kind of label is missing
        in training (both) or in the held-out fold (the score).

    Raises:
        ValueError: if shapes, types or sizes are not these.
        RuntimeError: if the tensors are not on a CUDA device.
    """
    check_problem(batch, labels, costs, tol, max_iter)
    check_folds(folds, cv, labels)
    own = launches(batch, classes, labels.device)
    n_labellings, n_samples = labels.shape
    violation = torch.full((n_labellings, len(batch.sizes), cv), torch.nan, device=labels.device)
    hits = torch.zeros((*violation.shape, len(costs) + 1, 2), dtype=torch.int32, device=labels.device)
    # one labelling's duals at least; what one launch wrote, the next may overwrite
    at_once = max(1, min(n_labellings, SCRATCH_BYTES // (4 * cv * max(1, n_samples))))
    scratch = torch.empty((at_once, cv, n_samples), dtype=torch.float32, device=labels.device)
    labels, folds = labels.contiguous(), folds.contiguous()
    with torch.cuda.device_of(labels):
        for first in range(0, n_labellings, at_once):
            rows = slice(first, min(first + at_once, n_labellings))
            for launch, chosen in own:
                cross_validate_kernel[(len(chosen) * (rows.stop - first) * cv,)](
                    batch.grams, batch.diagonal, batch.gram_starts, batch.starts, chosen, labels[rows], folds[rows],
                    costs, scratch, hits[rows], violation[rows], n_samples, len(batch.sizes), rows.stop - first, cv,
                    len(costs), tol, max_iter, **launch.options,
                )  # fmt: skip
    # divided here, in float64 as on the CPU: ties between two Cs are ties there and here; 0 / 0 is NaN
    recalls = hits[..., :-1, :].double() / hits[..., -1:, :]
    return recalls.mean(dim=-1), violation


def fit_labels(
    batch: GramBatch,
    labels: torch.Tensor,
    C_index: torch.Tensor,
    costs: torch.Tensor,
    *,
    tol: float,
    max_iter: int,
    classes: Sequence[int] | None = None,
) -> Solutions:
    """Fit whole classes, each along the path up to its own C, without a synchronisation with the host.

    Args:
        batch: see :func:`cross_validate_labels`, as are ``labels``, ``costs``, ``tol``, ``max_iter`` and ``classes``.
        labels: (P, N) int8.
        C_index: (P, K) int32 index in ``costs`` of each C; below 0 for a class that is not to be fitted.
        costs: (c,) float32.
        tol: largest KKT violation.
        max_iter: most steps for one C.
        classes: the classes to solve.

    Raises:
        ValueError: if shapes, types or sizes are not these.
        RuntimeError: if the tensors are not on a CUDA device.
    """
    check_problem(batch, labels, costs, tol, max_iter)
    check_indices(C_index, labels, batch)
    solved = Solutions.empty(labels, C_index.shape, torch.float32)
    labels, C_index = labels.contiguous(), C_index.contiguous()
    with torch.cuda.device_of(labels):
        for launch, chosen in launches(batch, classes, labels.device):
            fit_kernel[(len(chosen) * len(labels),)](
                batch.grams, batch.diagonal, batch.gram_starts, batch.starts, chosen, labels, C_index, costs, *solved,
                labels.shape[1], len(batch.sizes), len(labels), tol, max_iter, **launch.options,
            )  # fmt: skip
    return solved


def launches(
    batch: GramBatch, classes: Sequence[int] | None, device: torch.device
) -> list[tuple[SolverLaunch, torch.Tensor]]:
    """Return a launch for each block size, the largest first, and the int32 indices of its classes.

    Raises:
        RuntimeError: if the kernels cannot run on ``device``.
    """
    interpreted = not isinstance(fit_kernel, triton.JITFunction)
    if device.type != "cuda" and not interpreted:
        raise RuntimeError(
            f"labels is on {device}: these kernels need a CUDA device, or TRITON_INTERPRET=1 set before they are "
            "imported; backend='numba' solves on the CPU"
        )
    by_launch: dict[SolverLaunch, list[int]] = {}
    for k in classes_asked(batch, classes):
        by_launch.setdefault(SolverLaunch.choose(batch.sizes[k], fused=not interpreted), []).append(k)
    pinned = device.type == "cuda"  # a copy from memory that is not would wait for the device
    made = []
    for launch, own in sorted(by_launch.items(), key=lambda item: -item[0].block):
        indices = torch.tensor(own, dtype=torch.int32, pin_memory=pinned)
        made.append((launch, indices.to(device, non_blocking=True)))
    return made
