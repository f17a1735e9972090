"""Pearson's r, of one seed's figures or of means over seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import isfinite
from statistics import StatisticsError, correlation

from benchmarks.paper.results import Figure


def pearson(one: Iterable[float], other: Iterable[float]) -> float:
    """Return r over the pairs that are known; NaN where one of the two is the same in all of them."""
    pairs = [pair for pair in zip(one, other, strict=True) if all(map(isfinite, pair))]
    try:
        return correlation([x for x, _ in pairs], [y for _, y in pairs])
    except StatisticsError:  # of fewer than two, or of equal numbers
        return float("nan")


def of_means(figures: Iterable[Figure]) -> list[Figure]:
    """Name figures for what they were made of: of the means over seeds, not of one seed."""
    return [replace(figure, measure=f"{figure.measure}, of means") for figure in figures]
