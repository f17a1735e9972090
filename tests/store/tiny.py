"""An embedder of greys whose arithmetic is exact, so that bits do not hang on how images fall into batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode

from fdgpu.embedding.embedder import Embeddings, ImageEmbedder
from fdgpu.embedding.preprocess import Preprocess, ResizeMode
from fdgpu.rows import Rows
from fdgpu.store.filling import fill
from tests.embedding.greys import grey

SIDE, DIMENSION = 4, 5
ODD = 77  # the grey of an image whose vector is not finite


class Greys(ImageEmbedder):
    """Weighs pixels by small whole numbers: sums are exact in any order."""

    dimension = DIMENSION

    def __init__(self, seed: int = 0, device: str = "cpu", batch_size: int = 3, precision: str = "float32") -> None:
        super().__init__("greys", device, batch_size, precision)
        self.preprocess = Preprocess(
            (SIDE, SIDE), (0.0,) * 3, (1.0,) * 3, InterpolationMode.BICUBIC, ResizeMode.SHORTEST
        )
        self.model: nn.Module = nn.Linear(3 * SIDE * SIDE, DIMENSION, bias=False).requires_grad_(False)
        weights = torch.randint(-9, 10, self.model.weight.shape, generator=torch.Generator().manual_seed(seed))
        self.model.weight.copy_(weights)
        self.model.to(self.placement.device)
        self.embedded = 0  # images

    def _features(self, pixels: Tensor) -> Tensor:
        self.embedded += len(pixels)
        levels = (pixels.flatten(1).float() * 255).round()
        odd = (levels == ODD).all(dim=1, keepdim=True)
        return self.model(levels).masked_fill(odd, torch.nan) + 1


def folder_of(root: Path, names: Sequence[str], start: int = 0) -> Path:
    """Write pictures whose greys follow from their names' order; one that is called broken is none."""
    root.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if "broken" in name:
            (root / name).write_bytes(b"no picture")
        else:
            grey((start + 5 * i) % 256).save(root / name)
    return root


def filled(store: Path, source: Any, embedder: ImageEmbedder | None = None, **options: Any) -> Embeddings:
    from fdgpu.embedding.opening import image_source

    return fill(store, image_source(source), embedder or Greys(), **options)


def content(store: Path) -> dict[str, bytes]:
    """Every file of a store, those that are hidden too."""
    return {one.relative_to(store).as_posix(): one.read_bytes() for one in store.rglob("*") if one.is_file()}


def shards(store: Path) -> list[str]:
    return sorted(one.name for one in store.glob("[0-9]*.parquet"))


def vectors_of(found: Embeddings) -> np.ndarray:
    rows = found.vectors
    return (rows.take(np.arange(len(rows))) if isinstance(rows, Rows) else rows).numpy()
