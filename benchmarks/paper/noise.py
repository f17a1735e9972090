"""Gaussian noise on every pixel, the corruption of the paper's ImageNet-C (B.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


def noisy(image: Tensor, deviation: float, seed: int, index: int) -> Tensor:
    """Return a uint8 image with noise of this standard deviation, of the range [0, 1]; seed and index draw it."""
    # torch's generators take 32 bits of a seed, too few for a number of both
    noise = torch.from_numpy(np.random.default_rng((seed, index)).standard_normal(image.shape, np.float32))
    return (image + 255 * deviation * noise).round().clamp(0, 255).to(torch.uint8)


def corrupted(images: Tensor, rows: Tensor, deviation: float, seed: int) -> Tensor:
    """Return images (n, 3, h, w), those where ``rows`` (n,) is true with noise, drawn by their index."""
    changed = images.clone()
    for row in rows.nonzero()[:, 0].tolist():
        changed[row] = noisy(images[row], deviation, seed, row)
    return changed


class CorruptedFiles(Dataset[tuple[Tensor, Tensor]]):
    """The same for pairs of a Dataset, when they are asked for."""

    def __init__(self, pairs: Dataset[Any], rows: Tensor, deviation: float, seed: int) -> None:
        self.pairs, self.rows, self.deviation, self.seed = pairs, rows, deviation, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        image, label = self.pairs[row]
        return (noisy(image, self.deviation, self.seed, row) if self.rows[row] else image), label
