r"""The C-SVM by libsvm's own steps, in the order of its floating-point operations, over a Gram matrix on the CPU.

:mod:`fdgpu.kernels.smo_numba` solves the same problem faster, and to the same tolerance. Two things tell them apart.
At the tolerance of 1e-3 w differs by a part in a thousand. And where every :math:`\alpha` sits at its bound, which is
optimal for every small C, b may be anything in an interval: libsvm takes its middle only if its sums of steps end
exactly at the bounds. Mostly they leave one :math:`\alpha` an ulp short. libsvm then takes that sample for a free one,
whose residual is an end of the interval, so that every prediction is the same and the balanced accuracy is 0.5. To get
the published code's scores number by number, these roundings have to be the same: the path from zero at each C, the
order of samples (wrong before right, each as they come), the second-order choice of a pair, shrinking, kernel values
that are the BLAS's dot product of two samples and rounded to float32, and no fused operations.

Here :math:`y` is libsvm's, +1 for wrong and -1 for right, and :math:`u = K (y \alpha) - y` is its :math:`y G`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

TAU = 1e-12  # libsvm's curvature of a pair that has none
LOWER, FREE, UPPER = -1, 0, 1  # where an alpha is; times y it says whether y·alpha may rise or fall
LOOK = 1000  # steps between two looks at what may be left out


@njit(nogil=True, cache=True)
def gram_of(x):
    """Multiply the rows of x (n, d) float64, pair by pair: a product of matrices sums in another order."""
    gram = np.empty((len(x), len(x)))
    for i in range(len(x)):
        for j in range(i + 1):
            gram[i, j] = gram[j, i] = np.dot(x[i], x[j])
    return gram


# --- kernel ---------------------------------------------------------------------------------------------------------
# A problem is a tuple of arrays in the order of libsvm, which swaps its samples: ``at`` their rows in the Gram matrix,
# ``y``, ``bound`` C s(y), ``alpha``, ``state``, ``u``, and ``fixed``, the part of u that alphas at their upper bound
# make. Those behind the first ``active`` are left out for a while. ``diagonal`` is the Gram matrix's.


@njit(nogil=True, cache=True)
def _extremes(y, state, u, active):
    """Largest -u that may rise and largest u that may fall; their sum is the KKT violation."""
    rising, falling = -np.inf, -np.inf
    for k in range(active):
        if state[k] * y[k] != UPPER:
            rising = max(rising, -u[k])
        if state[k] * y[k] != LOWER:
            falling = max(falling, u[k])
    return rising, falling


@njit(nogil=True, cache=True)
def _choose(gram, diagonal, problem, active, tol):
    """Return the pair to move, the last of those that are equally good; (-1, -1) where there is none."""
    at, y, _, _, state, u, _ = problem
    i, top = -1, -np.inf
    for k in range(active):
        if state[k] * y[k] != UPPER and -u[k] >= top:
            i, top = k, -u[k]
    if i < 0:
        return -1, -1
    j, best, falling = -1, np.inf, -np.inf
    row = gram[at[i]]
    for k in range(active):
        if state[k] * y[k] == LOWER:
            continue
        falling = max(falling, u[k])
        difference = top + u[k]
        if difference > 0:
            curvature = diagonal[at[i]] + diagonal[at[k]] - 2.0 * np.float32(row[at[k]])
            change = -(difference * difference) / (curvature if curvature > 0 else TAU)
            if change <= best:
                j, best = k, change
    if top + falling < tol or j < 0:
        return -1, -1
    return i, j


@njit(nogil=True, cache=True)
def _move(gram, problem, i, j):
    """Move a pair of alphas as far as it helps and their bounds allow."""
    at, y, bound, alpha, _, u, _ = problem
    curvature = gram[at[i], at[i]] + gram[at[j], at[j]] - 2.0 * np.float32(gram[at[i], at[j]])
    if curvature <= 0:
        curvature = TAU
    most_i, most_j = bound[i], bound[j]
    if y[i] != y[j]:
        step = (-(y[i] * u[i]) - y[j] * u[j]) / curvature
        difference = alpha[i] - alpha[j]
        alpha[i] += step
        alpha[j] += step
        if difference > 0:
            if alpha[j] < 0:
                alpha[j], alpha[i] = 0.0, difference
        elif alpha[i] < 0:
            alpha[i], alpha[j] = 0.0, -difference
        if difference > most_i - most_j:
            if alpha[i] > most_i:
                alpha[i], alpha[j] = most_i, most_i - difference
        elif alpha[j] > most_j:
            alpha[j], alpha[i] = most_j, most_j + difference
    else:
        step = (y[i] * u[i] - y[j] * u[j]) / curvature
        total = alpha[i] + alpha[j]
        alpha[i] -= step
        alpha[j] += step
        if total > most_i:
            if alpha[i] > most_i:
                alpha[i], alpha[j] = most_i, total - most_i
        elif alpha[j] < 0:
            alpha[j], alpha[i] = 0.0, total
        if total > most_j:
            if alpha[j] > most_j:
                alpha[j], alpha[i] = most_j, total - most_j
        elif alpha[i] < 0:
            alpha[i], alpha[j] = 0.0, total


@njit(nogil=True, cache=True)
def _step(gram, problem, active, i, j):
    """Move a pair, and bring u, states and the part of u that is fixed up to date."""
    at, y, bound, alpha, state, u, fixed = problem
    before_i, before_j = alpha[i], alpha[j]
    _move(gram, problem, i, j)
    row_i, row_j = gram[at[i]], gram[at[j]]
    moved_i, moved_j = y[i] * (alpha[i] - before_i), y[j] * (alpha[j] - before_j)
    for k in range(active):
        u[k] += np.float32(row_i[at[k]]) * moved_i + np.float32(row_j[at[k]]) * moved_j
    for k in (i, j):
        was = state[k] == UPPER
        state[k] = UPPER if alpha[k] >= bound[k] else LOWER if alpha[k] <= 0 else FREE
        if was != (state[k] == UPPER):
            row, sign = gram[at[k]], -y[k] if was else y[k]
            for m in range(len(at)):
                fixed[m] += sign * (bound[k] * np.float32(row[at[m]]))


@njit(nogil=True, cache=True)
def _reconstruct(gram, problem, active):
    """Compute u of the samples that were left out."""
    at, y, _, alpha, state, u, fixed = problem
    for k in range(active, len(at)):
        u[k] = fixed[k] - y[k]
        row = gram[at[k]]
        for m in range(active):
            if state[m] == FREE:
                u[k] += y[m] * alpha[m] * np.float32(row[at[m]])


@njit(nogil=True, cache=True)
def _is_idle(y, state, u, k, rising, falling):
    side = state[k] * y[k]
    return (side == UPPER and -u[k] > rising) or (side == LOWER and u[k] > falling)


@njit(nogil=True, cache=True)
def _swap(problem, i, j):
    at, y, bound, alpha, state, u, fixed = problem
    at[i], at[j] = at[j], at[i]
    y[i], y[j] = y[j], y[i]
    bound[i], bound[j] = bound[j], bound[i]
    alpha[i], alpha[j] = alpha[j], alpha[i]
    state[i], state[j] = state[j], state[i]
    u[i], u[j] = u[j], u[i]
    fixed[i], fixed[j] = fixed[j], fixed[i]


@njit(nogil=True, cache=True)
def _shrink(gram, problem, active, is_near, tol):
    """Leave out samples that are at a bound and push against it: (how many stay, whether the end was near)."""
    _, y, _, _, state, u, _ = problem
    rising, falling = _extremes(y, state, u, active)
    if not is_near and rising + falling <= tol * 10:
        is_near = True
        _reconstruct(gram, problem, active)
        active = len(y)
    k = 0
    while k < active:
        if _is_idle(y, state, u, k, rising, falling):
            active -= 1
            while active > k:
                if not _is_idle(y, state, u, active, rising, falling):
                    _swap(problem, k, active)
                    break
                active -= 1
        k += 1
    return active, is_near


@njit(nogil=True, cache=True)
def solve(gram, order, labels, cost, tol, max_iter):
    """Solve for one C from zero.

    Args:
        gram: (n, n) float64.
        order: (m,) the samples that take part, the wrong ones first.
        labels: (n,) int8, +1 right, -1 wrong; both are among those that take part.
        cost: C.
        tol: largest KKT violation of a solution.
        max_iter: most steps.

    Returns:
        The dual a (n,), of the sign of the label and 0 for who takes no part; intercept, violation and steps.
    """
    m = len(order)
    at, y = order.copy(), np.empty(m)
    n_wrong = 0
    for k in range(m):
        n_wrong += labels[order[k]] < 0
    of_wrong, of_right = cost * (m / (2 * n_wrong)), cost * (m / (2 * (m - n_wrong)))
    bound = np.empty(m)
    for k in range(m):
        y[k] = -1.0 if labels[order[k]] > 0 else 1.0
        bound[k] = of_right if labels[order[k]] > 0 else of_wrong
    alpha, state, u, fixed = np.zeros(m), np.full(m, LOWER), -y, np.zeros(m)
    diagonal = np.diag(gram).copy()
    problem = (at, y, bound, alpha, state, u, fixed)
    active, is_near, steps, countdown = m, False, 0, min(m, LOOK) + 1
    while steps < max_iter:
        countdown -= 1
        if countdown == 0:
            countdown = min(m, LOOK)
            active, is_near = _shrink(gram, problem, active, is_near, tol)
        i, j = _choose(gram, diagonal, problem, active, tol)
        if j < 0:
            _reconstruct(gram, problem, active)
            active = m
            i, j = _choose(gram, diagonal, problem, active, tol)
            if j < 0:
                break
            countdown = 1
        steps += 1
        _step(gram, problem, active, i, j)
    _reconstruct(gram, problem, active)
    rising, falling = _extremes(y, state, u, m)
    a = np.zeros(len(labels))
    for k in range(m):
        a[at[k]] = -y[k] * alpha[k]
    return a, _intercept(y, state, u, rising, falling), rising + falling, steps


@njit(nogil=True, cache=True)
def _intercept(y, state, u, rising, falling):
    """Mean u of the free samples; with none, the middle of the interval that is optimal (libsvm's rho)."""
    total, free = 0.0, 0
    for k in range(len(y)):
        if state[k] == FREE:
            total += u[k]
            free += 1
    return total / free if free > 0 else (falling - rising) / 2


@njit(nogil=True, cache=True)
def _order(labels, folds, fold):
    """Samples that take part and are not held out, wrong before right."""
    trains = (labels != 0) & (folds != fold)
    return np.concatenate((np.flatnonzero(trains & (labels < 0)), np.flatnonzero(trains & (labels > 0))))


@njit(nogil=True, cache=True)
def _recalls(gram, a, intercept, labels, folds, fold):
    """Return the shares of the held-out wrong and right samples that are told as such; 0 counts as right."""
    of_kind, told = np.zeros(2), np.zeros(2)
    for k in range(len(labels)):
        if folds[k] == fold and labels[k] != 0:
            kind = 1 if labels[k] > 0 else 0
            of_kind[kind] += 1
            told[kind] += (np.dot(gram[k], a) + intercept >= 0) == (kind == 1)
    return told / of_kind


@njit(nogil=True, cache=True)
def cross_validate_jobs(gram, labels, folds, cv, first, last, costs, tol, max_iter, recalls, violation):
    """Do the work of :func:`fdgpu.kernels.smo_numba.cross_validate_jobs`; ``gram`` is float64."""
    for job in range(first, last):
        p, fold = job // cv, job % cv
        held = (folds[p] == fold) & (labels[p] != 0)
        order = _order(labels[p], folds[p], fold)
        n_wrong, n_held = (labels[p][order] < 0).sum(), held.sum()
        wrong_held = (held & (labels[p] < 0)).sum()
        if min(n_wrong, len(order) - n_wrong, wrong_held, n_held - wrong_held) == 0:
            continue
        violation[p, fold] = -np.inf
        for c in range(len(costs)):
            a, intercept, gap, _ = solve(gram, order, labels[p], costs[c], tol, max_iter)
            recalls[p, fold, c] = _recalls(gram, a, intercept, labels[p], folds[p], fold)
            violation[p, fold] = max(violation[p, fold], gap)


@njit(nogil=True, cache=True)
def fit_jobs(gram, labels, C_index, first, last, costs, tol, max_iter, a, intercept, violation, n_iter):
    """Do the work of :func:`fdgpu.kernels.smo_numba.fit_jobs`, each labelling at its own C alone."""
    nowhere = np.full(labels.shape[1], -1, np.int8)  # no fold is held out
    for p in range(first, last):
        if C_index[p] >= 0:
            order = _order(labels[p], nowhere, 0)
            a[p], intercept[p], violation[p], n_iter[p] = solve(
                gram, order, labels[p], costs[C_index[p]], tol, max_iter
            )


# --- plain reference ------------------------------------------------------------------------------------------------
# scikit-learn's ``SVC(kernel="linear", class_weight="balanced")``, which is libsvm itself: tests/kernels compare.
