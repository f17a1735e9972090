"""Unit vectors that are all looked at, in one tensor where they lie: the exact search, which needs torch only."""

from __future__ import annotations

from typing import IO

import numpy as np
import torch
from torch import Tensor

from fdgpu.arrays import rows_finite, to_host
from fdgpu.device import BatchSize, halving_batches
from fdgpu.files import expect

QUERIES = {"cpu": 256, "cuda": 1024}  # at a time
VECTORS = {"cpu": 1 << 14, "cuda": 1 << 17}  # to begin with: 16 MiB of scores on a CPU, 512 MiB on a GPU
NPY = b"\x93NUMPY\x01\x00"  # how a file of NumPy's format 1.0 begins
Found = tuple[Tensor, Tensor]  # scores (q, k), the best first, and the positions (q, k) that they belong to


def best(scores: Tensor, k: int, start: int, largest: bool = True) -> Found:
    """Return the best k of scores (q, m), which are of the vectors from position ``start`` on."""
    found, at = scores.topk(min(k, scores.shape[1]), dim=1, largest=largest)
    return found, at + start


def better(these: Found, those: Found, k: int, largest: bool = True) -> Found:
    """Return the best k of two times the best of some."""
    scores, order = torch.cat([these[0], those[0]], dim=1).topk(
        min(k, these[0].shape[1] + those[0].shape[1]), dim=1, largest=largest
    )
    return scores, torch.cat([these[1], those[1]], dim=1).gather(1, order)


class ExactStore:
    """Vectors in one tensor on the host or on a GPU, which grows.

    A search is blocks of scores by matrix product, and the best of each. It finds what ``faiss.IndexFlatIP`` finds, its
    plain twin, for 400 queries over 100 000 vectors of 128 on a CPU in a quarter of the time; a handful of queries,
    which read the vectors once and compute little, take as long as there. Nothing of it waits for a device. A block
    whose scores do not fit into memory is halved.

    Args:
        dimension: length d of the vectors.
        half: keep float16, half the memory; scores then differ by about 1e-4.
        device: where the vectors are, and rows and queries come from.
    """

    file = "vectors.npy"

    def __init__(self, dimension: int, half: bool, device: torch.device) -> None:
        self.dimension, self.half, self.device = dimension, half, device
        self._room = torch.empty((0, dimension), dtype=torch.float16 if half else torch.float32, device=device)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Tensor:
        """All vectors (n, d), without a copy."""
        return self._room[: self._count]

    def vectors(self, positions: Tensor) -> Tensor:
        """Return the vectors (…, d) at positions (…)."""
        return self._room[positions]

    def block(self, start: int, stop: int) -> Tensor:
        """Return the vectors from one position to another."""
        return self.rows[start:stop]

    def reserve(self, more: int) -> None:
        """Make room for so many vectors more: exactly so many at first, later at least twice what there was."""
        needed = self._count + more
        if needed > len(self._room):
            room = self._room.new_empty(max(needed, 2 * self._count), self.dimension)
            room[: self._count] = self.rows
            self._room = room

    def add(self, rows: Tensor) -> None:
        """Append vectors (n, d)."""
        self.reserve(len(rows))
        self._room[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def search(self, queries: Tensor, k: int, exact: bool = True) -> Found:  # noqa: ARG002 - it always is
        """Return scores (q, k), the highest first, and positions (q, k)."""
        found = [self._best(some, k) for some in queries.split(QUERIES.get(self.device.type, QUERIES["cpu"]))]
        scores, positions = zip(*found, strict=True)
        return torch.cat(scores), torch.cat(positions)

    def _best(self, queries: Tensor, k: int) -> Found:
        """Return the best of each block of vectors and of those before it."""
        block = BatchSize(VECTORS.get(self.device.type, VECTORS["cpu"]))
        blocks = halving_batches(
            lambda start, stop: best(queries @ self._room[start:stop].float().T, k, start), self._count, block
        )
        _, found = next(blocks)
        for _, more in blocks:
            found = better(found, more, k)
        return found

    def write(self, stream: IO[bytes]) -> None:
        """Write the vectors in NumPy's format."""
        np.lib.format.write_array(stream, to_host(self.rows, "the vectors of an index, for its file"))

    def read(self, stream: IO[bytes], count: int) -> None:
        """Read ``count`` vectors that :meth:`write` wrote into a store that is empty.

        Raises:
            ValueError: for vectors of another number, length or type, or that are not finite.
        """
        wanted = np.dtype(np.float16 if self.half else np.float32)
        says = {"descr": wanted.str, "fortran_order": False, "shape": (count, self.dimension)}
        version, length = stream.read(len(NPY)), int.from_bytes(stream.read(2), "little")
        header = stream.read(length).rstrip().replace(b", }", b"}")  # NumPy's own parser fails in many ways
        expect(version == NPY and header == str(says).encode(), f"{self.file} of NumPy's format 1.0, {says}")
        content = bytearray(count * self.dimension * wanted.itemsize)
        whole = stream.readinto(content) == len(content) and not stream.read(1)  # type: ignore[attr-defined]
        expect(whole, f"{len(content)} bytes of vectors in {self.file}")
        self._room = torch.from_numpy(np.frombuffer(content, wanted).reshape(count, self.dimension)).to(self._room)
        finite = to_host(rows_finite(self._room).all(), "whether the vectors of a file are finite")
        expect(bool(finite), "finite vectors")
        self._count = count
