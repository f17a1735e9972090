"""A causal text transformer over a tree of tokens, each node computed once.

A node's state depends only on the nodes above it, and within a layer only on their keys and values in that layer. So
the whole tree goes through one layer after the other: one matrix product over all nodes where a level-by-level walk
would need one for each level, and the keys and values of one layer held where it would hold those of all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fdgpu.embedding.prefix_tree import PrefixTree, TokenPaths
from fdgpu.embedding.text_tower import CausalTower
from fdgpu.embedding.tree_attention import TreeBlocks, attend


class PrefixEncoder:
    """Runs a tower's blocks over the nodes of a tree.

    Equal to ``encode_text`` on every caption: :class:`fdgpu.embedding.text_methods.WholeContext` is the plain twin.
    """

    def __init__(self, tower: CausalTower) -> None:
        self.tower = tower
        self.device = tower.positional_embedding.device

    @torch.inference_mode()
    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d), one row a path."""
        tree = PrefixTree.of(paths)
        tree_blocks = TreeBlocks.of(tree, self.device, self.tower.transformer.get_cast_dtype())
        filling = (0, tree_blocks.nodes - len(tree))
        states = self.tower.embed(self._there(np.pad(tree.token, filling)), self._there(np.pad(tree.level, filling)))
        *blocks, last = self.tower.transformer.resblocks
        for block in blocks:
            states = _through(block, states, tree_blocks)
        return self.tower.project(_through(last, states, tree_blocks, kept=self._there(tree.end)))

    def _there(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.device, non_blocking=True)


def unknown_block(transformer: Any) -> str | None:
    """Say why the blocks of a transformer cannot be run over a tree; None if they can."""
    from open_clip import transformer as theirs

    if type(transformer) is not theirs.Transformer:
        return f"its transformer is a {type(transformer).__name__}, not open_clip's own"
    for block in transformer.resblocks:
        if type(block) is theirs.ResidualAttentionBlock:
            known = type(block.attn) is torch.nn.MultiheadAttention and _is_plain(block.attn)
        else:
            known = type(block) is theirs.CustomResidualAttentionBlock and type(block.attn) is theirs.Attention
            known = known and block.attn.logit_scale is None
        if not known:
            return f"it has a {type(block).__name__} whose attention is not the usual one"
    return None


def _is_plain(attention: torch.nn.MultiheadAttention) -> bool:
    return attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn


def _through(block: Any, states: Tensor, tree_blocks: TreeBlocks, kept: Tensor | None = None) -> Tensor:
    """One block: everything in it but the attention treats each node alone, and is called as it is.

    Args:
        block: open_clip's.
        states: (n, d).
        tree_blocks: which nodes see which.
        kept: (u,) the nodes whose states are wanted; all by default. After the last block most are not.
    """
    attended = _attention(block.attn, block.ln_1(states), tree_blocks)
    if kept is not None:
        attended, states = attended[kept], states[kept]
    attended = block.attn.out_proj(attended)
    states = states + block.ls_1(block.ln_attn(attended) if hasattr(block, "ln_attn") else attended)
    through: Tensor = states + block.ls_2(block.mlp(block.ln_2(states)))
    return through


def _attention(attention: Any, states: Tensor, tree_blocks: TreeBlocks) -> Tensor:
    """Everything in an attention but its last matrix, (n, d) → (n, d)."""
    qkv = F.linear(states, attention.in_proj_weight, attention.in_proj_bias)
    qkv = qkv.unflatten(1, (3, attention.num_heads, -1))
    q, kv = qkv[:, 0], qkv[:, 1:]
    is_custom = not isinstance(attention, torch.nn.MultiheadAttention)
    if is_custom:
        q, kv = attention.ln_q(q), torch.stack([attention.ln_k(kv[:, 0]), kv[:, 1]], dim=1)
    mixed = attend(q, kv, tree_blocks)
    if is_custom and attention.head_scale is not None:
        mixed = mixed * attention.head_scale[:, 0]
    mixed = mixed.flatten(1)
    return attention.ln_inner(mixed) if is_custom else mixed
