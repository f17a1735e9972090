"""Rows that count how often each is read, and how many at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fdgpu import rows as module
from fdgpu.arrays import to_device
from fdgpu.rows import Rows


class CountedRows(Rows):
    """Rows on a device out of a tensor on the host: every part is a copy, so that no part can stand for the whole.

    ``reads`` (n,) says how often each row was read; ``most`` the most rows of one read.
    """

    def __init__(self, tensor: torch.Tensor, device: torch.device | None = None, finite: bool = True) -> None:
        self._tensor, self.dtype, self.finite = tensor, tensor.dtype, finite
        self.shape, self.device = (tensor.shape[0], tensor.shape[1]), device or tensor.device
        self.reads, self.most = np.zeros(len(tensor), np.int64), 0

    def take(self, rows: np.ndarray) -> torch.Tensor:
        np.add.at(self.reads, rows, 1)
        self.most = max(self.most, len(rows))
        return to_device(self._tensor[torch.from_numpy(rows)], self.device)

    def blocks(self, size: int) -> Iterator[torch.Tensor]:
        return (self.take(np.arange(len(self))[start : start + size]) for start in range(0, len(self), size))


def read_in_blocks(monkeypatch: pytest.MonkeyPatch, size: int, d: int) -> None:
    """Have rows of d numbers read ``size`` at a time."""
    monkeypatch.setattr(module, "CHUNK_BYTES", dict.fromkeys(("cpu", "cuda"), 8 * d * size))
