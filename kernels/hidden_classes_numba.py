r"""Expectation and maximisation of :mod:`fdgpu.kernels.hidden_classes` on the CPU: all of a problem stays in a cache.

A job is a class and a shrinkage. In every iteration its problems, labellings times starts, are one product with the
smoother. The rest of an iteration is a few passes over the samples of a problem, in the precision of the vectors. A
problem whose responsibilities have settled is done, and leaves the product.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from numba import njit

Tensor = torch.Tensor
NEWTON = 2  # steps of the slope of the margin in an iteration
MARGIN_RIDGE = 1e-3  # on that slope, which has no bound where margins tell z without error
SETTLED = 3e-3  # largest change of a responsibility after which nothing moves any more
INSIDE_AT_LEAST = 1.5  # samples of a hidden class, and outside
LEAST = 1e-12
FIGURES = 6  # high, low, variance, offset, slope, share
HOLDS = 12  # halvings of the interval of what holds a hidden class back
PIECES = 4  # of the jobs, for each thread: problems end sooner or later
FAST = {"reassoc", "contract", "arcp", "nsz"}  # sums in any order: they become vector instructions


# --- kernel ---------------------------------------------------------------------------------------------------------


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _logistic(v, like):
    """Return 1 / (1 + exp(−v)) to some roundings, by nothing but products, which become vector instructions.

    exp(−v / 64) is eight terms of its series and is squared six times; beyond 32 the rest is less than a rounding.
    """
    number = like.dtype.type
    one = number(1)
    y = -min(max(v, number(-32)), number(32)) * number(1 / 64)
    e = one + y * number(1 / 8)
    e = one + y * e * number(1 / 7)
    e = one + y * e * number(1 / 6)
    e = one + y * e * number(1 / 5)
    e = one + y * e * number(1 / 4)
    e = one + y * e * number(1 / 3)
    e = one + y * e * number(1 / 2)
    e = one + y * e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    e *= e
    return one / (one + e)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _margin_slope(t, r, offset, slope):
    """Take Newton's steps on the logistic regression of responsibilities on margins."""
    one = t.dtype.type(1)
    for _ in range(NEWTON):
        by_offset = by_slope = a = b = c = t.dtype.type(0)
        for i in range(len(t)):
            p = _logistic(offset - slope * t[i], t)
            residual, weight = r[i] - p, p * (one - p) + t.dtype.type(1e-9)
            by_offset += residual
            by_slope -= residual * t[i]
            a += weight
            b -= weight * t[i]
            c += weight * t[i] * t[i]
        by_slope -= t.dtype.type(MARGIN_RIDGE) * slope
        c += t.dtype.type(MARGIN_RIDGE)
        scale = a * c - b * b
        up, steeper = (c * by_offset - b * by_slope) / scale, (a * by_slope - b * by_offset) / scale
        longest = max(abs(up), abs(steeper), t.dtype.type(LEAST))
        short = min(t.dtype.type(2) / longest, one)
        offset, slope = offset + short * up, slope + short * steeper
    return offset, slope


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _hold_back(after, odds, most):
    """Lower log-odds (n,) alike, so that their probabilities, which ``after`` becomes, are at most ``most`` in sum."""
    number, n = odds.dtype.type, len(odds)
    high, highest = number(0), odds[0]
    for i in range(n):
        highest = max(highest, odds[i])
    low = min(np.log(most / number(n)) - highest, high)  # there each is at most its part
    for _ in range(HOLDS):
        shift, held = (low + high) / number(2), number(0)
        for i in range(n):
            held += _logistic(odds[i] + shift, odds)
        if held > most:
            high = shift
        else:
            low = shift
    for i in range(n):
        after[i] = _logistic(odds[i] + low, odds)


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _iterate(t, r, along, most, figures, after, odds, is_first):
    """Maximise and expect once: ``figures`` and ``r`` (n,) are brought up to date; True where they have settled.

    Of responsibilities there are at most ``most`` in sum.
    """
    number = t.dtype.type
    one, least, n = number(1), number(LEAST), number(len(t))
    inside = along_inside = along_all = number(0)
    for i in range(len(t)):
        inside += r[i]
        along_inside += r[i] * along[i]
        along_all += along[i]
    held = max(inside, least)
    high, low = along_inside / held, (along_all - along_inside) / max(n - inside, least)
    spread = number(0)
    for i in range(len(t)):
        to_high, to_low = along[i] - high, along[i] - low
        spread += r[i] * to_high * to_high + (one - r[i]) * to_low * to_low
    variance = spread / n + least
    share = min(max(held, number(INSIDE_AT_LEAST)), n - number(INSIDE_AT_LEAST)) / n
    offset, slope = _margin_slope(t, r, np.log(share / (one - share)) if is_first else figures[3], figures[4])
    for at, value in enumerate((high, low, variance, offset, slope, share)):
        figures[at] = value
    steep, middle = (high - low) / variance, (high + low) / number(2)
    expected = number(0)
    for i in range(len(t)):
        odds[i] = offset - slope * t[i] + steep * (along[i] - middle)
        after[i] = _logistic(odds[i], t)
        expected += after[i]
    if expected > most:
        _hold_back(after, odds, most)
    moved = number(0)  # how many have; a largest change would not become vector instructions
    for i in range(len(t)):
        moved += one if abs(after[i] - r[i]) >= number(SETTLED) else number(0)
    if moved > 0:
        r[:] = after
    return moved == 0


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _left_out(centred, fitted, leverage, along):
    """Turn fitted values into those that the others predict, around their mean."""
    one, n = leverage.dtype.type(1), leverage.dtype.type(len(along))
    others = n / max(n - one, one)
    for i in range(len(along)):
        along[i] = centred[i] * others - (centred[i] - fitted[i]) / (one - leverage[i])


@njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _multiply(c, h, out):
    """Multiply (b, n) with (n, q), eight rows of h at a time; with few rows it is ahead of a BLAS, which packs h."""
    n = c.shape[1]
    out[:] = 0
    for i in range(0, n - n % 8, 8):
        for row in range(len(c)):
            own, into = c[row, i : i + 8], out[row]
            for j in range(len(into)):
                into[j] += (
                    ((own[0] * h[i, j] + own[1] * h[i + 1, j]) + (own[2] * h[i + 2, j] + own[3] * h[i + 3, j])) +
                    ((own[4] * h[i + 4, j] + own[5] * h[i + 5, j]) + (own[6] * h[i + 6, j] + own[7] * h[i + 7, j]))
                )  # fmt: skip
    for i in range(n - n % 8, n):
        for row in range(len(c)):
            for j in range(out.shape[1]):
                out[row, j] += c[row, i] * h[i, j]


@njit(nogil=True, cache=True)
def _solve(matrix, is_factor, leverage, margin, r, along, most, figures, iterations, is_given):
    """Fit all problems of a job: ``r``, ``along`` (P·S, n) and ``figures`` (P·S, 6) are filled; margins are (P, n).

    Of each problem's responsibilities there are at most ``most`` (P·S,) in sum.
    """
    n_problems, n = r.shape
    starts = n_problems // len(margin)
    back = matrix.T.copy() if is_factor else matrix
    centred, fitted, open_ = np.empty_like(r), np.empty_like(r), np.arange(n_problems)
    after, odds = np.empty_like(r[0]), np.empty_like(r[0])
    between = np.empty((n_problems if is_factor else 0, matrix.shape[1]), r.dtype)
    for step in range(iterations):
        if not is_given:
            for at, problem in enumerate(open_):
                centred[at] = r[problem] - r[problem].sum() / r.dtype.type(n)
            b = len(open_)
            if is_factor:
                _multiply(centred[:b], matrix, between[:b])
                _multiply(between[:b], back, fitted[:b])
            else:
                _multiply(centred[:b], matrix, fitted[:b])
        still_open = 0
        for at, problem in enumerate(open_):
            if not is_given:
                _left_out(centred[at], fitted[at], leverage, along[problem])
            t = margin[problem // starts]
            own = r[problem], along[problem], most[problem], figures[problem]
            if not _iterate(t, *own, after, odds, step == 0):
                open_[still_open] = problem
                still_open += 1
        open_ = open_[:still_open]
        if still_open == 0:
            break


@njit(nogil=True, cache=True)
def fit_jobs(matrix, is_factor, leverage, sizes, margin, most, r, along, figures, iterations, is_given, first, last):
    """Do the jobs from ``first`` to before ``last``, in place; :func:`fit` has the arrays."""
    n_labellings, n_shrinkages, n_starts, _ = r.shape[1:]
    problems = n_labellings * n_starts
    for job in range(first, last):
        k, at = job // n_shrinkages, job % n_shrinkages
        n = sizes[k]
        own = r[k, :, at, :, :n].copy().reshape(problems, n)
        predicted = along[k, :, at, :, :n].copy().reshape(problems, n)
        found = np.zeros((problems, FIGURES), r.dtype)
        columns = matrix.shape[3] if is_factor else n
        _solve(
            matrix[k, at, :n, :columns].copy(), is_factor, leverage[k, at, :n], margin[k, :, :n].copy(), own, predicted,
            most[k, :, at].copy().reshape(problems), found, iterations, is_given,
        )  # fmt: skip
        r[k, :, at, :, :n] = own.reshape(n_labellings, n_starts, n)
        along[k, :, at, :, :n] = predicted.reshape(n_labellings, n_starts, n)
        figures[k, :, at] = found.reshape(n_labellings, n_starts, FIGURES)


# --- launcher -------------------------------------------------------------------------------------------------------


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def fit(
    matrix: Tensor,
    leverage: Tensor,
    sizes: Tensor,
    margin: Tensor,
    first: Tensor,
    most: Tensor,
    iterations: int,
    predicted: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a hidden class from every start, as :func:`fdgpu.kernels.hidden_classes.fit` does, by all threads of torch.

    Args:
        matrix: (K, L, m, m) smoothers, or (K, L, m, d) factors of them, as in a
            :class:`~fdgpu.kernels.hidden_classes.Smoother`.
        leverage: (K, L, m).
        sizes: (K,) samples of each class; they come first among m.
        margin: (K, P, m).
        first: (K, P, L, S, m) responsibilities.
        most: (K, P, L, S) of them, in sum.
        iterations: most of them.
        predicted: (K, P, L, S, m) by the others, to stay with; None where every iteration has its own.

    Returns:
        Responsibilities and predictions (K, P, L, S, m), and (K, P, L, S, 6) means, variance, offset, slope and share.
    """
    r = first.clone(memory_format=torch.contiguous_format)
    along = torch.zeros_like(r) if predicted is None else predicted.clone(memory_format=torch.contiguous_format)
    figures = r.new_zeros(*r.shape[:4], FIGURES)
    read = matrix.numpy(), leverage.numpy(), sizes.numpy(), margin.numpy(), most.to(r.dtype).contiguous().numpy()
    written = r.numpy(), along.numpy(), figures.numpy()
    is_factor, jobs, threads = matrix.shape[-1] != matrix.shape[-2], r.shape[0] * r.shape[2], torch.get_num_threads()

    def work(piece: tuple[int, int]) -> None:
        smoothers, leverages, n, t, held = read
        of_samples = is_factor, leverages, n, t, held
        fit_jobs(smoothers, *of_samples, *written, iterations, predicted is not None, piece[0], piece[1])

    if threads == 1:
        work((0, jobs))
        return r, along, figures
    bounds = np.linspace(0, jobs, min(jobs, PIECES * threads) + 1).round().astype(int).tolist()
    for _ in _pool(threads).map(work, pairwise(bounds)):
        pass  # an error in a thread is raised here
    return r, along, figures
