"""The ways to encode captions, from the fastest to the one that always holds.

Each is given distinct paths (see :class:`~fdgpu.embedding.prefix_tree.TokenPaths`) and returns their vectors, as the
model gives them; they differ in how many leading tokens make up a path, and in how many of these they compute.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.device import Choice
from fdgpu.embedding.prefix_encoder import PrefixEncoder, unknown_block
from fdgpu.embedding.prefix_tree import TokenPaths
from fdgpu.embedding.text_tower import CausalTower, causal_tower


class TextMethod(Protocol):
    """One way."""

    choice: Choice

    def lengths(self, tokens: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return (m,) how many leading tokens of (m, L) a caption's vector depends on."""
        ...

    def computed(self, paths: TokenPaths) -> NDArray[np.int64]:
        """Return (u,) how many tokens each path adds to those that are computed."""
        ...

    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d), one row a path."""
        ...


class SharedPrefixes:
    """A prefix that captions share is computed once; for causal towers of open_clip's own blocks."""

    def __init__(self, tower: CausalTower) -> None:
        self.choice = Choice("prefix_tree", "the text tower is causal, so captions share their beginnings")
        self.lengths = tower.lengths
        self._encode = PrefixEncoder(tower)

    def computed(self, paths: TokenPaths) -> NDArray[np.int64]:
        """Return (u,) the nodes that each path brings."""
        return paths.lengths - paths.shared

    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d)."""
        return self._encode(paths)


class CutContext:
    """The context is cut to the longest caption of a batch; for any causal tower."""

    def __init__(self, tower: CausalTower, reason: str) -> None:
        self.choice = Choice("cut_context", reason)
        self.lengths = tower.lengths
        self._tower = tower

    def computed(self, paths: TokenPaths) -> NDArray[np.int64]:
        """Return (u,) the longest path's length for each: shorter ones are filled up."""
        return np.full(len(paths), paths.width)

    @torch.inference_mode()
    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d)."""
        tower = self._tower
        device = tower.positional_embedding.device
        tokens = torch.from_numpy(paths.tokens).to(device)
        states = tower.embed(tokens, torch.arange(paths.width, device=device))
        states = tower.transformer(states, attn_mask=tower.attn_mask[: paths.width, : paths.width])
        ends = torch.from_numpy(paths.lengths - 1).to(device)
        return tower.project(states[torch.arange(len(paths), device=device), ends])


class CutPadding:
    """The padding that all captions of a batch have is cut off; for towers that hide it from every token."""

    def __init__(self, model: Any, pad_id: int, reason: str) -> None:
        self.choice = Choice("cut_context", reason)
        self._model, self._pad_id = model, pad_id

    def lengths(self, tokens: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return (m,) the tokens up to the last that is not padding."""
        return np.asarray(tokens.shape[1] - (tokens != self._pad_id)[:, ::-1].argmax(axis=1))

    def computed(self, paths: TokenPaths) -> NDArray[np.int64]:
        """Return (u,) the longest path's length for each: shorter ones are filled up."""
        return np.full(len(paths), paths.width)

    @torch.inference_mode()
    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d)."""
        return _encode_text(self._model, paths)


class WholeContext:
    """``encode_text`` itself: the plain twin of all others."""

    def __init__(self, model: Any, reason: str) -> None:
        self.choice = Choice("encode_text", reason)
        self._model = model

    def lengths(self, tokens: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the context for each of (m, L)."""
        return np.full(len(tokens), tokens.shape[1], np.int64)

    def computed(self, paths: TokenPaths) -> NDArray[np.int64]:
        """Return (u,) the longest path's length for each: shorter ones are filled up."""
        return np.full(len(paths), paths.width)

    @torch.inference_mode()
    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d)."""
        return _encode_text(self._model, paths)


def text_methods(model: Any) -> list[TextMethod]:
    """Return the ways that a model's text tower allows by its structure, the fastest first."""
    tower = causal_tower(model)
    if isinstance(tower, str):
        pad_id = _hidden_padding(model)
        if pad_id is None:
            return [WholeContext(model, tower)]
        return [CutPadding(model, pad_id, f"{tower}, but it hides its padding"), WholeContext(model, tower)]
    whole = WholeContext(model, "it holds for every model")
    unknown = unknown_block(tower.transformer)
    if tower.pool_type == "last":  # the whole context counts, whatever it holds
        return [WholeContext(model, unknown)] if unknown else [SharedPrefixes(tower), whole]
    if unknown:
        return [CutContext(tower, f"the text tower is causal, but {unknown}"), whole]
    return [SharedPrefixes(tower), CutContext(tower, "the text tower is causal"), whole]


def _hidden_padding(model: Any) -> int | None:
    """Return the padding's id where the tower is a Hugging Face model, which no token sees; else None."""
    from open_clip.hf_model import HFTextEncoder

    text: Any = getattr(model, "text", None)
    return int(text.config.pad_token_id) if type(text) is HFTextEncoder else None


def _encode_text(model: Any, paths: TokenPaths) -> Tensor:
    device = next(model.parameters()).device
    vectors: Tensor = model.encode_text(torch.from_numpy(paths.tokens).to(device, torch.long))
    return vectors
