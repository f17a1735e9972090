"""ImageNet with noise drawn onto its images as they are read (paper, B.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.paper.files.imagenet import imagenet
from benchmarks.paper.files.images import ImageFiles
from benchmarks.paper.lab import Lab
from benchmarks.paper.noise import CorruptedFiles
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.shares import outside
from fdgpu.repair import TrainingRecipe

TRAIN, VAL, TEST = range(3)  # streams of random numbers of a seed
BATCH = 256


@dataclass(frozen=True)
class ImageNetC:
    """One seed: which of ImageNet's training images are train and validation, and which images are noisy."""

    lab: Lab
    settings: Mapping[str, Any]
    sets: Mapping[str, Marked]
    seed: int

    def train(self) -> Seen:
        """Return training."""
        return self._noisy(self._parts()[0], TRAIN, self.settings["noisy_in_training"])

    def val(self) -> Seen:
        """Return validation, of ImageNet's training images."""
        return self._noisy(self._parts()[1], VAL, self.settings["noisy"])

    def test(self) -> Seen:
        """Return ImageNet's validation images."""
        return self._noisy(self.sets["val"], TEST, self.settings["noisy"])

    def _parts(self) -> tuple[Marked, Marked]:
        """Cut train and validation out of each class; the rest is the paper's extra data, of no use here."""
        whole = self.sets["train"]
        train, val = self.settings["train"], self.settings["val"]
        # the same generator twice: what is outside of the larger share is outside of the smaller one too
        after = [
            outside(whole.labels, share, torch.Generator().manual_seed(self.seed)) for share in (train, train + val)
        ]
        return whole[(~after[0]).nonzero()[:, 0]], whole[(after[0] & ~after[1]).nonzero()[:, 0]]

    def _noisy(self, marked: Marked, stream: int, share: float) -> Seen:
        seed = 3 * self.seed + stream
        rows = outside(marked.labels, 1 - share, torch.Generator().manual_seed(seed))
        files = ImageFiles(marked.files, marked.labels, self.lab.recipe.resolution, self.lab.recipe.centre)
        inputs = CorruptedFiles(files, rows, self.settings["deviation"], seed)
        embeddings = self.lab.clip.images(_pictures(inputs, self.lab.workers)).cpu().numpy()
        return Seen(replace(marked, minority=rows), inputs, embeddings)


def imagenet_c(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], ImageNetC]:
    """Return the worlds of ImageNet's files."""
    lab = Lab.on_files(clip, TrainingRecipe.named(settings["recipe"]))
    return partial(ImageNetC, lab, settings, imagenet(folder))


def _pictures(pairs: Dataset[Any], workers: int) -> Iterator[Tensor]:
    """Yield the images alone, as CLIP takes them."""
    for images, _ in DataLoader(pairs, batch_size=BATCH, num_workers=workers):
        yield from images
