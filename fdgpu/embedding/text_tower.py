"""open_clip's causal text tower, run over the tree of all captions' prefixes: each is computed once.

A position sees itself and the ones before it. So a node of the tree of tokens, in which every distinct prefix is one
node, depends only on the nodes above it. The whole tree goes through one layer after the other. A walk level by level
would need a matrix product for each level, and would hold the keys and values of all layers; here one product runs over
all nodes, and those of one layer are held.

Sorted rows are all that the tree needs. In lexicographic order a row shares its longest beginning with the row before
it. So each token past that shared beginning is a new node, and no other is.

In attention, a node sees itself and the nodes above it. Parents come before their children, and every subtree is a run
of consecutive nodes. Take a block of consecutive nodes, and a node above one of them that lies before the block: its
subtree reaches from before the block to that one, so it holds the first of the block too. A block therefore needs its
own keys and those of one path, and no keys are copied for each node.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.arrays import to_device, to_host

if TYPE_CHECKING:  # open_clip is slow to import
    from open_clip import CLIP, CoCa, CustomTextCLIP
    from open_clip.transformer import Attention, ResidualAttentionBlock, TextTransformer, Transformer

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


# --- the tower --------------------------------------------------------------------------------------------------------


class ClipModel(Protocol):
    """What every model of open_clip has."""

    def encode_image(self, image: Tensor) -> Tensor:
        """Embed the model's input (n, 3, h, w)."""
        ...

    def encode_text(self, text: Tensor) -> Tensor:
        """Embed token ids (n, L)."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Give the weights."""
        ...


class CausalTower:
    """The parts of a text tower in which a position sees itself and the ones before it.

    A caption's vector is the final state at one position, so nothing past that one need be computed.
    """

    def __init__(self, tower: TextTransformer, pool_type: str, eos_id: int | None) -> None:
        self.transformer = tower.transformer
        self.token_embedding = tower.token_embedding
        self.positional_embedding: Tensor = tower.positional_embedding
        self.attn_mask = tower.attn_mask
        self.ln_final = tower.ln_final
        self.text_projection = tower.text_projection
        self.pool_type, self.eos_id = pool_type, eos_id

    def lengths(self, tokens: Tokens) -> Ints:
        """Return (m,) how many leading tokens of (m, L) decide a caption's vector."""
        if self.pool_type == "first":
            return np.ones(len(tokens), np.int64)
        if self.pool_type == "last":
            return np.full(len(tokens), tokens.shape[1], np.int64)
        marked = tokens if self.pool_type == "argmax" else tokens == self.eos_id
        return np.asarray(marked.argmax(axis=1) + 1)

    def bytes_per_token(self) -> int:
        """Return what a layer holds at once of every token in its widest place, the activation of its MLP.

        That is the layer's input, the same after attention, their sum and the normalised sum; and of the hidden width
        what goes into the activation and comes out of it, with one more in between where that is not torch's own GELU.
        """
        width, mlp = self.positional_embedding.shape[-1], self.transformer.resblocks[0].mlp
        hidden = next(layer.out_features for layer in mlp if isinstance(layer, nn.Linear))
        copies = 2 if any(isinstance(layer, nn.GELU) for layer in mlp) else 3
        return int(self._itemsize() * (4 * width + copies * hidden))

    def bytes_per_node(self, above: int) -> int:
        """Return what a layer holds at once of every node of a tree whose blocks have ``above`` nodes above them.

        In attention that is the layer's input, its normalised self, queries, keys and values, 5 widths; then the keys
        and values of a block with those above it, the latter twice while they are joined, or with the result twice.
        """
        width, share = self.positional_embedding.shape[-1], above / BLOCK
        attention = (5 + max(4 * share + 2, 2 * share + 4)) * width
        mask = above + BLOCK
        return int(max(self.bytes_per_token(), self._itemsize() * attention) + self._itemsize() * mask)

    def _itemsize(self) -> int:
        dtype: torch.dtype = self.transformer.get_cast_dtype()
        return dtype.itemsize

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Return the first layer's input (…, d) of tokens at positions of their captions."""
        dtype = self.transformer.get_cast_dtype()
        states: Tensor = self.token_embedding(tokens).to(dtype) + self.positional_embedding[positions].to(dtype)
        return states

    def project(self, states: Tensor) -> Tensor:
        """Turn the last layer's states (m, d), one a caption, into CLIP's space."""
        states = self.ln_final(states)
        if self.text_projection is None:
            return states
        if isinstance(self.text_projection, nn.Linear):
            projected: Tensor = self.text_projection(states)
            return projected
        in_clip_space: Tensor = states @ self.text_projection
        return in_clip_space


