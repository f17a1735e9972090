"""Means over seeds and strengths, and where fdgpu loses, read from the measurements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from benchmarks.slices.contenders import OURS, Measurement

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Summary:
    """Means over ``settings`` settings."""

    settings: int
    proposals: float
    precision_10: float
    precision_25: float
    found: float
    seconds: float


def summarise(rows: Sequence[Measurement], key: Callable[[Measurement], Key]) -> dict[Key, Summary]:
    """Average all rows with the same key, in order of first appearance."""
    groups: dict[Key, list[Measurement]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return {
        name: Summary(
            len(group),
            fmean(row.proposals for row in group),
            fmean(row.precision_10 for row in group),
            fmean(row.precision_25 for row in group),
            fmean(row.found for row in group),
            fmean(row.seconds for row in group),
        )
        for name, group in groups.items()
    }


def losses(rows: Sequence[Measurement]) -> str:
    """Say in which family, strength and d' another method's mean precision@10 is above fdgpu's, in a sentence.

    Only the best of the others is named for each; fdgpu's own variants do not count as others.
    """
    cells = summarise(rows, lambda row: (row.family, row.strength, row.separation, row.method))
    settings = sorted({key[:3] for key in cells})
    lost = []
    for setting in settings:
        ours = cells[(*setting, OURS)].precision_10
        others = {
            key[3]: summary.precision_10
            for key, summary in cells.items()
            if key[:3] == setting and not key[3].startswith(OURS)
        }
        best = max(others, key=others.__getitem__, default=None)
        if best is not None and others[best] > ours:
            family, strength, separation = setting
            lost.append(f"{family} {strength:g} at d' {separation:g} ({ours:.2f}, {best} {others[best]:.2f})")
    count = f"{len(lost)} of {len(settings)}" if lost else f"none of {len(settings)}"
    sentence = f"By mean precision@10 {OURS} loses in {count} combinations of family, strength and d'"
    return f"{sentence}: {'; '.join(lost)}." if lost else f"{sentence}."
