r"""Support vector machines by sequential minimal optimisation over a precomputed Gram matrix, on the CPU.

With :math:`a_i = y_i \alpha_i` the dual of the C-SVM (paper, A.2) is

.. math:: \max_a \; y^T a - \tfrac12 a^T K a \quad\text{s.t.}\quad \sum a = 0,\; l \le a \le u,

where :math:`[l_i, u_i]` is :math:`[0, C s_i]` for a positive sample and :math:`[-C s_i, 0]` for a negative one.
Every label is gone from the inner loop but for the residual :math:`v = y - K a`: a step takes
:math:`i = \arg\max_{a_i < u_i} v_i` and :math:`j = \arg\min_{a_j > l_j} v_j`, moves :math:`a_i` up and :math:`a_j` down
by the same amount, and is done when :math:`v_i - v_j \le tol`, the maximal KKT violation, exactly as libsvm stops.
libsvm's second-order j needs 3 to 25 % fewer steps (of unit rows, whose curvatures are much alike), each of which takes
more than twice as long.

What makes it fast: the loops over samples have no branches, so that they vectorise (a sample at its bound has a
residual of 1e30 instead of a test; an argmax is a max and a second pass for its index; the max is :func:`_larger`).
Where all alphas sit at their bounds, which is optimal for every small C, one product tells violation, intercept and
decisions of all those C; each C after them starts from the last one, scaled. A fold is solved where its class's Gram
matrix lies, over the window of samples that train, and K a, over all samples, is the held-out decisions too. Steps run
in the Gram matrix's precision, but convergence is only believed after the residual was computed afresh in float64.
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
MASK_ABOVE = 0.7  # of the samples: so many take part in place, fewer in a copy of their part of the Gram matrix
LANES = 8  # samples that a window is rounded up to, so that no loop over it ends in single ones
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
def _add_rows(gram, coefficients, product):
    """Add Σ coefficients[k] K[k] to ``product``, in float64; rows whose coefficient is 0 are not read.

    Four rows at a time: product is then read and written a quarter as often.
    """
    n = len(coefficients)
    rows = np.empty(n, np.int64)
    m = 0
    for k in range(n):
        rows[m] = k
        m += coefficients[k] != 0
    for first in range(0, m - 3, 4):
        one, two, three, four = rows[first], rows[first + 1], rows[first + 2], rows[first + 3]
        row_1, row_2, row_3, row_4 = gram[one], gram[two], gram[three], gram[four]
        c_1, c_2, c_3, c_4 = coefficients[one], coefficients[two], coefficients[three], coefficients[four]
        for k in range(n):
            product[k] += c_1 * row_1[k] + c_2 * row_2[k] + c_3 * row_3[k] + c_4 * row_4[k]
    for last in range(m - m % 4, m):
        row, c = gram[rows[last]], coefficients[rows[last]]
        for k in range(n):
            product[k] += c * row[k]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _extremes(v, a, lower, upper):
    """Largest v that may still rise and smallest v that may still fall; their difference is the KKT violation."""
    top, bottom = -FAR, FAR
    for k in range(len(a)):
        top = _larger(top, v[k] if a[k] < upper[k] else -FAR)
        bottom = _smaller(bottom, v[k] if a[k] > lower[k] else FAR)
    return top, bottom


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _ascend(gram, start, lower, upper, a, v, rising, falling, tol, most):
    """Take steps until the violation by the running residual is at most ``tol``; return their number.

    Arrays are of the window from ``start`` on; ``rising`` and ``falling`` hold the running residual, or what is never
    chosen where an alpha may not rise or fall.
    """
    n = len(a)
    none = np.int32(n)  # int32 indices: twice as many fit into a register
    one = gram.dtype.type
    far, flat, two = one(FAR), one(FLAT), one(2.0)
    top, bottom = -far, far
    for k in range(n):
        rising[k] = one(v[k]) if a[k] < upper[k] else -far
        falling[k] = one(v[k]) if a[k] > lower[k] else far
        top = _larger(top, rising[k])
        bottom = _smaller(bottom, falling[k])
    steps = 0
    while top - bottom > tol and steps < most:
        i, j = none, none
        for k in range(n):
            i = min(i, np.int32(k) if rising[k] >= top else none)
            j = min(j, np.int32(k) if falling[k] <= bottom else none)
        row_i, row_j = gram[start + i, start : start + n], gram[start + j, start : start + n]
        curvature = max(row_i[i] + row_j[j] - two * row_i[j], flat)
        room_i, room_j = upper[i] - a[i], a[j] - lower[j]
        step = min(np.float64(top - bottom) / np.float64(curvature), room_i, room_j)
        a[i] = a[i] + step if step < room_i else upper[i]
        a[j] = a[j] - step if step < room_j else lower[j]
        rising[i], falling[i] = top if step < room_i else -far, top
        rising[j], falling[j] = bottom, bottom if step < room_j else far
        moved = one(step)
        top, bottom = -far, far
        for k in range(n):
            change = moved * (row_i[k] - row_j[k])
            rising[k] -= change
            falling[k] -= change
            top = _larger(top, rising[k])
            bottom = _smaller(bottom, falling[k])
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
def _refresh(gram, bounds, cost, unit, a, product):
    """Compute K a afresh, from K ``bounds`` = C ``unit`` or from nothing, whichever is nearer to ``a``."""
    n_moved, n_used = 0, 0
    for k in range(len(a)):
        n_moved += a[k] != bounds[k]
        n_used += a[k] != 0
    if n_moved < n_used:
        product[:] = cost * unit
        _add_rows(gram, a - bounds, product)
    else:
        product[:] = 0.0
        _add_rows(gram, a, product)


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _at_bounds(unit, limits, costs, tol):
    """Count the C that all alphas at their bounds solve: (their number, violation at C is reach · C - 2, middle).

    There v = y - C unit, with ``unit`` = K limits. Right samples may only fall and wrong ones only rise, so that the
    largest unit of the right and the smallest of the wrong decide, and b = -C · middle.
    """
    most, least = -FAR, FAR
    for k in range(len(unit)):
        most = _larger(most, unit[k] if limits[k] > 0 else -FAR)
        least = _smaller(least, unit[k] if limits[k] < 0 else FAR)
    count = 0
    while count < len(costs) and (most - least) * costs[count] - 2 <= tol:
        count += 1
    return count, most - least, (most + least) / 2


@njit(nogil=True, cache=True)
def _advance(gram, y, limits, unit, window, last_cost, cost, a, product, tol, max_iter):
    """Go on to the next C, with ``a`` and ``product`` = K a in place: (intercept, violation, steps).

    ``last_cost`` is the C that they solve; 0 if this is the first one beyond the bounds.
    """
    start, stop = window
    bounds = cost * limits
    if last_cost > 0:
        _rescale(a, cost / last_cost, last_cost * limits, bounds)
        product *= cost / last_cost
    else:
        a[:] = bounds
        product[:] = cost * unit
    inside = a[start:stop]
    lower, upper = np.minimum(bounds[start:stop], 0.0), np.maximum(bounds[start:stop], 0.0)
    v = y[start:stop] - product[start:stop]
    rising, falling = np.empty(stop - start, gram.dtype), np.empty(stop - start, gram.dtype)
    aim = gram.dtype.type(tol * 0.9)  # a little tighter, so that a fresh residual seldom sends us back
    steps = 0
    top, bottom = _extremes(v, inside, lower, upper)
    for _ in range(MOST_REFRESHES):
        if top - bottom <= tol or steps >= max_iter:
            break
        steps += _ascend(gram, start, lower, upper, inside, v, rising, falling, aim, max_iter - steps)
        _refresh(gram, bounds, cost, unit, a, product)
        v[:] = y[start:stop] - product[start:stop]
        top, bottom = _extremes(v, inside, lower, upper)
    return _intercept(v, inside, lower, upper, top, bottom), top - bottom, steps


@njit(nogil=True, cache=True)
def solve_path(gram, y, weights, costs, tol, max_iter):
    """Solve for every C of an ascending path, each from the one before.

    Args:
        gram: (n, n) C-contiguous Gram matrix, float32 or float64.
        y: (n,) float64, +1 or -1, both present among the samples of positive weight.
        weights: (n,) float64, s(y); their sums over the two signs are equal. A sample of weight 0 takes no part.
        costs: (c,) ascending C.
        tol: largest KKT violation of a solution.
        max_iter: most steps for one C.

    Returns:
        Dual a (c, n), intercept (c,), violation (c,) and steps (c,), one for each C.
    """
    n, c = len(y), len(costs)
    path = np.empty((c, n))
    n_iter = np.zeros(c, np.int64)
    limits, unit = y * weights, np.zeros(n)
    _add_rows(gram, limits, unit)
    count, reach, middle = _at_bounds(unit, limits, costs, tol)
    intercept, violation = -costs * middle, costs * reach - 2
    for p in range(count):
        path[p] = costs[p] * limits
    a, product, window = np.empty(n), np.empty(n), _window(limits)
    last_cost = 0.0
    for p in range(count, c):
        intercept[p], violation[p], n_iter[p] = _advance(
            gram, y, limits, unit, window, last_cost, costs[p], a, product, tol, max_iter
        )
        last_cost, path[p] = costs[p], a
    return path, intercept, violation, n_iter


@njit(nogil=True, cache=True)
def _window(limits):
    """First and last sample that take part, with enough around them that whole registers are filled."""
    n = len(limits)
    start, stop = 0, n
    while limits[start] == 0:
        start += 1
    while limits[stop - 1] == 0:
        stop -= 1
    width = min(n, -(-(stop - start) // LANES) * LANES)
    start = min(start, n - width)
    return start, start + width


@njit(nogil=True, cache=True)
def _rescale(a, ratio, last_bounds, bounds):
    """Scale a solution to the next C; what sat at its bound sits at the new bound exactly."""
    for k in range(len(a)):
        scaled = min(max(a[k] * ratio, min(bounds[k], 0.0)), max(bounds[k], 0.0))
        a[k] = bounds[k] if a[k] == last_bounds[k] else scaled


@njit(nogil=True, cache=True)
def _part(gram, chosen):
    """Copy the Gram matrix of the ``chosen`` samples."""
    n = len(chosen)
    block = np.empty((n, n), gram.dtype)
    for i in range(n):
        row = gram[chosen[i]]
        for k in range(n):
            block[i, k] = row[chosen[k]]
    return block


@njit(nogil=True, cache=True)
def _balanced(labels, folds, fold):
    """Return y and weights s(y) = n / (2 n_y) of all samples; 0 for one that is held out or takes no part."""
    n = len(labels)
    y, weights = np.empty(n), np.empty(n)
    n_right, n_wrong = 0, 0
    for k in range(n):
        trains = folds[k] != fold
        n_right += trains and labels[k] > 0
        n_wrong += trains and labels[k] < 0
    of_right, of_wrong = (n_right + n_wrong) / (2 * n_right), (n_right + n_wrong) / (2 * n_wrong)
    for k in range(n):
        y[k] = labels[k]
        weights[k] = 0.0 if folds[k] == fold or labels[k] == 0 else of_right if labels[k] > 0 else of_wrong
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
    n = len(labels)
    y, weights = _balanced(labels, folds, fold)
    limits, unit = y * weights, np.zeros(n)
    _add_rows(gram, limits, unit)
    count, reach, middle = _at_bounds(unit, limits, costs, tol)
    if count > 0:  # what they decide does not depend on C
        recalls[:count] = _recalls(unit, -middle, labels, folds, fold)
    violation, steps = costs[count - 1] * reach - 2 if count > 0 else -2.0, 0
    a, product, window = np.empty(n), np.empty(n), _window(limits)
    last_cost = 0.0
    for p in range(count, len(costs)):
        intercept, gap, n_iter = _advance(gram, y, limits, unit, window, last_cost, costs[p], a, product, tol, max_iter)
        recalls[p] = _recalls(product, intercept, labels, folds, fold)
        last_cost, violation, steps = costs[p], max(violation, gap), steps + n_iter
    return violation, steps


@njit(nogil=True, cache=True)
def _recalls(product, intercept, labels, folds, fold):
    """Return the shares of the held-out wrong and right samples that ``product`` + ``intercept`` tells as such."""
    of_kind, told = np.zeros(2), np.zeros(2)
    for k in range(len(labels)):
        if folds[k] == fold and labels[k] != 0:
            kind = 1 if labels[k] > 0 else 0
            of_kind[kind] += 1
            told[kind] += (product[k] + intercept > 0) == (kind == 1)
    return told / of_kind


@njit(nogil=True, cache=True)
def _has_both_kinds(labels, folds, fold):
    """Whether right and wrong samples are in the fold and outside."""
    counts = np.zeros((2, 2), np.int64)
    for k in range(len(labels)):
        if labels[k] != 0:
            counts[1 if folds[k] == fold else 0, 1 if labels[k] > 0 else 0] += 1
    return counts.min() > 0


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
        recalls: (P, cv, c, 2) written, but where a fold lacks a kind, inside or outside.
        violation: (P, cv) written likewise.
    """
    for p in range(first // cv, -(-last // cv)):
        own, own_labels, own_folds = gram, labels[p], folds[p]
        chosen = np.flatnonzero(own_labels)
        if len(chosen) <= MASK_ABOVE * len(own_labels):
            own, own_labels, own_folds = _part(gram, chosen), own_labels[chosen], own_folds[chosen]
        for fold in range(max(0, first - p * cv), min(cv, last - p * cv)):
            if not _has_both_kinds(own_labels, own_folds, fold):
                continue
            violation[p, fold], _ = held_out_recalls(
                own, own_labels, own_folds, fold, costs, tol, max_iter, recalls[p, fold]
            )


@njit(nogil=True, cache=True)
def fit_jobs(gram, labels, C_index, first, last, costs, tol, max_iter, a, intercept, violation, n_iter):
    """Fit whole labellings, each up to its own C; written are a (P, n) and three numbers a labelling (P,).

    One whose C has an index below 0 is left as it is.
    """
    nowhere = np.full(labels.shape[1], -1, np.int8)  # no fold is held out
    for p in range(first, last):
        if C_index[p] < 0:
            continue
        path = costs[: C_index[p] + 1]
        chosen = np.flatnonzero(labels[p])
        if len(chosen) > MASK_ABOVE * labels.shape[1]:
            y, weights = _balanced(labels[p], nowhere, 0)
            own, b, gap, steps = solve_path(gram, y, weights, path, tol, max_iter)
            a[p] = own[-1]
        else:
            y, weights = _balanced(labels[p, chosen], nowhere[chosen], 0)
            own, b, gap, steps = solve_path(_part(gram, chosen), y, weights, path, tol, max_iter)
            a[p] = 0.0
            a[p, chosen] = own[-1]
        intercept[p], violation[p], n_iter[p] = b[-1], gap[-1], steps[-1]


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
