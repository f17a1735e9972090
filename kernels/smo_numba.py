r"""Support vector machines by sequential minimal optimisation over a precomputed Gram matrix, on the CPU.

With :math:`a_i = y_i \alpha_i` the dual of the C-SVM (paper, A.2) is

.. math:: \max_a \; y^T a - \tfrac12 a^T K a \quad\text{s.t.}\quad \sum a = 0,\; l \le a \le u,

where :math:`[l_i, u_i]` is :math:`[0, C s_i]` for a positive sample and :math:`[-C s_i, 0]` for a negative one.
Every label is gone from the inner loop but for the residual :math:`v = y - K a`: a step takes
:math:`i = \arg\max_{a_i < u_i} v_i` and the :math:`j` of largest second-order gain among :math:`a_j > l_j`, moves
:math:`a_i` up and :math:`a_j` down by the same amount, and is done when
:math:`\max_{a < u} v - \min_{a > l} v \le tol`, the maximal KKT violation, exactly as libsvm stops.

What makes it fast: the loops over samples have no branches, so that they vectorise (an index at its bound carries a
penalty of 1e30 instead of a test; an argmax is a max and a second pass for its index; the max is :func:`_larger`);
the C path starts where all alphas sit at their bounds, which is optimal for every small C and costs one product to
verify; and each C starts from the last one, scaled. Steps run in the Gram matrix's precision, but convergence is only
believed after the residual was computed afresh in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[Any]

FASTMATH = {"reassoc", "nsz", "contract", "arcp", "nnan"}
FAR = 1e30  # penalty of an index that may not move; finite, so that fastmath stays valid
FLAT = 1e-12  # curvature of a pair of equal samples, as in libsvm
MASK_ABOVE = 0.7  # of the samples: so many are solved in place, fewer in a copy of their part of the Gram matrix
MOST_REFRESHES = 20  # rounding that this many fresh residuals cannot settle will not settle


# --- kernel ---------------------------------------------------------------------------------------------------------


def _select(comparison: str) -> Any:
    """Make a max or min that LLVM vectorises.

    numba's own ``max`` and ``min`` put no fast-math flags on the select, and LLVM then keeps the reduction scalar:
    with the flags a step is 2.7 times faster at 128 samples and 4.4 times at 1000.
    """

    @intrinsic
    def select(typing_context, a, b):  # noqa: ARG001 - numba's signature
        def generate(context, builder, signature, values):  # noqa: ARG001 - numba's signature
            x, z = values
            chosen = builder.fcmp_ordered(comparison, x, z, flags=("nnan", "nsz"))
            return builder.select(chosen, x, z, flags=("nnan", "nsz"))

        return a(a, a), generate

    return select


_larger, _smaller = _select(">"), _select("<")


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _residual(gram, y, a, v):
    """V = y − K a, summed in float64."""
    n = len(a)
    for i in range(n):
        row = gram[i]
        total = 0.0
        for k in range(n):
            total += row[k] * a[k]
        v[i] = y[i] - total


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _extremes(v, a, lower, upper):
    """Largest v that may still rise and smallest v that may still fall; their difference is the KKT violation."""
    top, bottom = -FAR, FAR
    for k in range(len(a)):
        if a[k] < upper[k]:
            top = max(top, v[k])
        if a[k] > lower[k]:
            bottom = min(bottom, v[k])
    return top, bottom


@njit(nogil=True, cache=True, fastmath=FASTMATH, inline="always")
def _step(i, j, violation, curvature, a, lower, upper):
    """Move a[i] up and a[j] down along the constraint as far as the quadratic and the box allow."""
    step = violation / curvature
    room_i, room_j = upper[i] - a[i], a[j] - lower[j]
    if room_i <= room_j and step >= room_i:
        step = room_i
        a[j] = max(a[j] - step, lower[j])
        a[i] = upper[i]
    elif step >= room_j:
        step = room_j
        a[i] = min(a[i] + step, upper[i])
        a[j] = lower[j]
    else:
        a[i] += step
        a[j] -= step
    return step


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _ascend(gram, diagonal, lower, upper, a, v, no_rise, no_fall, gain, tol, most):
    """Take steps until the violation by the running residual ``v`` is at most ``tol``; return their number."""
    n = len(a)
    none = np.int32(n)  # int32 indices: twice as many fit into a register
    one = diagonal.dtype.type
    far, flat, two, zero = one(FAR), one(FLAT), one(2.0), one(0.0)
    top, bottom = -far, far
    for k in range(n):
        no_rise[k] = zero if a[k] < upper[k] else far
        no_fall[k] = zero if a[k] > lower[k] else far
        top = _larger(top, v[k] - no_rise[k])
        bottom = _smaller(bottom, v[k] + no_fall[k])
    steps = 0
    while top - bottom > tol and steps < most:
        i = none
        for k in range(n):
            i = min(i, np.int32(k) if v[k] - no_rise[k] >= top else none)
        row_i, d_i = gram[i], diagonal[i]
        best = -one(1.0)
        for k in range(n):
            fall = _larger(top - v[k] - no_fall[k], zero)
            promise = fall * fall / _larger(d_i + diagonal[k] - two * row_i[k], flat)
            gain[k] = promise
            best = _larger(best, promise)
        j = none
        for k in range(n):
            j = min(j, np.int32(k) if gain[k] >= best else none)
        row_j = gram[j]
        curvature = max(d_i + diagonal[j] - two * row_i[j], flat)
        step = one(_step(i, j, np.float64(top - v[j]), np.float64(curvature), a, lower, upper))
        for k in (i, j):
            no_rise[k] = zero if a[k] < upper[k] else far
            no_fall[k] = zero if a[k] > lower[k] else far
        top, bottom = -far, far
        for k in range(n):
            moved = v[k] - step * (row_i[k] - row_j[k])
            v[k] = moved
            top = _larger(top, moved - no_rise[k])
            bottom = _smaller(bottom, moved + no_fall[k])
        steps += 1
    return steps


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _intercept(v, a, lower, upper, top, bottom):
    """Mean residual of the free samples; with none, the middle of the interval that is optimal (libsvm's rule)."""
    total, free = 0.0, 0
    for k in range(len(a)):
        if lower[k] < a[k] < upper[k]:
            total += v[k]
            free += 1
    return total / free if free > 0 else (top + bottom) / 2


@njit(nogil=True, cache=True)
def _solve(gram, diagonal, y, lower, upper, a, exact, tol, max_iter):
    """Solve one problem from the feasible start ``a`` (in place), whose residual is ``exact``."""
    n = len(a)
    running = np.empty(n, gram.dtype)
    no_rise, no_fall, gain = np.empty_like(running), np.empty_like(running), np.empty_like(running)
    steps = 0
    top, bottom = _extremes(exact, a, lower, upper)
    for _ in range(MOST_REFRESHES):
        if top - bottom <= tol or steps >= max_iter:
            break
        running[:] = exact
        aim = gram.dtype.type(tol * 0.9)  # a little tighter, so that a fresh residual seldom sends us back
        steps += _ascend(gram, diagonal, lower, upper, a, running, no_rise, no_fall, gain, aim, max_iter - steps)
        _residual(gram, y, a, exact)
        top, bottom = _extremes(exact, a, lower, upper)
    return _intercept(exact, a, lower, upper, top, bottom), top - bottom, steps


@njit(nogil=True, cache=True)
def solve_path(gram, y, weights, costs, tol, max_iter):
    """Solve for every C of an ascending path, each from the one before.

    Args:
        gram: (n, n) C-contiguous Gram matrix, float32 or float64.
        y: (n,) float64, +1 or -1, both present.
        weights: (n,) float64, s(y); their sums over the two signs are equal.
        costs: (c,) ascending C.
        tol: largest KKT violation of a solution.
        max_iter: most steps for one C.

    Returns:
        Dual a (c, n), intercept (c,), violation (c,) and steps (c,), one for each C.
    """
    n, c = len(y), len(costs)
    path = np.empty((c, n))
    intercept, violation = np.empty(c), np.empty(c)
    n_iter = np.zeros(c, np.int64)
    diagonal = np.empty(n, gram.dtype)
    for k in range(n):
        diagonal[k] = gram[k, k]
    lower, upper = np.empty(n), np.empty(n)
    exact, bounds_product = np.empty(n), np.empty(n)
    a = y * weights
    _residual(gram, np.zeros(n), a, bounds_product)  # −K a at C = 1, all alphas at their bounds
    at_bounds = True
    for p in range(c):
        cost = costs[p]
        for k in range(n):
            bound = cost * weights[k]
            lower[k], upper[k] = (0.0, bound) if y[k] > 0 else (-bound, 0.0)
        if at_bounds:
            for k in range(n):
                a[k] = upper[k] + lower[k]
                exact[k] = y[k] + cost * bounds_product[k]
        else:
            _rescale(a, cost / costs[p - 1], weights, costs[p - 1], lower, upper)
            _residual(gram, y, a, exact)
        intercept[p], violation[p], n_iter[p] = _solve(gram, diagonal, y, lower, upper, a, exact, tol, max_iter)
        at_bounds = at_bounds and n_iter[p] == 0
        path[p] = a
    return path, intercept, violation, n_iter


@njit(nogil=True, cache=True)
def _rescale(a, ratio, weights, last_cost, lower, upper):
    """Scale a solution to the next C; what sat at its bound sits at the new bound exactly."""
    for k in range(len(a)):
        last_bound = last_cost * weights[k]
        if a[k] == last_bound:
            a[k] = upper[k]
        elif a[k] == -last_bound:
            a[k] = lower[k]
        else:
            a[k] = min(max(a[k] * ratio, lower[k]), upper[k])


@njit(nogil=True, cache=True)
def _training(gram, labels, chosen):
    """Gather the Gram matrix, the labels and the balanced weights s(y) = n / (2 n_y) of the ``chosen`` samples."""
    n = len(chosen)
    block, y, weights = np.empty((n, n), gram.dtype), np.empty(n), np.empty(n)
    n_right = 0
    for i in range(n):
        row = gram[chosen[i]]
        for k in range(n):
            block[i, k] = row[chosen[k]]
        y[i] = labels[chosen[i]]
        n_right += y[i] > 0
    for i in range(n):
        weights[i] = n / (2 * n_right) if y[i] > 0 else n / (2 * (n - n_right))
    return block, y, weights


@njit(nogil=True, cache=True)
def _masked(labels):
    """Return y and balanced weights of all samples; one that takes no part has weight 0, so that it never moves."""
    n_right, n_wrong = (labels > 0).sum(), (labels < 0).sum()
    y, weights = labels.astype(np.float64), np.zeros(len(labels))
    for k in range(len(labels)):
        if labels[k] != 0:
            weights[k] = (n_right + n_wrong) / (2 * (n_right if labels[k] > 0 else n_wrong))
    return y, weights


@njit(nogil=True, cache=True)
def held_out_recalls(gram, labels, folds, fold, costs, tol, max_iter, recalls):
    """Fit on all folds but one over the C path, and write the recall of each kind on the one held out.

    Args:
        gram: (n, n) Gram matrix of a whole class.
        labels: (n,) int8, +1 right, -1 wrong, 0 for a sample that takes no part.
        folds: (n,) fold of each sample that takes part.
        fold: the fold that is held out; both kinds are inside it and outside.
        costs: (c,) ascending C.
        tol: largest KKT violation.
        max_iter: most steps for one C.
        recalls: (c, 2) written: of wrong and of right samples.

    Returns:
        Largest violation over the path, and the total of steps.
    """
    train = np.flatnonzero((labels != 0) & (folds != fold))
    held = np.flatnonzero((labels != 0) & (folds == fold))
    block, y, weights = _training(gram, labels, train)
    a, intercept, violation, n_iter = solve_path(block, y, weights, costs, tol, max_iter)
    across = np.empty(len(train))
    recalls[:] = 0.0
    counts = np.zeros(2)
    for h in held:
        row = gram[h]
        for k in range(len(train)):
            across[k] = row[train[k]]
        kind = 1 if labels[h] > 0 else 0
        counts[kind] += 1
        for p in range(len(costs)):
            right = _dot(across, a[p]) + intercept[p] > 0
            recalls[p, kind] += right == (kind == 1)
    for p in range(len(costs)):
        for kind in range(2):
            recalls[p, kind] /= counts[kind]
    return violation.max(), n_iter.sum()


@njit(nogil=True, cache=True)
def cross_validate_jobs(gram, labels, folds, cv, first, last, costs, tol, max_iter, recalls, violation):
    """Hold out one fold of one labelling for each job from ``first`` to ``last``; job = labelling · cv + fold.

    Args:
        gram: (n, n) Gram matrix of a class, shared by all its labellings.
        labels: (P, n) int8 label matrix.
        folds: (P, n) int8, the fold of each sample, -1 where it takes no part.
        cv: folds.
        first: first job.
        last: job before which to stop.
        costs: (c,) ascending C.
        tol: largest KKT violation.
        max_iter: most steps for one C.
        recalls: (P, cv, c, 2) written.
        violation: (P, cv) written.
    """
    for job in range(first, last):
        p, fold = job // cv, job % cv
        violation[p, fold], _ = held_out_recalls(
            gram, labels[p], folds[p], fold, costs, tol, max_iter, recalls[p, fold]
        )


@njit(nogil=True, cache=True)
def fit_jobs(gram, labels, C_index, first, last, costs, tol, max_iter, a, intercept, violation, n_iter):
    """Fit whole labellings, each up to its own C; written are a (P, n) and three numbers a labelling (P,)."""
    for p in range(first, last):
        path = costs[: C_index[p] + 1]
        of_row = labels[p]
        chosen = np.flatnonzero(of_row)
        if len(chosen) > MASK_ABOVE * len(of_row):
            y, weights = _masked(of_row)
            own, b, gap, steps = solve_path(gram, y, weights, path, tol, max_iter)
            a[p] = own[-1]
        else:
            block, y, weights = _training(gram, of_row, chosen)
            own, b, gap, steps = solve_path(block, y, weights, path, tol, max_iter)
            a[p] = 0.0
            for k in range(len(chosen)):
                a[p, chosen[k]] = own[-1, k]
        intercept[p], violation[p], n_iter[p] = b[-1], gap[-1], steps[-1]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _dot(x, z):
    total = 0.0
    for k in range(len(x)):
        total += x[k] * z[k]
    return total


# --- launcher -------------------------------------------------------------------------------------------------------


def smo_path(
    gram: Array, y: Array, weights: Array, costs: Array, *, tol: float = 1e-3, max_iter: int = 1_000_000
) -> tuple[Array, Array, Array, Array]:
    """Solve one problem for an ascending path of C: :func:`solve_path` with arrays of any kind.

    Args:
        gram: (n, n) float32 or float64. Tolerances below 1e-5 need float64.
        y: (n,) of +1 and -1.
        weights: (n,) positive, of equal sums over the two signs.
        costs: (c,) ascending C > 0.
        tol: largest KKT violation of a solution.
        max_iter: most steps for one C.

    Returns:
        Dual a (c, n) float64, intercept (c,), violation (c,) and steps (c,), one for each C.
    """
    a, intercept, violation, n_iter = solve_path(
        np.ascontiguousarray(gram),
        np.asarray(y, np.float64),
        np.asarray(weights, np.float64),
        np.asarray(costs, np.float64),
        tol,
        max_iter,
    )
    return a, intercept, violation, n_iter


# --- plain reference ------------------------------------------------------------------------------------------------


def smo_reference(
    gram: Array, y: Array, weights: Array, cost: float, *, tol: float = 1e-3, max_iter: int = 1_000_000
) -> tuple[Array, float]:
    """The same method, read off the formula: one C, float64, from zero, most violating pair; (a, intercept)."""
    gram = np.asarray(gram, np.float64)
    lower, upper = np.where(y > 0, 0.0, -cost * weights), np.where(y > 0, cost * weights, 0.0)
    a = np.zeros(len(y))
    for _ in range(max_iter):
        v = y - gram @ a
        i = int(np.argmax(np.where(a < upper, v, -np.inf)))
        j = int(np.argmin(np.where(a > lower, v, np.inf)))
        if v[i] - v[j] <= tol:
            break
        curvature = max(gram[i, i] + gram[j, j] - 2 * gram[i, j], FLAT)
        step = min((v[i] - v[j]) / curvature, upper[i] - a[i], a[j] - lower[j])
        a[i] = upper[i] if step == upper[i] - a[i] else a[i] + step
        a[j] = lower[j] if step == a[j] - lower[j] else a[j] - step
    # sums of steps miss a bound by rounding; taken for free, such a sample would decide b alone
    bound = cost * weights
    a = np.where(np.abs(a) > (1 - 1e-9) * bound, y * bound, np.where(np.abs(a) < 1e-9 * bound, 0.0, a))
    v, free = y - gram @ a, (lower < a) & (a < upper)
    return a, float(v[free].mean() if free.any() else (v[a < upper].max() + v[a > lower].min()) / 2)
