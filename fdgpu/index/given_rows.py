"""The rows of an index: what is accepted, in which order they are stored, and how their ids and names are found."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import ROWS_AT_ONCE, Array, finite_rows, to_device, to_host, to_torch
from fdgpu.captions.grammar import CaptionView
from fdgpu.checks import check_whole, shown
from fdgpu.errors import InputError

MOST_ON_GPU = 2048  # neighbours
BLOCK = 1024  # neighbours that stay together: captions among them share their beginnings in the prefix tree
UNIT = 1e-2  # from length 1; rounding to bfloat16 moves the length of a unit vector by up to 4e-3


def check_rows(array: Array, name: str, dimension: int | None) -> torch.Tensor:
    """Return float rows (n, d) where they lie, all of them finite; the host waits once, for one byte."""
    rows = _shaped(array, name, dimension)
    finite_rows(rows, name)
    return rows


def check_unit_rows(array: Array, name: str, dimension: int | None) -> torch.Tensor:
    """Return float rows (n, d) where they lie, all finite and of length 1; the host waits once, for one byte."""
    rows = _shaped(array, name, dimension)
    kind = torch.promote_types(rows.dtype, torch.float32)
    far = torch.cat(
        [(torch.linalg.vector_norm(part, dim=1, dtype=kind) - 1).abs() for part in rows.split(ROWS_AT_ONCE)]
    )
    if not to_host((far <= UNIT).all(), f"whether all {name} are unit vectors"):  # NaN is not
        finite_rows(rows, name)
        odd = np.flatnonzero(to_host(far > UNIT, f"which {name} are not unit vectors"))
        length = float(np.linalg.norm(to_host(rows[odd[0]].double(), "the first that is none")))
        raise InputError(
            f"{name} holds {len(odd)} of {len(rows)} rows that are not unit vectors, the first is row {odd[0]} "
            f"of length {length:.3g}: divide each row by its norm"
        )
    return rows


def _shaped(array: Array, name: str, dimension: int | None) -> torch.Tensor:
    """Return float rows (n, d) where they lie."""
    rows = to_torch(array, name)
    if rows.ndim != 2:
        raise InputError(f"{name} has shape {tuple(rows.shape)}: pass one vector a row, (n, d)")
    if rows.shape[1] == 0:
        raise InputError(f"{name} has shape {tuple(rows.shape)}: the vectors have no dimensions")
    if dimension is not None and rows.shape[1] != dimension:
        raise InputError(
            f"{name} has {rows.shape[1]} columns, the index holds vectors of {dimension}: use the same embedding model"
        )
    return rows if rows.is_floating_point() else rows.float()


def check_vector(array: Array, name: str, dimension: int | None) -> NDArray[np.float64]:
    """Return one finite vector (d,) on the host; (1, d) is taken as well."""
    rows = check_rows(torch.atleast_2d(to_torch(array, name)), name, dimension)
    if len(rows) != 1:
        raise InputError(f"{name} has {len(rows)} rows: pass one vector, ({rows.shape[1]},)")
    vector: NDArray[np.float64] = to_host(rows[0].double(), f"the {name} of an index")
    return vector


def check_scale(array: Array, dimension: int | None) -> NDArray[np.float64]:
    """Return a whitening's deviations (d,), all of them above zero."""
    scale = check_vector(array, "scale", dimension)
    if (scale <= 0).any():
        index = int(np.flatnonzero(scale <= 0)[0])
        raise InputError(
            f"scale holds {scale[index]:g} at dimension {index}: pass the whitening's deviations, 1 where one is zero"
        )
    return scale


def check_k(k: int, held: int, gpu: bool = False) -> int:
    """Return k, a whole number from 1 to the vectors that are held; ``gpu`` if FAISS searches on one."""
    if not held:
        raise InputError("the index is empty: add embeddings before searching it")
    k = check_whole(k, "k", 1)
    if k > held:
        raise InputError(f"k is {k}, the index holds {held} vectors: ask for at most {held}")
    if gpu and k > MOST_ON_GPU:
        raise InputError(f"k is {k}, FAISS finds at most {MOST_ON_GPU} on a GPU: ask for fewer, or use backend='cpu'")
    return k