def causal_tower(model: CLIP | CustomTextCLIP | CoCa) -> CausalTower | str:
    """Take an open_clip model's text tower apart, or say why that cannot be done."""
    import open_clip
    from open_clip.transformer import TextTransformer

    if type(model) is open_clip.CLIP:
        return _if_causal(CausalTower(model, model.text_pool_type, getattr(model, "text_eos_id", None)))
    text: TextTransformer = getattr(model, "text", None)
    if type(model) not in (open_clip.CustomTextCLIP, open_clip.CoCa) or type(text) is not TextTransformer:
        return f"the text tower, {type(text or model).__name__}, is not open_clip's own"
    if text.cls_emb is not None or getattr(text, "use_pad_mask", False):
        return "the text tower appends a token to the caption, or masks its padding"
    return _if_causal(CausalTower(text, text.pool_type, getattr(text, "eos_id", None)))


def _if_causal(tower: CausalTower) -> CausalTower | str:
    mask = tower.attn_mask
    if mask is None:
        return "the text tower is not causal: every token sees the whole caption and its padding"
    host = to_host(mask, "the text tower's attention mask")
    if not np.array_equal(host, np.triu(np.full(host.shape, -np.inf), 1)):
        return "the text tower's attention mask is not the causal one"
    if tower.pool_type == "none":
        return "the text tower does not choose one position of a caption"
    return tower


def unknown_block(transformer: Transformer) -> str | None:
    """Say why the blocks of a transformer cannot be run over a tree; None if they can."""
    from open_clip import transformer as theirs

    if type(transformer) is not theirs.Transformer:
        return f"its transformer is a {type(transformer).__name__}, not open_clip's own"
    for block in transformer.resblocks:
        if type(block) is theirs.ResidualAttentionBlock:
            known = type(block.attn) is nn.MultiheadAttention and _is_plain(block.attn)
        else:
            known = type(block) is theirs.CustomResidualAttentionBlock and type(block.attn) is theirs.Attention
            known = known and block.attn.logit_scale is None
        if not known:
            return f"it has a {type(block).__name__} whose attention is not the usual one"
    return None


def _is_plain(attention: nn.MultiheadAttention) -> bool:
    return attention.in_proj_weight is not None and attention.bias_k is None and not attention.add_zero_attn


@torch.inference_mode()
def encode_paths(tower: CausalTower, paths: TokenPaths) -> Tensor:
    """Encode captions through a tower whose blocks are known, each shared prefix once.

    Its plain twin is ``encode_text``.

    Args:
        tower: one for which :func:`unknown_block` finds nothing.
        paths: u captions.

    Returns:
        (u, d), one row a path.
    """
    device = tower.positional_embedding.device
    tree = PrefixTree.of(paths)
    attend = TreeAttention(tree, device, tower.transformer.get_cast_dtype())
    filling = (0, attend.nodes - len(tree))

    def padded(array: Tokens | Ints) -> Tensor:
        return to_device(np.pad(array, filling), device)

    states = tower.embed(padded(tree.token), padded(tree.level))  # (attend.nodes, d)
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        states = _through(block, states, attend)
    return tower.project(_through(last, states, attend, kept=to_device(tree.last, device)))


def _through(
    block: ResidualAttentionBlock, states: Tensor, attend: TreeAttention, kept: Tensor | None = None
) -> Tensor:
    """Run one block over all nodes; all of it but the attention treats each node alone, and is called as it is.

    Args:
        block: one of open_clip's.
        states: (n, d).
        attend: the tree.
        kept: (u,) the nodes whose states are wanted, all by default. After the last block only the paths' last are.
    """
    attended = _attention(block.attn, block.ln_1(states), attend)
    if kept is not None:
        attended, states = attended[kept], states[kept]
    attended = block.attn.out_proj(attended)
    states = states + block.ls_1(block.ln_attn(attended) if hasattr(block, "ln_attn") else attended)
    through: Tensor = states + block.ls_2(block.mlp(block.ln_2(states)))
    return through


def _attention(attention: Attention, states: Tensor, attend: TreeAttention) -> Tensor:
    """Compute all of an attention, open_clip's own or torch's, but its last matrix: (n, d) → (n, d)."""
    qkv = F.linear(states, attention.in_proj_weight, attention.in_proj_bias)  # (n, 3 d)
    qkv = qkv.unflatten(1, (3, attention.num_heads, -1))  # (n, 3, heads, d / heads)
    q, kv = qkv[:, 0], qkv[:, 1:]
    is_custom = not isinstance(attention, nn.MultiheadAttention)
    if is_custom:
        q, kv = attention.ln_q(q), torch.stack([attention.ln_k(kv[:, 0]), kv[:, 1]], dim=1)
    mixed = attend(q, kv)
    if is_custom and attention.head_scale is not None:
        mixed = mixed * attention.head_scale[:, 0]
    mixed = mixed.flatten(1)
    return attention.ln_inner(mixed) if is_custom else mixed
