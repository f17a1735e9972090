"""Attention over a tree: every node sees itself and the nodes above it.

Nodes stand parents first, and every subtree together. In a block of nodes that follow each other, what lies above any
of them but before the block lies above the first of them too: its subtree reaches from before the block to that node,
and so holds the first. A block therefore needs its own keys and those of one path, and nothing is laid out per node.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fdgpu.embedding.prefix_tree import PrefixTree

BLOCK = 32  # nodes; 8 to 64 are equally fast on a CPU, at 128 most of what is computed is masked


@dataclass(frozen=True)
class TreeBlocks:
    """A tree of n nodes cut into b blocks, the last filled up with nodes that see only themselves.

    Attributes:
        above: (b, a) the nodes above the first of each block; any node past their number.
        mask: (b, 1, BLOCK, a + BLOCK) added to the products of a block's queries with the keys of ``above`` and of
            the block: 0 where a node sees the other, −∞ where it does not.
    """

    above: Tensor
    mask: Tensor

    @classmethod
    def of(cls, tree: PrefixTree, device: torch.device, dtype: torch.dtype) -> TreeBlocks:
        """Cut a tree."""
        first = np.arange(0, len(tree), BLOCK)
        above = tree.above(first)
        nodes = first[:, None] + np.arange(BLOCK)
        below = np.arange(1, nodes.size + 1)
        below[: len(tree)] = tree.below
        below_above = np.where(np.arange(above.shape[1]) < tree.level[first][:, None], below[above], 0)
        key = _there(np.concatenate([above, nodes], axis=1), device)
        key_below = _there(np.concatenate([below_above, below[nodes]], axis=1), device)
        query = _there(nodes, device)[:, :, None]
        seen = (key[:, None] <= query) & (query < key_below[:, None])
        mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, -torch.inf)
        return cls(key[:, : above.shape[1]], mask[:, None])

    @property
    def nodes(self) -> int:
        """The nodes of all blocks, n rounded up."""
        return len(self.above) * BLOCK


def _there(array: NDArray[np.int64], device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device, non_blocking=True)


def attend(q: Tensor, kv: Tensor, blocks: TreeBlocks) -> Tensor:
    """Let each node attend to the nodes it sees.

    Args:
        q: (blocks.nodes, heads, d) queries.
        kv: (blocks.nodes, 2, heads, d) keys and values.
        blocks: the tree.

    Returns:
        (blocks.nodes, heads, d).
    """
    by_block = (len(blocks.above), BLOCK)
    k, v = torch.cat([kv[blocks.above], kv.unflatten(0, by_block)], dim=1).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = F.scaled_dot_product_attention(q.unflatten(0, by_block).transpose(1, 2), k, v, attn_mask=blocks.mask)
    return mixed.transpose(1, 2).flatten(0, 1)


def attend_plainly(q: Tensor, kv: Tensor, tree: PrefixTree) -> Tensor:
    """The plain twin of :func:`attend`: every node against every other, (n, heads, d) → (n, heads, d)."""
    mask = torch.full((len(tree), len(tree)), -torch.inf, dtype=q.dtype, device=q.device)
    for node, (path, level) in enumerate(zip(tree.path, tree.level, strict=True)):
        mask[node, tree.of_path[path, : level + 1]] = 0
    scores = torch.einsum("qhd,khd->hqk", q, kv[:, 0]) / q.shape[-1] ** 0.5 + mask
    return torch.einsum("hqk,khd->qhd", scores.softmax(dim=-1), kv[:, 1])
