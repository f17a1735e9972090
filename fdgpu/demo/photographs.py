"""The bundled photographs: a subset of Fashion-MNIST, one PNG sprite sheet per split and class."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fdgpu.demo.settings import world_settings
from fdgpu.errors import InputError

TILE = 28  # pixels, the side of a photograph
Bytes = NDArray[np.uint8]


def load_photographs(split: str, folder: Traversable | None = None) -> tuple[Tensor, Tensor]:
    """Load one split: grey garments on nothing, sorted by class.

    Args:
        split: ``"base"``, ``"val"`` or ``"test"``; no photograph is in two of them.
        folder: one with further splits; by default the one that ships.

    Returns:
        Pixels (n, 28, 28) uint8 and classes (n,) int64.

    Raises:
        InputError: if the split is unknown.
    """
    source = resources.files("fdgpu.demo") / "photographs" if folder is None else folder
    known = sorted(part.name for part in source.iterdir() if part.is_dir())
    if split not in known:
        raise InputError(f"split is {split!r}: use one of {', '.join(known)}")
    pixels = []
    for name in world_settings().class_names:
        with (source / split / f"{name}.png").open("rb") as stream:
            pixels.append(cut_sheet(np.asarray(Image.open(stream)), TILE))
    labels = np.repeat(np.arange(len(pixels)), [len(own) for own in pixels])
    return torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(labels)


def cut_sheet(sheet: Bytes, tile: int) -> Bytes:
    """Cut a sprite sheet (rows·tile, columns·tile) into tiles (rows·columns, tile, tile), row by row."""
    rows, columns = sheet.shape[0] // tile, sheet.shape[1] // tile
    return sheet.reshape(rows, tile, columns, tile).swapaxes(1, 2).reshape(-1, tile, tile)
