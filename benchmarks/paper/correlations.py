"""Pearson's r, of one seed's figures or of means over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.paper.results import Figure


def pearson(one: ArrayLike, other: ArrayLike) -> float:
    """Return r over the pairs that are known; NaN where one of the two is the same in all of them."""
    pairs = np.array([one, other], np.float64)
    known = pairs[:, np.isfinite(pairs).all(axis=0)]
    if known.shape[1] < 2 or (np.ptp(known, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(known)[0, 1])


def of_means(figures: Iterable[Figure]) -> list[Figure]:
    """Name figures for what they were made of: of the means over seeds, not of one seed."""
    return [replace(figure, measure=f"{figure.measure}, of means") for figure in figures]
