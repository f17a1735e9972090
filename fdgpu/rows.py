"""Vectors that are had in parts: a tensor that is there, or more than memory holds, read block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, to_device, to_torch

Ints = NDArray[np.int64]
CHUNK_BYTES = {"cpu": 1 << 25, "cuda": 1 << 28}  # of float64 copies at a time: a cache's worth, and one full launch


class Rows:
    """n vectors of d numbers, of one type, on one device; a subclass writes :meth:`take` and :meth:`blocks`.

    Attributes:
        shape: (n, d).
        dtype: of the numbers.
        device: where the parts arrive.
        finite: all numbers are known to be finite, so that nobody has to look.
    """

    shape: tuple[int, int]
    dtype: torch.dtype
    device: torch.device
    finite: bool = False

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: Ints) -> torch.Tensor:
        """Return some rows (m, d), in the order that is asked for; the host does not wait for the device.

        Several threads may ask at once.
        """
        raise NotImplementedError

    def blocks(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all rows in their order, ``size`` at a time."""
        raise NotImplementedError

    def chosen(self, rows: Ints) -> Rows:
        """Return some rows as rows again; nothing is read."""
        return ChosenRows(self, rows)


class TensorRows(Rows):
    """A tensor (n, d)."""

    def __init__(self, tensor: torch.Tensor, finite: bool = False) -> None:
        self.tensor, self.dtype, self.device, self.finite = tensor, tensor.dtype, tensor.device, finite
        self.shape = (tensor.shape[0], tensor.shape[1])

    def take(self, rows: Ints) -> torch.Tensor:
        """Return some rows."""
        return self.tensor[to_device(rows, self.device)]

    def blocks(self, size: int) -> Iterator[torch.Tensor]:
        """Yield views."""
        return iter(self.tensor.split(size))

    def chosen(self, rows: Ints) -> Rows:
        """Copy some rows; all of them are the tensor itself."""
        return self if np.array_equal(rows, np.arange(len(self))) else TensorRows(self.take(rows), self.finite)


class ChosenRows(Rows):
    """Some rows of others, in an order of their own."""

    def __init__(self, of: Rows, rows: Ints) -> None:
        self.of, self.rows, self.dtype, self.device, self.finite = of, rows, of.dtype, of.device, of.finite
        self.shape = (len(rows), of.shape[1])

    def take(self, rows: Ints) -> torch.Tensor:
        """Return some of the rows."""
        return self.of.take(self.rows[rows])

    def blocks(self, size: int) -> Iterator[torch.Tensor]:
        """Yield the rows, taken ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.of.take(self.rows[start : start + size])

    def chosen(self, rows: Ints) -> Rows:
        """Choose among the rows."""
        return ChosenRows(self.of, self.rows[rows])


def chunk_rows(rows: Rows | torch.Tensor) -> int:
    """Rows of ``rows`` (n, d) to read, or to convert to float64, at a time."""
    return max(1, CHUNK_BYTES.get(rows.device.type, CHUNK_BYTES["cpu"]) // (8 * max(1, rows.shape[1])))


def runs(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Divide parts of so many rows each into runs of at most ``most`` rows; a larger part is a run of its own.

    >>> list(runs([3, 1, 2, 9, 1], 5))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None), slice(4, 5, None)]
    """
    start = held = 0
    for i, size in enumerate(sizes):
        if i > start and held + size > most:
            yield slice(start, i)
            start, held = i, 0
        held += size
    if len(sizes):
        yield slice(start, len(sizes))


def taken_by_part(rows: Rows, parts: Sequence[Ints]) -> Iterator[Iterable[torch.Tensor]]:
    """Yield the rows of each part, in blocks of a chunk at most.

    Small parts are taken together: a store reads rows that lie apart faster many at once.
    """
    most = chunk_rows(rows)
    for run in runs([len(part) for part in parts], most):
        own = parts[run]
        if len(own) == 1:
            yield ChosenRows(rows, own[0]).blocks(most)
        else:
            yield from ([one] for one in rows.take(np.concatenate(own)).split([len(part) for part in own]))


def as_rows(array: Array, name: str) -> Rows:
    """Return rows as they are, and an array (n, d) as rows where it lies; see :func:`fdgpu.arrays.to_torch`."""
    return array if isinstance(array, Rows) else TensorRows(to_torch(array, name))
