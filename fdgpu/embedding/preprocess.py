"""A model's own preprocessing, as open_clip configures it, on tensors: one path for files, arrays and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from fdgpu.errors import InputError


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop and normalise.

    ``resize_mode`` is open_clip's: "shortest" scales the shorter side and crops the centre, "squash" ignores the
    aspect ratio, "longest" fits the whole image and pads.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: InterpolationMode
    resize_mode: str

    @classmethod
    def of_model(cls, config: dict[str, Any]) -> Preprocess:
        """Take it from ``model.visual.preprocess_cfg``."""
        size = config["size"]
        return cls(
            size=(size, size) if isinstance(size, int) else tuple(size),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=InterpolationMode(config["interpolation"])
            if config["interpolation"] != "random"
            else InterpolationMode.BICUBIC,
            resize_mode=config["resize_mode"],
        )

    def resize(self, images: Tensor) -> Tensor:
        """Bring (…, 3, h, w) to the model's size; uint8 stays uint8. Antialiased, as PIL does it."""
        height, width = self.size
        if images.shape[-2:] == self.size:
            return images
        if self.resize_mode == "squash":
            return self._scaled(images, height, width)
        h, w = images.shape[-2:]
        ratio = max(height / h, width / w) if self.resize_mode == "shortest" else min(height / h, width / w)
        scaled = self._scaled(images, max(1, round(h * ratio)), max(1, round(w * ratio)))
        cropped: Tensor = V.center_crop(scaled, [height, width])  # pads with zeros where the image is smaller
        return cropped

    def _scaled(self, images: Tensor, height: int, width: int) -> Tensor:
        scaled: Tensor = V.resize(images, [height, width], interpolation=self.interpolation, antialias=True)
        return scaled

    def normalise(self, images: Tensor, dtype: torch.dtype) -> Tensor:
        """Turn (n, 3, h, w) uint8 or floats in [0, 1] into the model's input."""
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        mean = torch.tensor(self.mean, device=images.device)[:, None, None]
        std = torch.tensor(self.std, device=images.device)[:, None, None]
        return ((scaled - mean) / std).to(dtype)


def as_picture(image: Any) -> Tensor:
    """Turn one PIL image, array or tensor into (3, h, w), uint8 or floats in [0, 1].

    Grey images are repeated over the channels; of four channels the last is dropped.

    Raises:
        InputError: if it is none of these, or floats lie outside [0, 1].
    """
    if isinstance(image, Image.Image):
        pixels = torch.from_numpy(np.array(image.convert("RGB")))
    elif isinstance(image, torch.Tensor):
        pixels = image.detach()
    elif isinstance(image, np.ndarray):
        pixels = torch.from_numpy(np.ascontiguousarray(image))
    else:
        raise InputError(f"an image is a {type(image).__name__}: pass PIL images, arrays or tensors")
    return _checked_range(_channels_first(pixels))


def as_pictures(images: Tensor) -> Tensor:
    """Check a whole tensor of images: (n, 3, h, w), (n, 1, h, w), (n, h, w, 3) or (n, h, w)."""
    if images.ndim not in (3, 4):
        raise InputError(f"images has shape {tuple(images.shape)}: pass (n, 3, h, w) or (n, h, w, 3)")
    return _checked_range(_channels_first(images))


def _channels_first(pixels: Tensor) -> Tensor:
    """Move channels before height, repeat grey, drop alpha; works on one image or a stack of them."""
    stacked = pixels.ndim == 4 or (
        pixels.ndim == 3 and 0 not in pixels.shape and pixels.shape[-1] > 4 < pixels.shape[0]
    )
    grey_stack = stacked and pixels.ndim == 3
    if pixels.ndim == 2 or grey_stack:
        return pixels.unsqueeze(-3).expand(*pixels.shape[:-2], 3, *pixels.shape[-2:])
    if pixels.shape[-3] not in (1, 3, 4) and pixels.shape[-1] in (1, 3, 4):
        pixels = pixels.movedim(-1, -3)
    channels = pixels.shape[-3]
    if channels == 1:
        return pixels.expand(*pixels.shape[:-3], 3, *pixels.shape[-2:])
    if channels in (3, 4):
        return pixels[..., :3, :, :]
    raise InputError(f"an image has shape {tuple(pixels.shape)}: pass 1, 3 or 4 channels, first or last")


def _checked_range(pixels: Tensor) -> Tensor:
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.dtype.is_floating_point:
        raise InputError(f"an image is of type {pixels.dtype}: pass uint8, or floats in [0, 1]")
    if pixels.numel() and not bool(((pixels >= 0) & (pixels <= 1)).all()):
        raise InputError("an image of floats has values outside [0, 1], or NaN: scale it, or pass uint8")
    return pixels
