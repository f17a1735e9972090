"""Intervals of shares, and of the difference of two."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson(hits: ArrayLike, n: ArrayLike, level: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the score interval of hits / n (Wilson, 1927); from 0 to 1 where n is 0."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    hits, n = np.asarray(hits, np.float64), np.asarray(n, np.float64)
    middle = (hits + z * z / 2) / (n + z * z)
    reach = z * np.sqrt(hits * (1 - hits / np.maximum(n, 1)) + z * z / 4) / (n + z * z)
    return np.maximum(middle - reach, 0.0), np.minimum(middle + reach, 1.0)


def difference_of_shares(
    hits: ArrayLike, n: ArrayLike, other_hits: ArrayLike, other_n: ArrayLike, level: float = 0.95
) -> tuple[Any, Any, Any]:
    """Return hits / n - other_hits / other_n of two independent samples, and its interval.

    Newcombe's hybrid of two score intervals (*Statistics in Medicine* 17, 1998, method 10): it holds its level for
    small samples and for shares of 0 and 1, where the usual one collapses. NaN where a sample is empty.

    Args:
        hits: (…) successes of the first sample.
        n: (…) its size.
        other_hits: (…) successes of the second sample.
        other_n: (…) its size.
        level: of confidence, two-sided.

    Returns:
        Difference, lower and upper end, each (…).
    """
    hits, n, other_hits, other_n = (np.asarray(x, np.float64) for x in (hits, n, other_hits, other_n))
    share = hits / np.where(n > 0, n, np.nan)
    other = other_hits / np.where(other_n > 0, other_n, np.nan)
    (low, high), (other_low, other_high) = wilson(hits, n, level), wilson(other_hits, other_n, level)
    gap = share - other
    below = np.hypot(share - low, other_high - other)
    above = np.hypot(high - share, other - other_low)
    return gap, gap - below, gap + above
