"""Whitening on the CPU in one pass over the rows, in float64 registers.

Through torch it is five passes, each of them in and out of memory: four times as long for whitening, eight for moments.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

FASTMATH = {"reassoc", "nsz", "contract", "arcp"}  # NaN and infinity stay what they are
LEAST_SQUARE, MOST_SQUARE = 1e-280, 1e280  # within, no square of a row has lost a digit that matters to the length
LOWEST = -4000  # exponent of zero: below that of any number
LEAST_NORMAL = -1022  # power of two; what is smaller beside a row's largest number is nothing


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def add_moments(rows, unit, shift, total, square):
    """Add the sums of (x · unit − shift) and of its square over ``rows`` (n, d) to ``total`` and ``square`` (d,)."""
    n, d = rows.shape
    for i in range(n):
        for j in range(d):
            distance = rows[i, j] * unit[j] - shift[j]
            total[j] += distance
            square[j] += distance * distance


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def whiten_rows(rows, mean, scale, out):
    """Write (x − mean) / scale of every row, scaled to length 1, in float64 up to the last rounding.

    Args:
        rows: (n, d) float32 or float64, of any size that they hold.
        mean: (d,) float64.
        scale: (d,) float64, above zero.
        out: (n, d) written; a row that equals the mean stays zero.
    """
    n, d = rows.shape
    whitened, inverse = np.empty(d), 1.0 / scale
    for i in range(n):
        square = 0.0
        for j in range(d):
            value = (rows[i, j] - mean[j]) * inverse[j]
            whitened[j] = value
            square += value * value
        if not LEAST_SQUARE < square < MOST_SQUARE:
            quotients(rows[i], mean, scale, whitened)
            square = 0.0
            for j in range(d):
                square += whitened[j] * whitened[j]
        length = 1.0 / np.sqrt(square) if square > 0 else 1.0
        for j in range(d):
            out[i, j] = whitened[j] * length


@njit(nogil=True, cache=True)
def quotients(row, mean, scale, out):
    """Write (x − mean) / scale of one row up to a power of two, which makes the largest a number near 1.

    Fractions and exponents are kept apart, so that nothing overflows on the way, and nothing that counts underflows.
    """
    exponents, largest = np.empty(len(row), np.int64), LOWEST
    for j in range(len(row)):
        x, of_x = math.frexp(np.float64(row[j]))
        m, of_m = math.frexp(mean[j])
        s, of_s = math.frexp(scale[j])
        top = max(of_x if x != 0 else LOWEST, of_m if m != 0 else LOWEST)
        distance, exponent = math.frexp(math.ldexp(x, of_x - top) - math.ldexp(m, of_m - top))
        out[j] = distance / s
        exponents[j] = exponent + top - of_s if distance != 0 else LOWEST
        largest = max(largest, exponents[j])
    for j in range(len(row)):
        out[j] = math.ldexp(out[j], max(exponents[j] - largest, LEAST_NORMAL))
