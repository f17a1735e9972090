"""open_clip's causal text tower, taken apart so that some of its positions can be computed alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class CausalTower:
    """The parts of a text tower in which a position sees itself and what stands before it, and nothing else.

    A caption's vector is the final state at one position, so nothing past that one need be computed.
    """

    transformer: Any
    token_embedding: Any
    positional_embedding: Tensor
    attn_mask: Tensor
    ln_final: Any
    text_projection: Any
    pool_type: str
    eos_id: int | None

    def lengths(self, tokens: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return (m,) how many leading tokens of (m, L) decide a caption's vector."""
        if self.pool_type == "first":
            return np.ones(len(tokens), np.int64)
        if self.pool_type == "last":
            return np.full(len(tokens), tokens.shape[1], np.int64)
        marked = tokens if self.pool_type == "argmax" else tokens == self.eos_id
        return np.asarray(marked.argmax(axis=1) + 1)

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
        if isinstance(self.text_projection, torch.nn.Linear):
            projected: Tensor = self.text_projection(states)
            return projected
        in_clip_space: Tensor = states @ self.text_projection
        return in_clip_space


def causal_tower(model: Any) -> CausalTower | str:
    """Take an open_clip model's text tower apart, or say why that cannot be done."""
    import open_clip
    from open_clip.transformer import TextTransformer

    if type(model) is open_clip.CLIP:
        return _if_causal(_parts(model, model.text_pool_type, getattr(model, "text_eos_id", None)))
    text: Any = getattr(model, "text", None)
    if type(model) not in (open_clip.CustomTextCLIP, open_clip.CoCa) or type(text) is not TextTransformer:
        return f"the text tower, {type(text or model).__name__}, is not open_clip's own"
    if text.cls_emb is not None or getattr(text, "use_pad_mask", False):
        return "the text tower appends a token to the caption, or masks its padding"
    return _if_causal(_parts(text, text.pool_type, getattr(text, "eos_id", None)))


def _parts(tower: Any, pool_type: str, eos_id: int | None) -> CausalTower:
    return CausalTower(
        tower.transformer,
        tower.token_embedding,
        tower.positional_embedding,
        tower.attn_mask,
        tower.ln_final,
        tower.text_projection,
        pool_type,
        eos_id,
    )


def _if_causal(tower: CausalTower) -> CausalTower | str:
    mask = tower.attn_mask
    if mask is None:
        return "the text tower is not causal: every token sees the whole caption and its padding"
    hidden = torch.ones_like(mask, dtype=torch.bool).triu(1)
    if not torch.equal(mask.float(), torch.zeros_like(mask, dtype=torch.float32).masked_fill(hidden, -torch.inf)):
        return "the text tower's attention mask is not the causal one"
    if tower.pool_type == "none":
        return "the text tower does not choose one position of a caption"
    return tower
