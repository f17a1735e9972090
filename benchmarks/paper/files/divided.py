"""A data set's own training images, divided by lot into training, pool and validation (4.1, C.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Seen
from fdgpu.captions import CaptionRecipe

PARTS = ("train", "pool", "val")


@dataclass(frozen=True)
class Shares:
    """The sets of one seed.

    Attributes:
        lab: trains and judges.
        settings: ``shares`` says how much of the training images goes to each of :data:`PARTS`.
        seed: of the lot.
        captions: one entry a class.
        seen: all training images, ``"train"``, and ``"test"``.
    """

    lab: Lab
    settings: Mapping[str, Any]
    seed: int
    captions: CaptionRecipe
    seen: SeenOnce

    def train(self) -> Seen:
        """Read the training set."""
        return self._part("train")

    def pool(self) -> Seen:
        """Read the pool."""
        return self._part("pool")

    def val(self) -> Seen:
        """Read validation."""
        return self._part("val")

    def test(self) -> Seen:
        """Read test."""
        return self.seen["test"]

    def _part(self, name: str) -> Seen:
        given = self.seen["train"]
        n = len(given)
        sizes = [round(self.settings["shares"][part] * n) for part in PARTS]
        order = torch.randperm(n, generator=torch.Generator().manual_seed(self.seed))
        start = sum(sizes[: PARTS.index(name)])
        return given[order[start : start + sizes[PARTS.index(name)]].sort().values]
