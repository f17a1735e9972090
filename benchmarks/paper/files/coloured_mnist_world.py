"""MNIST's digits, painted red and green; a quarter of the labels of training is wrong (paper, B.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.files.mnist import mnist
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.shares import outside
from benchmarks.paper.tints import flipped, painted, tints
from fdgpu.repair import TrainingRecipe

SPLIT, TRAIN, VAL, TEST = range(4)  # streams of random numbers of a seed
LARGE = 5  # the first digit of label 1
BALANCED = 0.5


@dataclass(frozen=True)
class Digits:
    """One seed: which training images are validation, which of the others have the wrong label, and which tints."""

    lab: Lab
    settings: Mapping[str, Any]
    sets: Mapping[str, Marked]
    seed: int

    def train(self, share: float) -> Seen:
        """Paint training."""
        return self._painted(self._part(held_out=False), TRAIN, share)

    def val(self) -> Seen:
        """Paint validation, which MNIST's own training images give."""
        return self._painted(self._part(held_out=True), VAL, BALANCED)

    def test(self) -> Seen:
        """Paint MNIST's test images."""
        return self._painted(self.sets["test"], TEST, BALANCED)

    def _part(self, held_out: bool) -> Marked:
        whole = self.sets["train"]
        val = outside(whole.labels, 1 - self.settings["held_out"], self._generator(SPLIT))
        return whole[(val == held_out).nonzero()[:, 0]]

    def _painted(self, digits: Marked, stream: int, share: float) -> Seen:
        generator = self._generator(stream)
        wrong = self.settings["wrong"] if stream == TRAIN else 0.0
        labels = flipped((digits.labels >= LARGE).long(), wrong, generator)
        disagree = outside(labels, share, generator)
        return self.lab.see(Marked(painted(digits.pixels, tints(labels, disagree)), labels, digits.kinds, disagree))

    def _generator(self, stream: int) -> torch.Generator:
        return torch.Generator().manual_seed(4 * self.seed + stream)


def coloured_mnist(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], Digits]:
    """Return the worlds of MNIST's files."""
    return partial(Digits, Lab.on_files(clip, TrainingRecipe.named(settings["recipe"])), settings, mnist(folder))
