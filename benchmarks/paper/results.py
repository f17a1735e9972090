"""Figures of several seeds: one row a seed and figure, and their mean and deviation beside the paper's number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

Key = tuple[str, str, float | None]


@dataclass(frozen=True)
class Figure:
    """One number: what was measured, by which method, at which K, strength or class (None if at none)."""

    measure: str
    method: str
    value: float
    at: float | None = None

    @property
    def key(self) -> Key:
        """What the same number has at other seeds."""
        return self.measure, self.method, self.at


@dataclass(frozen=True)
class Summary:
    """A figure over seeds; ``deviation`` is that of a sample, 0 for one seed."""

    measure: str
    method: str
    at: float | None
    mean: float
    deviation: float
    values: tuple[float, ...]
    paper: float | None

    @property
    def key(self) -> Key:
        """What tells it from other figures."""
        return self.measure, self.method, self.at

    @property
    def known_deviation(self) -> float | None:
        """The deviation; None for one seed, which says nothing of it."""
        return self.deviation if len(self.values) > 1 else None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Summary:
        """Read what :meth:`row` gave."""
        values = tuple(float(value) for value in row["values"].split())
        return cls(row["measure"], row["method"], row["at"], row["mean"], row["deviation"], values, row["paper"])

    def row(self) -> dict[str, Any]:
        """Return what is stored."""
        return {
            "measure": self.measure,
            "method": self.method,
            "at": self.at,
            "mean": round(self.mean, 4),
            "deviation": round(self.deviation, 4),
            "seeds": len(self.values),
            "values": " ".join(f"{value:.4f}" for value in self.values),
            "paper": self.paper,
        }


def summarise(seeds: Iterable[Iterable[Figure]], paper: Mapping[Key, float]) -> list[Summary]:
    """Average the figures with the same key, in order of first appearance."""
    groups = _values(seeds)
    return [
        Summary(*key, fmean(values), _deviation(values), tuple(values), paper.get(key))
        for key, values in groups.items()
    ]


def concluded(
    conclude: Callable[[Sequence[Figure]], list[Figure]], measured: Sequence[Summary], paper: Mapping[Key, float]
) -> list[Summary]:
    """Return what follows from the means over seeds; its values and deviation are what follows from each seed alone."""
    alone = _values(conclude(seed) for seed in _seeds(measured))
    found = []
    for figure in conclude(means(measured)):
        values = alone.get(figure.key, [figure.value])
        found.append(Summary(*figure.key, figure.value, _deviation(values), tuple(values), paper.get(figure.key)))
    return found


def means(summaries: Iterable[Summary]) -> list[Figure]:
    """Return the means as figures."""
    return [Figure(s.measure, s.method, s.mean, s.at) for s in summaries]


def published(entries: Iterable[Mapping[str, Any]]) -> dict[Key, float]:
    """Read the paper's numbers from an experiment's TOML."""
    return {(e["measure"], e["method"], e.get("at")): float(e["value"]) for e in entries}


def _values(seeds: Iterable[Iterable[Figure]]) -> dict[Key, list[float]]:
    groups: dict[Key, list[float]] = defaultdict(list)
    for figures in seeds:
        for figure in figures:
            groups[figure.key].append(figure.value)
    return groups


def _seeds(summaries: Sequence[Summary]) -> list[list[Figure]]:
    """Return each seed's figures; none where a figure is missing at a seed, since nobody knows at which."""
    counts = {len(s.values) for s in summaries}
    if len(counts) != 1:
        return []
    return [[Figure(s.measure, s.method, s.values[seed], s.at) for s in summaries] for seed in range(counts.pop())]


def _deviation(values: Sequence[float]) -> float:
    """Return NaN where a value is: a correlation of equal numbers is not known."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
