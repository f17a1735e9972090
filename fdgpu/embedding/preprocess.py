"""A model's own preprocessing, as open_clip configures it, on tensors: one path for files, arrays and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from fdgpu.arrays import is_array, to_device, to_host, to_torch
from fdgpu.checks import shown
from fdgpu.errors import InputError

OUTSIDE = "an image of floats has values outside [0, 1], or NaN: scale it, or pass uint8"


class ResizeMode(StrEnum):
    """How an image of another aspect ratio comes to the model's size; open_clip's names."""

    SHORTEST = "shortest"  # the shorter side is scaled, and the centre cropped
    SQUASH = "squash"  # both sides are scaled, each by its own ratio
    LONGEST = "longest"  # the longer side is scaled, and the rest padded

    @classmethod
    def _missing_(cls, value: object) -> ResizeMode:
        raise InputError(f"resize_mode is {shown(value)}: use one of {', '.join(cls)}")


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop and normalise."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: InterpolationMode
    resize_mode: ResizeMode

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

    def resize(self, images: Tensor) -> Tensor:
        """Bring (…, 3, h, w) to the model's size; uint8 stays uint8. Antialiased, as PIL does it."""
        height, width = self.size
        if images.shape[-2:] == self.size:
            return images
        if self.resize_mode is ResizeMode.SQUASH:
            return self._scaled(images, height, width)
        if self.resize_mode is ResizeMode.SHORTEST:
            images = self._near_aspect(images)
        h, w = images.shape[-2:]
        fit = max if self.resize_mode is ResizeMode.SHORTEST else min
        ratio = fit(height / h, width / w)
        scaled = self._scaled(images, max(1, round(h * ratio)), max(1, round(w * ratio)))
        cropped: Tensor = V.center_crop(scaled, [height, width])  # pads with zeros where the image is smaller
        return cropped

    def _near_aspect(self, images: Tensor) -> Tensor:
        """Crop what the centre crop would drop anyway, up to a margin, so that an image of 1 x 100 000 stays small."""
        height, width = self.size
        h, w = images.shape[-2:]
        most_h, most_w = 4 * max(1, -(-w * height // width)), 4 * max(1, -(-h * width // height))
        if h <= most_h and w <= most_w:
            return images
        cropped: Tensor = V.center_crop(images, [min(h, most_h), min(w, most_w)])
        return cropped

    def _scaled(self, images: Tensor, height: int, width: int) -> Tensor:
        scaled: Tensor = V.resize(images, [height, width], interpolation=self.interpolation, antialias=True)
        return scaled

    def normalise(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Turn (n, 3, h, w) uint8 or floats in [0, 1] into the model's input."""
        scaled = images / 255 if images.dtype == torch.uint8 else images.float()
        mean, std = to_device(torch.tensor([self.mean, self.std]), images.device)[:, :, None, None].unbind(0)
        return (scaled - mean).div_(std).to(dtype)


def as_picture(image: object) -> Tensor:
    """Turn one PIL image, array or tensor into (3, h, w), uint8 or floats in [0, 1], where it lies.

    Grey images are repeated over the channels; of four channels the last is dropped.

    Raises:
        InputError: if it is none of these, empty, or floats lie outside [0, 1].
    """
    return _checked_range(as_unchecked_picture(image))


def as_unchecked_picture(image: object) -> Tensor:
    """Return :func:`as_picture`, whose floats may lie anywhere: on a device, that is seen for many pictures at once."""
    if isinstance(image, Image.Image):
        pixels = _from_pil(image)
    elif isinstance(image, np.ndarray):
        pixels = torch.from_numpy(np.ascontiguousarray(image))
    elif isinstance(image, torch.Tensor) or is_array(image):
        pixels = to_torch(image, "an image")
    else:
        raise InputError(f"an image is a {type(image).__name__}: pass PIL images, arrays or tensors")
    if pixels.ndim not in (2, 3):
        raise InputError(f"an image has shape {tuple(pixels.shape)}: pass (3, h, w), (h, w, 3) or (h, w)")
    return _checked_type(_channels_first(pixels if pixels.ndim == 3 else pixels[None]))


def as_pictures(images: Tensor) -> Tensor:
    """Check a whole tensor of images: (n, 3, h, w), (n, 1, h, w), (n, h, w, 3) or grey (n, h, w)."""
    if images.ndim not in (3, 4):
        raise InputError(f"images has shape {tuple(images.shape)}: pass (n, 3, h, w), (n, h, w, 3) or (n, h, w)")
    return _checked_range(_channels_first(images if images.ndim == 4 else images[:, None]))


def _from_pil(image: Image.Image) -> Tensor:
    """Return RGB as (h, w, 3). 16-bit greys are scaled, as PIL's own conversion would cut them off at 255."""
    if image.mode.startswith("I;16"):
        return torch.from_numpy(np.asarray(image).astype(np.float32) / 65535)
    if image.mode in ("I", "F"):
        raise InputError(f"an image is of mode {image.mode}, whose range is not known: save it as 8 or 16 bits")
    return torch.from_numpy(np.array(image.convert("RGB")))


def _channels_first(pixels: Tensor) -> Tensor:
    """Move the channels of (…, c, h, w) or (…, h, w, c) first, repeat grey, drop alpha."""
    if pixels.shape[-3] not in (1, 3, 4) and pixels.shape[-1] in (1, 3, 4):
        pixels = pixels.movedim(-1, -3)
    channels, height, width = pixels.shape[-3:]
    if height == 0 or width == 0:
        raise InputError(f"an image has shape {tuple(pixels.shape)}: it holds no pixel")
    if channels == 1:
        return pixels.expand(*pixels.shape[:-3], 3, height, width)
    if channels in (3, 4):
        return pixels[..., :3, :, :]
    raise InputError(f"an image has shape {tuple(pixels.shape)}: pass 1, 3 or 4 channels, first or last")


def _checked_type(pixels: Tensor) -> Tensor:
    if pixels.dtype != torch.uint8 and not pixels.dtype.is_floating_point:
        raise InputError(f"an image is of type {pixels.dtype}: pass uint8, or floats in [0, 1]")
    return pixels


def _checked_range(pixels: Tensor) -> Tensor:
    inside = in_range(_checked_type(pixels))
    if inside is not None and not bool(to_host(inside, "whether the images' floats lie in [0, 1]")):
        raise InputError(OUTSIDE)
    return pixels


def in_range(pixels: Tensor) -> Tensor | None:
    """Return whether all floats lie in [0, 1] and none is NaN, where they lie; None where that is known beforehand."""
    if pixels.dtype == torch.uint8 or not pixels.numel():
        return None
    return (pixels.amin() >= 0) & (pixels.amax() <= 1)  # of NaN, both are NaN


def shrunk(pictures: Tensor, side: int) -> Tensor:
    """Return pictures (…, 3, h, w) as (…, h, w, 3) uint8 where they lie, at most ``side`` pixels high and wide."""
    height, width = pictures.shape[-2:]
    ratio = min(1.0, side / max(height, width))
    size = [max(1, round(height * ratio)), max(1, round(width * ratio))]
    small: Tensor = V.to_dtype(V.resize(pictures, size, antialias=True), scale=True, dtype=torch.uint8)
    return small.movedim(-3, -1).contiguous()
