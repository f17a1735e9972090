"""ChestX-ray14's own splits, embedded once for all seeds (paper, C.3.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.paper.files.chestxray14 import CONDITIONS
from benchmarks.paper.files.chestxray14 import chestxray14 as read
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Seen
from fdgpu.repair import TrainingRecipe, binary_cross_entropy


@dataclass(frozen=True)
class Xrays:
    """One seed, which decides the model's start alone."""

    lab: Lab
    settings: Mapping[str, Any]
    splits: SeenOnce
    seed: int

    @property
    def conditions(self) -> Sequence[str]:
        """The fourteen."""
        return CONDITIONS

    def train(self) -> Seen:
        """Return training."""
        return self.splits["train"]

    def val(self) -> Seen:
        """Return validation."""
        return self.splits["val"]

    def test(self) -> Seen:
        """Return test."""
        return self.splits["test"]


def chestxray14(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], Xrays]:
    """Return the worlds of ChestX-ray14's files."""
    lab = Lab.on_files(clip, TrainingRecipe.named(settings["recipe"]), loss=binary_cross_entropy)
    return partial(Xrays, lab, settings, SeenOnce(lab, read(folder)))
