"""Whitening by the reference's mean and standard deviation, then unit length (paper, A.4)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_device, to_host
from fdgpu.kernels.whiten_numba import add_moments, whiten_rows

CHUNK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28}  # of float64 copies at a time: a cache's worth, and one full launch


@dataclass(frozen=True)
class Whitening:
    """x ← (x − mean) / scale, then x ← x / ‖x‖, wherever x lies.

    ``mean`` and ``scale`` are (d,) float64. A dimension that does not vary has scale 1; a row that equals the mean
    has no direction and stays zero.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def fit(cls, reference: torch.Tensor) -> Whitening:
        """Take mean and standard deviation (n − 1) of ``reference`` (m, d), summed in float64."""
        m = len(reference)
        shift = reference[0].double()  # near enough to the mean for one pass to lose nothing
        total, square = torch.zeros_like(shift), torch.zeros_like(shift)
        for part in reference.split(chunk_rows(reference)):
            if part.device.type == "cpu":
                add_moments(_plain(part), shift.numpy(), total.numpy(), square.numpy())
            else:
                distance = part.double() - shift
                total += distance.sum(dim=0)
                square += distance.square_().sum(dim=0)
        mean = shift + total / m
        deviation = ((square - total.square() / m).clamp(min=0) / (m - 1)).sqrt()
        constant = deviation <= 1e-12 * mean.abs().clamp(min=1.0)  # rounding of the mean is no variation
        both = torch.stack([mean, torch.where(constant, 1.0, deviation)])
        return cls(*to_host(both, "mean and deviation of the reference"))

    @classmethod
    def identity(cls, d: int) -> Whitening:
        """Return the whitening that only normalises (A.7, for decoding)."""
        return cls(np.zeros(d), np.ones(d))

    @cached_property
    def is_identity(self) -> bool:
        """Whether it only normalises."""
        return not self.mean.any() and bool((self.scale == 1).all())

    def __call__(self, rows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Whiten ``rows`` (n, d); returns new unit rows of ``dtype`` on the same device."""
        if rows.device.type != "cpu":
            return self.through_torch(rows, dtype)
        out = torch.empty(rows.shape, dtype=dtype)
        step = chunk_rows(rows)
        for part, into in zip(rows.split(step), out.split(step), strict=True):
            whiten_rows(_plain(part), self.mean, 1 / self.scale, into.numpy())
        return out

    def through_torch(self, rows: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Whiten ``rows`` (n, d) on any device, without waiting for it."""
        out = torch.empty(rows.shape, dtype=dtype, device=rows.device)
        mean, scale = (to_device(values, rows.device) for values in (self.mean, self.scale))
        step = chunk_rows(rows)
        for part, into in zip(rows.split(step), out.split(step), strict=True):
            # float64: a mean may dwarf the rest
            whitened = part.to(dtype) if self.is_identity else (part.double() - mean).div_(scale)
            lengths = torch.linalg.vector_norm(whitened, dim=1, keepdim=True)
            into.copy_(whitened / torch.where(lengths == 0, 1.0, lengths))
        return out


def _plain(rows: torch.Tensor) -> NDArray[np.floating]:
    """Return rows on the host as the compiled loops know them: float32 or float64, row by row."""
    return (rows if rows.dtype == torch.float64 else rows.float()).contiguous().numpy()


def chunk_rows(rows: torch.Tensor) -> int:
    """Rows of ``rows`` (n, d) to convert to float64 at a time."""
    return max(1, CHUNK_BYTES.get(rows.device.type, CHUNK_BYTES["cpu"]) // (8 * max(1, rows.shape[1])))
