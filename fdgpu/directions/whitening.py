"""Whitening by the reference's mean and standard deviation, then unit length (paper, A.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 8192  # rows at a time: a float64 copy of so many rows of 512 numbers is 32 MB


@dataclass(frozen=True)
class Whitening:
    """x ← (x − mean) / scale, then x ← x / ‖x‖.

    ``mean`` and ``scale`` are (d,) float64. A dimension that does not vary has scale 1; a row that equals the mean
    has no direction and stays zero.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, reference: NDArray[Any]) -> Whitening:
        """Take mean and standard deviation (n − 1) of ``reference`` (m, d), summed in float64 over two passes."""
        m, d = reference.shape
        mean, square = np.zeros(d), np.zeros(d)
        for start in range(0, m, CHUNK):
            mean += reference[start : start + CHUNK].sum(axis=0, dtype=np.float64)
        mean /= m
        for start in range(0, m, CHUNK):
            centred = reference[start : start + CHUNK] - mean
            square += np.einsum("nd,nd->d", centred, centred)
        deviation = np.sqrt(square / (m - 1))
        constant = deviation <= 1e-12 * np.maximum(1.0, np.abs(mean))  # rounding of the mean is no variation
        return cls(mean, np.where(constant, 1.0, deviation))

    @classmethod
    def identity(cls, d: int) -> Whitening:
        """Return the whitening that only normalises (A.7, for decoding)."""
        return cls(np.zeros(d), np.ones(d))

    @cached_property
    def is_identity(self) -> bool:
        """Whether it only normalises."""
        return not self.mean.any() and bool((self.scale == 1).all())

    def __call__(self, rows: NDArray[Any], dtype: type[np.floating[Any]] = np.float32) -> NDArray[Any]:
        """Whiten ``rows`` (n, d); returns new unit rows of ``dtype``."""
        out = np.empty(rows.shape, dtype)
        for start in range(0, len(rows), CHUNK):
            whitened = rows[start : start + CHUNK].astype(dtype, copy=False)
            if not self.is_identity:
                whitened = (rows[start : start + CHUNK] - self.mean) / self.scale  # float64: a mean may dwarf the rest
            lengths = np.sqrt(np.einsum("nd,nd->n", whitened, whitened))[:, None]
            lengths[lengths == 0] = 1
            np.divide(whitened, lengths, out=out[start : start + CHUNK], casting="same_kind")
        return out
