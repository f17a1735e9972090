"""A data set's training images are divided by lot, each to one part, the same way for the same seed."""

from __future__ import annotations

from itertools import chain

import torch

from benchmarks.paper.files.divided import PARTS, Shares
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Marked
from fdgpu.captions import CaptionRecipe
from fdgpu.repair import TrainingRecipe

SETTINGS = {"shares": {"train": 0.2, "pool": 0.6, "val": 0.2}}


class Numbers:
    """Embeds an image as its first pixel."""

    def images(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, 0, 0, :1].float()


def world(seed: int) -> Shares:
    images = torch.arange(50, dtype=torch.uint8)[:, None, None, None].repeat(1, 3, 8, 8)
    labels = torch.arange(50) % 2
    given = Marked(images, labels, labels, labels < 0)
    lab = Lab.on_files(Numbers(), TrainingRecipe(1, 0.1, 1, 8, 8), workers=0)
    seen = SeenOnce(lab, {"train": given, "test": given[torch.arange(3)]})
    return Shares(lab, SETTINGS, seed, CaptionRecipe(()), seen)


def test_every_image_is_in_one_part_and_keeps_its_label() -> None:
    seen = {name: getattr(world(0), name)() for name in PARTS}
    numbers = {name: own.embeddings[:, 0].astype(int).tolist() for name, own in seen.items()}
    assert {name: len(own) for name, own in numbers.items()} == {"train": 10, "pool": 30, "val": 10}
    assert sorted(chain(*numbers.values())) == list(range(50))
    for name, own in seen.items():
        assert own.labels.tolist() == [number % 2 for number in numbers[name]]
        assert own.inputs[:, 0, 0, 0].tolist() == numbers[name]
    assert world(0).test().embeddings[:, 0].tolist() == [0, 1, 2]


def test_the_lot_is_the_seeds() -> None:
    first, again, other = (world(seed).train().embeddings[:, 0].tolist() for seed in (0, 0, 1))
    assert first == again != other
