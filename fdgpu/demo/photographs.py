"""The bundled photographs: a subset of Fashion-MNIST, one PNG sheet per split and class."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
import torch
from PIL import Image

from fdgpu.demo.settings import SPLITS, world_settings
from fdgpu.errors import InputError


@dataclass(frozen=True)
class Photographs:
    """Grey garments on nothing: ``pixels`` (n, 28, 28) uint8, ``labels`` (n,) int64, sorted by class."""

    pixels: torch.Tensor
    labels: torch.Tensor


def load_photographs(split: str) -> Photographs:
    """Load one split of the bundled photographs.

    Args:
        split: ``"clip"``, ``"base"``, ``"val"`` or ``"test"``; no photograph is in two of them.

    Raises:
        InputError: if the split is unknown.
    """
    if split not in SPLITS:
        raise InputError(f"split is {split!r}: use one of {', '.join(SPLITS)}")
    settings = world_settings()
    folder = resources.files("fdgpu.demo") / "photographs" / split
    pixels = []
    for name in settings.class_names:
        with (folder / f"{name}.png").open("rb") as stream:
            sheet = np.asarray(Image.open(stream))
        pixels.append(cut_sheet(sheet, settings.tile)[: settings.per_class[split]])
    labels = np.repeat(np.arange(len(pixels)), [len(p) for p in pixels])
    return Photographs(torch.from_numpy(np.concatenate(pixels)), torch.from_numpy(labels))


def cut_sheet(sheet: np.ndarray, tile: int) -> np.ndarray:
    """Cut a sheet (rows·tile, columns·tile) into tiles (rows·columns, tile, tile), row by row."""
    rows, columns = sheet.shape[0] // tile, sheet.shape[1] // tile
    return sheet.reshape(rows, tile, columns, tile).swapaxes(1, 2).reshape(-1, tile, tile)


def paste_sheet(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Paste tiles (n, t, t) into one sheet, row by row; the inverse of :func:`cut_sheet` up to empty tiles."""
    n, tile, _ = tiles.shape
    rows = -(-n // columns)
    padded = np.zeros((rows * columns, tile, tile), tiles.dtype)
    padded[:n] = tiles
    return padded.reshape(rows, columns, tile, tile).swapaxes(1, 2).reshape(rows * tile, columns * tile)
