"""The exact search, which needs torch only: every vector is looked at, block by block, where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

import numpy as np
import torch
from torch import Tensor

from fdgpu.arrays import rows_finite, to_host
from fdgpu.device import BatchSize, halving_batches
from fdgpu.files import expect
from fdgpu.rows import Ints, Rows, chunk_rows

QUERIES = {"cpu": 256, "cuda": 1024}  # of a store at a time
VECTORS = {"cpu": 1 << 14, "cuda": 1 << 17}  # of it to begin with: 16 MiB of scores on a CPU, 512 MiB on a GPU
ASKED = {"cpu": 1024, "cuda": 4096}  # rows whose nearest are looked for at a time
KEYS = {"cpu": 1 << 13, "cuda": 1 << 16}  # among so many: 32 MiB of scores on a CPU, 1 GiB on a GPU
GROUP = 32  # scores of which the highest is looked at first
HELD_BYTES = {
    "cpu": 1 << 31,
    "cuda": 1 << 33,
}  # of unit rows that are kept; others are taken for each block of queries
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


# --- which rows are nearest to which, by the cosine around the mean ---------------------------------------------------


def mean_row(rows: Rows, among: Ints) -> Tensor:
    """Return the mean (1, d) of some rows, where they lie."""
    blocks = rows.chosen(among).blocks(chunk_rows(rows))
    return torch.stack([block.double().sum(dim=0) for block in blocks]).sum(dim=0, keepdim=True) / len(among)


def nearest(rows: Rows, queries: Ints, keys: Ints, k: int, mean: Tensor) -> Found:
    """Find the k keys that are nearest to each query; one that is itself a key finds itself first.

    q x n products of d numbers. Rows are had in blocks, and only q x k results are kept; those of no more than 2 GiB
    (8 on a GPU) are made unit vectors once. The host does not wait.

    Args:
        rows: (n, d), of any scale.
        queries: (q,) of the rows.
        keys: (m,) of the rows.
        k: how many; all where there are fewer keys.
        mean: (1, d) that is subtracted, so that vectors of a narrow cone are told apart; see :func:`mean_row`.

    Returns:
        Cosines (q, k), the highest first, and the positions (q, k) among ``keys`` that they belong to. A row that is
        the mean has the cosine 0 with all.
    """
    kind = rows.device.type
    step = KEYS.get(kind, KEYS["cpu"])
    starts = range(0, len(keys), step)

    def read() -> Iterator[Tensor]:
        return (_around(rows.take(keys[start : start + step]), mean) for start in starts)

    held = list(read()) if 4 * len(keys) * rows.shape[1] <= HELD_BYTES.get(kind, HELD_BYTES["cpu"]) else None
    found: list[Found] = []
    at_once = ASKED.get(kind, ASKED["cpu"])
    for first in range(0, len(queries), at_once):
        asked = _around(rows.take(queries[first : first + at_once]), mean)
        so_far: Found | None = None
        for start, block in zip(starts, held or read(), strict=True):
            these = best_by_groups(asked @ block.T, k, start)
            so_far = these if so_far is None else better(so_far, these, k)
        if so_far is not None:
            found.append(so_far)
    if not found:
        nothing = torch.zeros(len(queries), 0, device=rows.device)
        return nothing, nothing.long()
    return torch.cat([scores for scores, _ in found]), torch.cat([at for _, at in found])


def best_by_groups(scores: Tensor, k: int, start: int) -> Found:
    """Return what :func:`~fdgpu.index.exact.best` returns, but for the order of equals, in less time.

    The k highest of (q, m) scores lie in the k groups whose own highest are the highest: one quick pass, and two short
    sorts instead of a long one.
    """
    q, groups = len(scores), scores.shape[1] // GROUP
    if groups <= 2 * k:
        return best(scores, k, start)
    whole = scores[:, : groups * GROUP].view(q, GROUP, groups)  # group g is every groups-th score from g on
    chosen = whole.amax(dim=1).topk(k, dim=1).indices
    at = (chosen[:, :, None] + groups * torch.arange(GROUP, device=scores.device)).flatten(1)
    if groups * GROUP < scores.shape[1]:
        rest = torch.arange(groups * GROUP, scores.shape[1], device=scores.device)
        at = torch.cat([at, rest.expand(q, -1)], dim=1)
    found, order = scores.gather(1, at).topk(k, dim=1)
    return found, at.gather(1, order) + start


def _around(block: Tensor, mean: Tensor) -> Tensor:
    """Return unit vectors (b, d) around the mean; zero where nothing is left but rounding."""
    centred = (block - mean.to(block.dtype if block.dtype == torch.float64 else torch.float32)).float()
    length = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    rounding = 8 * torch.finfo(torch.float32).eps * torch.linalg.vector_norm(mean).float()
    return torch.where(length > rounding, centred / length.clamp_min(torch.finfo(torch.float32).tiny), 0.0)
