"""The bundled world with nothing planted: garments, whose attributes are drawn freely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.garments import Part, superclasses
from benchmarks.paper.sets import Seen
from fdgpu.captions import Recipe

TRAIN, VAL, TEST, POOL = range(4)  # streams of random numbers of a seed


@dataclass(frozen=True)
class FreeGarments:
    """The sets of one seed; every garment is a class of its own."""

    lab: Lab
    settings: Mapping[str, Any]
    seed: int

    @cached_property
    def captions(self) -> Recipe:
        """Every word that the renderer can draw."""
        return Recipe.resolve("demo", self.settings["garments"])

    def train(self) -> Seen:
        """Render a training set."""
        return self._set(TRAIN, "train")

    def pool(self) -> Seen:
        """Render other photographs."""
        return self._set(POOL, "pool")

    def val(self) -> Seen:
        """Render validation."""
        return self._set(VAL, "val")

    def test(self) -> Seen:
        """Render test."""
        return self._set(TEST, "test")

    def _set(self, stream: int, name: str) -> Seen:
        groups = {garment: [garment] for garment in self.settings["garments"]}
        part = Part(**self.settings[name])
        return self.lab.see(superclasses(groups, part, {}, 4 * self.seed + stream))
