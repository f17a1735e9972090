"""Quantities over the number of images K."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdgpu.findings import Curve, CurveRole

POINTS = 60  # of a curve: as many as a chart can show


def running_share(name: str, role: CurveRole, flags: NDArray[np.bool_]) -> Curve:
    """Return the share of True among the first K of ``flags``, for up to :data:`POINTS` values of K."""
    ks = k_grid(len(flags))
    shares = np.cumsum(flags) / np.arange(1, len(flags) + 1)
    return Curve(name, role, tuple(ks), tuple(float(shares[k - 1]) for k in ks))


def k_grid(n: int, points: int = POINTS, first: int = 5) -> list[int]:
    """Return at most ``points`` whole numbers from ``first`` to ``n``, evenly spread."""
    if n == 0:
        return []
    return sorted({round(float(k)) for k in np.linspace(min(first, n), n, points)})