def check_names(names: object, what: str) -> Sequence[str]:
    """Return a sequence of strings; only a list or a tuple is gone through, a grammar is not."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        hint = "pass a list, a tuple or a grammar"
        raise InputError(f"{what} is {shown(names)}, a {type(names).__name__}: {hint}")
    if isinstance(names, list | tuple):
        odd = next((name for name in names if not isinstance(name, str)), None)
        if odd is not None:
            raise InputError(f"{what} holds {shown(odd)}, a {type(odd).__name__}: pass strings")
    return names


def moved(rows: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return rows where a store keeps its vectors: as they are, but for an index whose place the caller chose."""
    if device.type == "cpu" and rows.device.type != "cpu":
        return torch.from_numpy(to_host(rows, "rows for an index that was asked to be on the CPU"))
    return to_device(rows, device)


def batches(count: int, batch_size: int, shuffled: bool) -> Iterator[list[range]]:
    """Yield the ids of each batch as blocks of neighbours: in order, or the blocks shuffled, always in the same way.

    Inverted lists are learned from the first rows, and those of a grammar are all about its first words.
    """
    if not count:
        return
    block = min(BLOCK, batch_size) if shuffled else batch_size
    blocks = np.arange(0, count, block)
    if shuffled:
        np.random.default_rng(0).shuffle(blocks)
    for some in np.split(blocks, range(batch_size // block, len(blocks), batch_size // block)):
        yield [range(start, min(start + block, count)) for start in some.tolist()]


class RowIds:
    """From the position of a vector in a store to the id of its row.

    A store numbers vectors as they come; rows may come in blocks out of order, and some of them not at all.

    What is kept is one pair of numbers for each run of rows that followed each other: its first position and its first
    id. A million captions in shuffled blocks of 1024 take a thousand pairs, where a table of ids would take 8 MB.
    """

    def __init__(self, runs: list[list[int]] | None = None, count: int = 0) -> None:
        """Start from stored ``runs``, pairs of first position and first id, of ``count`` vectors in all."""
        self.runs: list[list[int]] = [] if runs is None else runs
        self._count = count

    def __len__(self) -> int:
        return self._count

    def append(self, first: int, kept: NDArray[np.bool_]) -> None:
        """Note that the next vectors are the rows ``first``, ``first + 1``, … that are ``kept`` (n,)."""
        ids = first + np.flatnonzero(kept)
        breaks = np.flatnonzero(np.diff(ids, prepend=ids[:1] - 2) != 1)  # every run of ids starts with a break
        for start in breaks.tolist():
            position, i = self._count + start, int(ids[start])
            if not self.runs or i - self.runs[-1][1] != position - self.runs[-1][0]:
                self.runs.append([position, i])
        self._count += len(ids)

    def ids(self, positions: torch.Tensor) -> torch.Tensor:
        """Return the ids of ``positions``, of any shape, where these are."""
        starts, firsts = to_device(np.array(self.runs, np.int64).reshape(-1, 2).T.copy(), positions.device)
        run = torch.searchsorted(starts, positions.contiguous(), right=True) - 1
        found: torch.Tensor = positions - starts[run] + firsts[run]
        return found


class Chain(Sequence[str]):
    """Names in several parts, such as a grammar and a list: a name is looked up in its part when it is asked for."""

    def __init__(self, parts: Sequence[Sequence[str]] = ()) -> None:
        self.parts: list[Sequence[str]] = []
        self._ends: list[int] = []
        for part in parts:
            self.append(part)

    def append(self, part: Sequence[str]) -> None:
        """Add a part at the end."""
        self._ends.append(len(self) + len(part))
        self.parts.append(part)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> CaptionView: ...
    def __getitem__(self, index: int | slice) -> str | CaptionView:
        found = range(len(self))[index]  # negative indices, and IndexError past the end
        if isinstance(found, range):
            return CaptionView(self, found)
        part = bisect_right(self._ends, found)
        return self.parts[part][found - (self._ends[part - 1] if part else 0)]

    def __iter__(self) -> Iterator[str]:
        for part in self.parts:
            yield from part

    def __repr__(self) -> str:
        return f"Chain({len(self)} names in {len(self.parts)} parts)"
