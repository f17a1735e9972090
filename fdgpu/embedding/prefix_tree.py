"""Captions as a tree of tokens: every distinct prefix is one node.

Sorted rows are all it takes. Where rows stand in lexicographic order, a row shares with the one before it more of
its beginning than with any earlier one, so that the nodes of a tree are the places past the shared beginnings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TokenPaths:
    """Distinct rows of tokens in lexicographic order.

    Attributes:
        tokens: (u, width) int32; what stands past a row's length is the padding that came in.
        lengths: (u,) how many leading tokens of a row count.
        shared: (u,) how many of them a row has in common with the one before it; 0 for the first.
    """

    tokens: NDArray[np.int32]
    lengths: Ints
    shared: Ints

    @classmethod
    def of(cls, tokens: NDArray[np.int32], lengths: Ints) -> tuple[TokenPaths, Ints]:
        """Sort rows and drop repeated ones.

        Args:
            tokens: (m, L).
            lengths: (m,) in 1 … L.

        Returns:
            the paths, and (m,) the path of each row.
        """
        width = int(lengths.max(initial=0))
        counted = np.where(np.arange(width) < lengths[:, None], tokens[:, :width], -1)
        order = np.lexsort(counted.T[::-1]) if width else np.arange(len(tokens))
        same = counted[order[1:]] == counted[order[:-1]]
        shared = np.concatenate([np.zeros(min(1, len(order)), np.int64), np.cumprod(same, axis=1).sum(axis=1)])
        fresh = shared < width
        path = np.empty(len(order), np.int64)
        path[order] = np.cumsum(fresh) - 1
        kept = order[fresh]
        return cls(tokens[kept, :width], lengths[kept], shared[fresh]), path

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def width(self) -> int:
        """Length of the longest path."""
        return int(self.tokens.shape[1])

    @property
    def nodes(self) -> int:
        """How many nodes their tree has."""
        return int((self.lengths - self.shared).sum())

    def part(self, start: int, stop: int) -> TokenPaths:
        """Return some of the paths, as paths of their own, no wider than the longest."""
        lengths, shared = self.lengths[start:stop], self.shared[start:stop].copy()
        shared[:1] = 0
        return TokenPaths(self.tokens[start:stop, : lengths.max(initial=0)], lengths, shared)


@dataclass(frozen=True)
class PrefixTree:
    """The tree of some paths. Its n nodes stand parents first, and every subtree together.

    Attributes:
        token: (n,) the token of each node.
        level: (n,) its position in the caption.
        path: (n,) the first path that runs through it.
        below: (n,) one past the last node of its subtree.
        of_path: (u, width) the nodes along each path; any node past its length.
        end: (u,) the last node of each path.
    """

    token: NDArray[np.int32]
    level: Ints
    path: Ints
    below: Ints
    of_path: Ints
    end: Ints

    @classmethod
    def of(cls, paths: TokenPaths) -> PrefixTree:
        """Number the nodes in the order of the paths that bring them."""
        levels = np.arange(paths.width)
        new = (levels >= paths.shared[:, None]) & (levels < paths.lengths[:, None])
        path, level = np.nonzero(new)
        number = np.cumsum(new).reshape(new.shape) - 1
        first = np.concatenate([[0], np.cumsum(paths.lengths - paths.shared)])  # of the nodes that a path brings
        # A subtree goes on until a path leaves its root; later paths have larger nodes, so the next is the smallest.
        leaves = np.where(paths.shared[:, None] <= levels, first[:-1, None], len(path))
        next_to_leave = np.minimum.accumulate(leaves[::-1], axis=0)[::-1]
        below = np.concatenate([next_to_leave[1:], np.full_like(next_to_leave[:1], len(path))])
        return cls(
            token=paths.tokens[new],
            level=level,
            path=path,
            below=below[new],
            # A path runs through the newest node of each level, which by the same order is the largest.
            of_path=np.maximum.accumulate(np.where(new, number, 0), axis=0),
            end=first[1:] - 1,
        )

    def __len__(self) -> int:
        return len(self.token)

    def above(self, nodes: Ints) -> Ints:
        """Return (b, most) the nodes above each of some, from the root down; any node past their number, the level."""
        return self.of_path[self.path[nodes], : self.level[nodes].max(initial=0)]
