"""Whitening by the reference's mean and standard deviation, then unit length (paper, A.4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, to_device, to_host
from fdgpu.described import Described
from fdgpu.kernels.whiten_numba import LEAST_NORMAL, LOWEST, add_moments, whiten_rows
from fdgpu.rows import Rows, as_rows, chunk_rows

# Where mean and scale lie between these, the whitened numbers of any float32 rows can be squared in float64.
NEAR = (2.0**-200, 2.0**200)
FAR_COPIES = 8  # that rows of any size take beside the one that others take
FRACTION_BITS = 52  # of float64, below its exponent
ROUNDING = 1e-12  # relative: a column that deviates by less is constant, but for how it was computed


@dataclass(frozen=True, repr=False)
class Whitening(Described):
    """x ← (x − mean) / scale, then x ← x / ‖x‖, wherever x lies.

    ``mean`` and ``scale`` are (d,) float64. A dimension that does not vary has scale 1; a row that equals the mean
    has no direction and stays zero. Rows times a power of two are whitened to the same, of any size that float64 holds.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    def _described(self) -> dict[str, object]:
        return {"dimensions": len(self.mean)}

    @classmethod
    def fit(cls, reference: Array) -> Whitening:
        """Take mean and standard deviation (m − 1) of ``reference`` (m, d), an array or Rows, summed in float64."""
        rows = as_rows(reference, "reference")
        m, unit = len(rows), _units(rows)
        shift = (
            rows.take(np.zeros(1, np.int64))[0].double() * unit
        )  # near enough to the mean for one pass to lose nothing
        total, square = torch.zeros_like(shift), torch.zeros_like(shift)
        for part in rows.blocks(chunk_rows(rows)):
            if part.device.type == "cpu":
                add_moments(_plain(part), *(sums.numpy() for sums in (unit, shift, total, square)))
            else:
                distance = part.double() * unit - shift
                total += distance.sum(dim=0)
                square += distance.square_().sum(dim=0)
        mean = shift + total / m
        deviation = ((square - total.square() / m).clamp(min=0) / (m - 1)).sqrt()
        scale = torch.where(deviation <= ROUNDING * mean.abs(), 0.0, deviation) / unit
        scale = scale.clamp(max=torch.finfo(torch.float64).max)  # of the largest numbers of both signs
        both = torch.stack([mean / unit, torch.where(scale == 0, 1.0, scale)])
        return cls(*to_host(both, "mean and deviation of the reference"))

    @classmethod
    def identity(cls, d: int) -> Whitening:
        """Return the whitening that only normalises (A.7, for decoding)."""
        return cls(np.zeros(d), np.ones(d))

    def __call__(
        self, rows: torch.Tensor, dtype: torch.dtype = torch.float32, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Whiten ``rows`` (n, d); returns unit rows on the same device, new ones of ``dtype`` or those of ``out``."""
        out = torch.empty(rows.shape, dtype=dtype, device=rows.device) if out is None else out
        if rows.device.type != "cpu":
            return self.through_torch(rows, dtype, out)
        step = chunk_rows(rows)
        for part, into in zip(rows.split(step), out.split(step), strict=True):
            whiten_rows(_plain(part), self.mean, self.scale, into.numpy())
        return out

    def through_torch(
        self, rows: torch.Tensor, dtype: torch.dtype = torch.float32, out: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Whiten ``rows`` (n, d) on any device, without waiting for it."""
        out = torch.empty(rows.shape, dtype=dtype, device=rows.device) if out is None else out
        mean, scale = (to_device(values, rows.device) for values in (self.mean, self.scale))
        far = rows.dtype == torch.float64 or not self._is_near
        step = max(1, chunk_rows(rows) // (FAR_COPIES if far else 1))
        for part, into in zip(rows.split(step), out.split(step), strict=True):
            wide = part.double()  # a mean may dwarf the rest
            whitened = _quotients(wide, mean, scale) if far else wide.sub_(mean).div_(scale)
            lengths = torch.linalg.vector_norm(whitened, dim=1, keepdim=True)
            into.copy_(whitened / torch.where(lengths == 0, 1.0, lengths))
        return out

    @property
    def _is_near(self) -> bool:
        least, most = NEAR
        return bool(np.abs(self.mean).max(initial=0) <= most and ((self.scale >= least) & (self.scale <= most)).all())


def _units(reference: Rows) -> torch.Tensor:
    """Return (d,) a power of two by which no number of a column overflows when it is squared; nothing is waited for."""
    if reference.dtype != torch.float64:  # whose squares float64 holds
        return torch.ones(reference.shape[1], dtype=torch.float64, device=reference.device)
    sizes = [torch.maximum(part.amax(dim=0), -part.amin(dim=0)) for part in reference.blocks(chunk_rows(reference))]
    exponent = torch.frexp(torch.stack(sizes).amax(dim=0)).exponent.clamp(LEAST_NORMAL + 1, -LEAST_NORMAL)
    return _power_of_two(-exponent)


def _quotients(rows: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return (x − mean) / scale of ``rows`` (n, d) float64, each row up to a power of two, where they lie.

    The plain twin of :func:`fdgpu.kernels.whiten_numba.quotients`.
    """
    (x, of_x), (m, of_m), (s, of_s) = (torch.frexp(values) for values in (rows, mean, scale))
    top = torch.maximum(torch.where(x == 0, LOWEST, of_x), torch.where(m == 0, LOWEST, of_m))
    distance, exponent = torch.frexp(_scaled(x, of_x - top) - _scaled(m, of_m - top))
    exponent = torch.where(distance == 0, LOWEST, exponent + top - of_s)
    return _scaled(distance / s, exponent - exponent.amax(dim=1, keepdim=True))


def _scaled(fraction: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Return ``fraction`` times a power of two of 1 or less."""
    return fraction * _power_of_two(exponent.clamp(LEAST_NORMAL, 0))


def _power_of_two(exponent: torch.Tensor) -> torch.Tensor:
    """Return float64 powers by their bits: what ``exp2`` and ``ldexp`` make of them is a device's affair."""
    return ((exponent.long() - LEAST_NORMAL + 1) << FRACTION_BITS).view(torch.float64)


def _plain(rows: torch.Tensor) -> NDArray[np.floating]:
    """Return rows on the host as the compiled loops know them: float32 or float64, row by row."""
    return (rows if rows.dtype == torch.float64 else rows.float()).contiguous().numpy()
