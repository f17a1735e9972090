"""Figures of several seeds: one row a seed and figure, and their mean and deviation beside the paper's number."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

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
    groups: dict[Key, list[float]] = defaultdict(list)
    for figures in seeds:
        for figure in figures:
            groups[figure.key].append(figure.value)
    return [
        Summary(*key, fmean(values), stdev(values) if len(values) > 1 else 0.0, tuple(values), paper.get(key))
        for key, values in groups.items()
    ]


def published(entries: Iterable[Mapping[str, Any]]) -> dict[Key, float]:
    """Read the paper's numbers from an experiment's TOML."""
    return {(e["measure"], e["method"], e.get("at")): float(e["value"]) for e in entries}
