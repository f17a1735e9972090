"""Images as a base model takes them, at its recipe's resolution: from files as they are needed, or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, Subset
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as V

from benchmarks.paper.sets import Images, Inputs
from fdgpu.embedding.image_file import read_picture
from fdgpu.errors import InputError
from fdgpu.repair import TrainingRecipe

AT_ONCE = 1024  # images that are resized together


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and label, decoded when they are asked for.

    An image is (3, r, r) uint8; its label one class id, or (k,) floats of 0 and 1 where images have several labels.
    ``centre`` is the share of the shorter side that is seen; ``at_random`` cuts a part by torch's generator instead.
    """

    def __init__(
        self, paths: Sequence[Path], labels: Tensor, resolution: int, centre: float = 1.0, at_random: bool = False
    ) -> None:
        if len(paths) != len(labels):
            raise InputError(f"labels has {len(labels)} entries, there are {len(paths)} files: pass one label an image")
        self.paths, self.resolution, self.centre, self.at_random = paths, resolution, centre, at_random
        self.labels = labels.long() if labels.ndim == 1 else labels.float()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        path = self.paths[row]
        try:
            picture = read_picture(path)
        except InputError as error:
            raise InputError(f"{path} {error}: get this image again") from error
        cut = (
            self._part(picture.pixels)
            if self.at_random
            else at_resolution(picture.pixels, self.resolution, self.centre)
        )
        return cut, self.labels[row]

    def _part(self, image: Tensor) -> Tensor:
        """Cut a random part, 8 to 100 % of the area and three to four to four to three, and scale it."""
        part: Tensor = RandomResizedCrop(self.resolution, antialias=True)(image)
        return part


def at_resolution(images: Tensor, resolution: int, centre: float = 1.0) -> Tensor:
    """Scale (…, 3, h, w) and cut a square of ``resolution`` pixels out of the middle; uint8 stays uint8.

    Its side is the share ``centre`` of the shorter side of the image.
    """
    if images.shape[-2:] == (resolution, resolution) and centre == 1:
        return images
    cut: Tensor = V.center_crop(V.resize(images, [round(resolution / centre)], antialias=True), [resolution])
    return cut


def as_inputs(images: Images, labels: Tensor, recipe: TrainingRecipe) -> Inputs:
    """Return what a base model is given: a tensor of images, or a Dataset of files."""
    if isinstance(images, Tensor):
        return torch.cat([at_resolution(part, recipe.resolution) for part in images.split(AT_ONCE)])
    return ImageFiles(images, labels, recipe.resolution, recipe.centre)


def for_training(inputs: Inputs, recipe: TrainingRecipe) -> Inputs:
    """Return what a model is trained on: the same images, of files random parts where the recipe says so."""
    if isinstance(inputs, Tensor) or not recipe.random_crop:
        return inputs
    return _at_random(inputs)


def _at_random(inputs: Dataset[Any]) -> Dataset[Any]:
    if isinstance(inputs, Subset):
        return Subset(_at_random(inputs.dataset), inputs.indices)
    if isinstance(inputs, ConcatDataset):
        return ConcatDataset([_at_random(one) for one in inputs.datasets])
    if isinstance(inputs, ImageFiles):
        return ImageFiles(inputs.paths, inputs.labels, inputs.resolution, inputs.centre, at_random=True)
    return inputs
