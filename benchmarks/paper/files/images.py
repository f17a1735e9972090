"""Images as a base model takes them, at its recipe's resolution: from files as they are needed, or in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as V

from benchmarks.paper.sets import Images, Inputs
from fdgpu.embedding.image_file import read_picture
from fdgpu.errors import InputError

AT_ONCE = 1024  # images that are resized together


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of image and label, decoded when they are asked for.

    An image is (3, r, r) uint8; its label one class id, or (k,) floats of 0 and 1 where images have several labels.
    """

    def __init__(self, paths: Sequence[Path], labels: Tensor, resolution: int) -> None:
        if len(paths) != len(labels):
            raise InputError(f"labels has {len(labels)} entries, there are {len(paths)} files: pass one label an image")
        self.paths, self.resolution = paths, resolution
        self.labels = labels.long() if labels.ndim == 1 else labels.float()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        path = self.paths[row]
        try:
            picture = read_picture(path)
        except InputError as error:
            raise InputError(f"{path} {error}: get this image again") from error
        return at_resolution(picture.pixels, self.resolution), self.labels[row]


def at_resolution(images: Tensor, resolution: int) -> Tensor:
    """Scale (…, 3, h, w) until the shorter side has ``resolution`` pixels, and cut the centre; uint8 stays uint8."""
    if images.shape[-2:] == (resolution, resolution):
        return images
    cut: Tensor = V.center_crop(V.resize(images, [resolution], antialias=True), [resolution])
    return cut


def as_inputs(images: Images, labels: Tensor, resolution: int) -> Inputs:
    """Return what a base model is given: a tensor of images, or a Dataset of files."""
    if isinstance(images, Tensor):
        return torch.cat([at_resolution(part, resolution) for part in images.split(AT_ONCE)])
    return ImageFiles(images, labels, resolution)
