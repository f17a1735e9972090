"""A model's own preprocessing, as open_clip, torchvision and timm configure it, on tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from fdgpu.arrays import to_device
from fdgpu.checks import shown
from fdgpu.errors import InputError


class ResizeMode(StrEnum):
    """How an image of another aspect ratio comes to the model's size; open_clip's names."""

    SHORTEST = "shortest"  # the shorter side is scaled, and the centre cropped
    SQUASH = "squash"  # both sides are scaled, each by its own ratio
    LONGEST = "longest"  # the longer side is scaled, and the rest padded

    @classmethod
    def _missing_(cls, value: object) -> ResizeMode:
        raise InputError(f"resize_mode is {shown(value)}: use one of {', '.join(cls)}")


# Of a photograph that is decoded at a reduced size, no side has fewer pixels than twice the model's, or than 256: then
# vectors have a cosine of 0.9999 to those of whole photographs. With 128 and 192 the bundled CLIP, which takes 64, has
# 0.9995 and 0.9998.
REDUCED_TO, REDUCED_TO_AT_LEAST = 2, 256
TIMMS_MODES = {"center": ResizeMode.SHORTEST, "squash": ResizeMode.SQUASH}


@dataclass(frozen=True)
class Preprocess:
    """Scale, crop the centre and normalise.

    ``size`` is height and width of the model's input. An image is scaled to ``scaled`` first where a model sees less
    than all of it: torchvision's ``resize_size``, timm's size over ``crop_pct``. None scales it to ``size``.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: InterpolationMode
    resize_mode: ResizeMode
    scaled: tuple[int, int] | None = None

    @classmethod
    def of_model(cls, config: Mapping[str, Any]) -> Preprocess:
        """Take it from ``model.visual.preprocess_cfg``."""
        size = config["size"]
        return cls(
            size=(size, size) if isinstance(size, int) else tuple(size),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=InterpolationMode(
                "bicubic" if config["interpolation"] == "random" else config["interpolation"]
            ),
            resize_mode=ResizeMode(config["resize_mode"]),
        )

    @classmethod
    def of_torchvision(cls, preset: Any) -> Preprocess:
        """Take it from ``weights.transforms()`` of a classifier."""
        (side,), (crop,) = preset.resize_size, preset.crop_size
        mean, std = tuple(preset.mean), tuple(preset.std)
        return cls((crop, crop), mean, std, preset.interpolation, ResizeMode.SHORTEST, (side, side))

    @classmethod
    def of_timm(cls, config: Mapping[str, Any]) -> Preprocess | None:
        """Take it from what ``timm.data.resolve_data_config`` returns; None for a mode that is not ours."""
        mode = TIMMS_MODES.get(config["crop_mode"])
        if mode is None:
            return None
        height, width = config["input_size"][1:]
        return cls(
            size=(height, width),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=InterpolationMode(config["interpolation"]),
            resize_mode=mode,
            scaled=(math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"])),
        )

    def __str__(self) -> str:
        """Say in a sentence what is done, for a record."""
        height, width = self.scaled or self.size
        how = {
            ResizeMode.SHORTEST: f"scaled until it covers {height} x {width}",
            ResizeMode.SQUASH: f"scaled to {height} x {width}",
            ResizeMode.LONGEST: f"scaled until it fits into {height} x {width}",
        }[self.resize_mode]
        mean, std = (", ".join(f"{one:g}" for one in own) for own in (self.mean, self.std))
        return (
            f"{how} ({self.interpolation.value}), centre {self.size[0]} x {self.size[1]}, mean {mean}, deviation {std}"
        )

    @property
    def smallest(self) -> int:
        """Pixels that each side of a photograph keeps where it is decoded at a reduced size."""
        return max(REDUCED_TO * max(self.scaled or self.size), REDUCED_TO_AT_LEAST)

    def resize(self, images: Tensor) -> Tensor:
        """Bring (…, 3, h, w) to the model's size; uint8 stays uint8. Antialiased, as PIL does it."""
        if images.shape[-2:] != (self.scaled or self.size):
            if self.resize_mode is ResizeMode.SHORTEST:
                images = self._near_aspect(images)
            images = self._scaled(images, *self._scaled_size(*images.shape[-2:]))
        if images.shape[-2:] == self.size:
            return images
        cropped: Tensor = V.center_crop(images, list(self.size))  # pads with zeros where the image is smaller
        return cropped

    def _scaled_size(self, h: int, w: int) -> tuple[int, int]:
        """Return the size before the crop."""
        height, width = self.scaled or self.size
        if self.resize_mode is ResizeMode.SQUASH:
            return height, width
        if self.resize_mode is ResizeMode.SHORTEST and height == width:  # to the pixel as torchvision's Resize
            return height * h // min(h, w), width * w // min(h, w)
        fit = max if self.resize_mode is ResizeMode.SHORTEST else min
        ratio = fit(height / h, width / w)
        return max(1, round(h * ratio)), max(1, round(w * ratio))

    def _near_aspect(self, images: Tensor) -> Tensor:
        """Crop what the centre crop would drop anyway, up to a margin, so that an image of 1 x 100 000 stays small."""
        height, width = self.scaled or self.size
        h, w = images.shape[-2:]
        most_h, most_w = 4 * max(1, -(-w * height // width)), 4 * max(1, -(-h * width // height))
        if h <= most_h and w <= most_w:
            return images
        cropped: Tensor = V.center_crop(images, [min(h, most_h), min(w, most_w)])
        return cropped

    def _scaled(self, images: Tensor, height: int, width: int) -> Tensor:
        scaled: Tensor = V.resize(images, [height, width], interpolation=self.interpolation, antialias=True)
        return scaled

    def normalise(self, images: Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
        """Turn (n, 3, h, w) uint8 or floats in [0, 1] into the model's input.

        Args:
            images: where they lie.
            dtype: of the result.
            out: float32 memory of the images' shape and device, to be written over: on a CPU, memory that was not
                touched before costs more time than the arithmetic.
        """
        mean, std = to_device(torch.tensor([self.mean, self.std]), images.device).unbind(0)
        floats = images.float() if out is None else out.copy_(images)  # a product of both types would not be vectorised
        if floats.data_ptr() == images.data_ptr():
            floats = floats.clone()  # what was given stays as it is
        scale, shift = std * (255 if images.dtype == torch.uint8 else 1), mean / std
        if _channels_last(floats):  # rows of pixels instead of their three channels: loops are long enough to vectorise
            width = floats.shape[3]
            floats.movedim(1, -1).flatten(2).div_(scale.repeat(width)).sub_(shift.repeat(width))
        else:
            floats.div_(scale[:, None, None]).sub_(shift[:, None, None])
        return floats.to(dtype)


def _channels_last(images: Tensor) -> bool:
    return not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last)


class Memory:
    """Host memory for floats of a batch, kept for the next one."""

    def __init__(self) -> None:
        self._kept = torch.empty(0)

    def of(self, images: Tensor) -> Tensor | None:
        """Return float32 memory of the shape and order of images on the host.

        None on a device, whose allocator keeps its own, and for images that do not lie densely.
        """
        if images.device.type != "cpu" or not (images.is_contiguous() or _channels_last(images)):
            return None
        if self._kept.numel() < images.numel():
            with torch.inference_mode(False):  # it can be written to in that mode, and out of it
                self._kept = torch.empty(images.numel())
        return self._kept.as_strided(images.shape, images.stride())


def shrunk(pictures: Tensor, side: int) -> Tensor:
    """Return pictures (…, 3, h, w) as (…, h, w, 3) uint8 where they lie, at most ``side`` pixels high and wide."""
    height, width = pictures.shape[-2:]
    ratio = min(1.0, side / max(height, width))
    size = [max(1, round(height * ratio)), max(1, round(width * ratio))]
    small: Tensor = V.to_dtype(V.resize(pictures, size, antialias=True), scale=True, dtype=torch.uint8)
    return small.movedim(-3, -1).contiguous()
