"""CIFAR-100's matching form: garments as subclasses, some of them rare (see ``experiments/cifar100.py``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from benchmarks.paper.experiment import recipe_of
from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.garments import Part, superclasses
from benchmarks.paper.offline.rendered import POOL, TRAIN, Rendered
from benchmarks.paper.sets import Seen
from fdgpu.demo.world import world_settings


class Garments(Rendered):
    """The sets of one seed."""

    @property
    def names(self) -> Sequence[str]:
        """Garments."""
        return world_settings().class_names

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Two superclasses."""
        return dict(self.settings["groups"])

    @property
    def turns(self) -> list[list[str]]:
        """Every garment once."""
        groups = self.groups.values()
        return [[group[turn % len(group)] for group in groups] for turn in range(max(map(len, groups)))]

    def train(self, kept: Mapping[str, float]) -> Seen:
        """Render a training set."""
        return self._set(TRAIN, "train", kept)

    def whole(self, kept: Mapping[str, float]) -> Seen:
        """Render a larger training set."""
        return self._set(TRAIN, "whole", kept)

    def pool(self) -> Seen:
        """Render further photographs."""
        return self._set(POOL, "pool")

    def _set(self, stream: int, name: str, kept: Mapping[str, float] | None = None) -> Seen:
        part, seed = Part(**self.settings[name], seed=self.seed), 4 * self.seed + stream
        return self.lab.see(superclasses(self.groups, part, kept or {}, seed, self.settings["held"]))


def garments(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Garments]:
    """Return the worlds of garments."""
    return partial(Garments, Lab.offline(clip, recipe_of(settings)), settings)
