"""The sets of one seed, each rendered from photographs of its own, which the seed draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Seen

TRAIN, VAL, TEST, POOL = range(4)  # streams of random numbers of a seed


@dataclass(frozen=True)
class Rendered(ABC):
    """The sets of one seed, each seen by the two networks of the lab; training is the subclass's own."""

    lab: Lab
    settings: Mapping[str, Any]
    seed: int

    def val(self) -> Seen:
        """Render validation."""
        return self._set(VAL, "val")

    def test(self) -> Seen:
        """Render test."""
        return self._set(TEST, "test")

    @abstractmethod
    def _set(self, stream: int, name: str) -> Seen:
        """Render the set that the settings name, with a stream of the seed's random numbers."""


class ThreeRendered(Rendered):
    """The three sets that every experiment needs, of which training is one set and not one a setting."""

    def train(self) -> Seen:
        """Render training."""
        return self._set(TRAIN, "train")
