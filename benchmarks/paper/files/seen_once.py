"""The splits of a data set as both networks see them, each embedded once for all seeds and subsets."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Marked, Seen


class SeenOnce:
    """Embeds a split when it is first asked for, and keeps it."""

    def __init__(self, lab: Lab, splits: Mapping[str, Marked]) -> None:
        self.lab, self.splits = lab, splits
        self._seen: dict[str, Seen] = {}

    def __getitem__(self, split: str) -> Seen:
        if split not in self._seen:
            self._seen[split] = self.lab.see(self.splits[split])
        return self._seen[split]
