"""Captions as a tree of tokens, every distinct prefix one node, and attention over that tree.

Sorted rows are all that the tree needs. In lexicographic order a row shares its longest beginning with the row before
it. So each token past that shared beginning is a new node, and no other is.

In attention, a node sees itself and the nodes above it. Parents come before their children, and every subtree is a run
of consecutive nodes. Take a block of consecutive nodes, and a node above one of them that lies before the block: its
subtree reaches from before the block to that one, so it holds the first of the block too. A block therefore needs its
own keys and those of one path, and no keys are copied for each node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import to_device

Tokens = NDArray[np.int32]
Ints = NDArray[np.int64]
BLOCK = 32  # nodes; 8 to 64 are equally fast on a CPU, at 128 most of what is computed is masked


@dataclass(frozen=True)
class TokenPaths:
    """Distinct rows of tokens in lexicographic order.

    Attributes:
        tokens: (u, width) int32; past a row's length it holds the padding that came in.
        lengths: (u,) how many leading tokens of a row count.
        shared: (u,) how many of them a row has in common with the one before it; 0 for the first.
    """

    tokens: Tokens
    lengths: Ints
    shared: Ints

    @classmethod
    def of(cls, tokens: Tokens, lengths: Ints) -> tuple[TokenPaths, Ints]:
        """Sort rows and drop repeated ones.

        Args:
            tokens: (m, L).
            lengths: (m,) in 1 … L.

        Returns:
            the paths, and (m,) the path of each row.
        """
        width = int(lengths.max(initial=0))
        # (m, width); −1 past a row's length, so that what does not count is equal and sorts first
        counted = np.where(np.arange(width) < lengths[:, None], tokens[:, :width], -1)
        order = np.lexsort(counted.T[::-1]) if width else np.arange(len(tokens))
        # (m − 1, width): a row and the one before it share the tokens up to the first that differs
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
    """The tree of some paths: n nodes, parents first, every subtree a run of consecutive nodes.

    Attributes:
        token: (n,) the token of each node.
        level: (n,) its position in the caption.
        path: (n,) the first path that runs through it.
        below: (n,) one past the last node of its subtree.
        of_path: (u, width) the nodes along each path; past its length, nodes that mean nothing.
        last: (u,) the last node of each path.
    """

    token: Tokens
    level: Ints
    path: Ints
    below: Ints
    of_path: Ints
    last: Ints

    @classmethod
    def of(cls, paths: TokenPaths) -> PrefixTree:
        """Number the nodes in the order of the paths that bring them."""
        levels = np.arange(paths.width)
        new = (levels >= paths.shared[:, None]) & (levels < paths.lengths[:, None])
        path, level = np.nonzero(new)
        number = np.cumsum(new).reshape(new.shape) - 1  # (u, width), of the node where it is new
        first = np.concatenate([[0], np.cumsum(paths.lengths - paths.shared)])  # (u + 1,) of the nodes a path brings
        # A subtree goes on until a path leaves its root. ``leaves`` (u, width) holds the first node that a path brings
        # where it has left the node that the path before it has on this level, else n. Later paths bring larger
        # nodes, so the smallest of those that follow is the next to leave.
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
            last=first[1:] - 1,
        )

    def __len__(self) -> int:
        return len(self.token)

    def above(self, nodes: Ints) -> Ints:
        """Return (b, a) the nodes above each of b nodes, from the root down.

        A node of level l has l nodes above it; past these a row holds nodes that mean nothing.
        """
        return self.of_path[self.path[nodes], : self.level[nodes].max(initial=0)]


class TreeAttention:
    """Lets each of a tree's n nodes attend to itself and the nodes above it.

    The tree is cut into b blocks of consecutive nodes. The last is filled up with nodes that see only themselves.

    Attributes:
        above: (b, a) the nodes above the first of each block; past their number, nodes that ``mask`` hides.
        mask: (b, 1, BLOCK, a + BLOCK) added to the products of a block's queries with the keys of ``above`` and of
            the block: 0 where a node sees the other, −∞ where it does not.
    """

    def __init__(self, tree: PrefixTree, device: torch.device, dtype: torch.dtype) -> None:
        first = np.arange(0, len(tree), BLOCK)  # (b,)
        above = tree.above(first)  # (b, a)
        nodes = first[:, None] + np.arange(BLOCK)  # (b, BLOCK)
        below = np.arange(1, nodes.size + 1)  # (b · BLOCK,), as if each were a leaf; true of those that fill up
        below[: len(tree)] = tree.below
        below_above = np.where(np.arange(above.shape[1]) < tree.level[first][:, None], below[above], 0)
        # A node sees those whose subtree it lies in: key ≤ query < one past the last node of the key's subtree.
        key = to_device(np.concatenate([above, nodes], axis=1), device)[:, None]  # (b, 1, a + BLOCK)
        key_below = to_device(np.concatenate([below_above, below[nodes]], axis=1), device)[:, None]
        query = to_device(nodes, device)[:, :, None]  # (b, BLOCK, 1)
        seen = (key <= query) & (query < key_below)
        self.above = key[:, 0, : above.shape[1]]
        self.mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, -torch.inf)[:, None]

    @property
    def nodes(self) -> int:
        """The nodes of all blocks, n rounded up."""
        return len(self.above) * BLOCK

    def __call__(self, q: Tensor, kv: Tensor) -> Tensor:
        """Attend.

        Args:
            q: (nodes, heads, d) queries.
            kv: (nodes, 2, heads, d) keys and values.

        Returns:
            (nodes, heads, d).
        """
        by_block = (len(self.above), BLOCK)
        own = kv.unflatten(0, by_block)  # (b, BLOCK, 2, heads, d)
        k, v = torch.cat([kv[self.above], own], dim=1).permute(2, 0, 3, 1, 4).unbind(0)  # (b, heads, a + BLOCK, d)
        queries = q.unflatten(0, by_block).transpose(1, 2)  # (b, heads, BLOCK, d)
        mixed = F.scaled_dot_product_attention(queries, k, v, attn_mask=self.mask)
        return mixed.transpose(1, 2).flatten(0, 1)


def attend_plainly(q: Tensor, kv: Tensor, tree: PrefixTree) -> Tensor:
    """The plain twin of :class:`TreeAttention`: every node against every other, (n, heads, d) → (n, heads, d)."""
    mask = torch.full((len(tree), len(tree)), -torch.inf, dtype=q.dtype, device=q.device)
    for node, (path, level) in enumerate(zip(tree.path, tree.level, strict=True)):
        mask[node, tree.of_path[path, : level + 1]] = 0
    scores = torch.einsum("qhd,khd->hqk", q, kv[:, 0]) / q.shape[-1] ** 0.5 + mask
    return torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), kv[:, 1])
