"""From the position of a vector in a FAISS index to the id of its row, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Places:
    """FAISS numbers vectors as they come; rows may come in blocks out of order, and some of them not at all.

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

    def ids(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of ``positions``, an array of any shape."""
        starts, firsts = np.array(self.runs, np.int64).reshape(-1, 2).T
        run = np.searchsorted(starts, positions, side="right") - 1
        found: NDArray[np.int64] = positions - starts[run] + firsts[run]
        return found
