"""Token matrices to unit vectors, by the fastest method that agrees with the model's ``encode_text``.

The methods are classes below, from the plain one to the fastest. Each is given distinct paths of tokens and returns
their vectors as the model gives them. They differ in how many leading tokens make up a path, and in how many of these
they compute.
"""

from __future__ import annotations

import warnings
from enum import StrEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import to_device, to_host
from fdgpu.device import BatchSize, Choice, Placement, free_bytes, halving_batches
from fdgpu.embedding.text_tower import (
    CausalTower,
    ClipModel,
    Ints,
    TokenPaths,
    Tokens,
    causal_tower,
    encode_paths,
    unknown_block,
)
from fdgpu.errors import BackendError, FdgpuWarning
from fdgpu.progress import Reporter, silent

TRIED = 4  # captions that are encoded both ways before a method is trusted

# How far a unit vector may lie from that of encode_text. Through ViT-B/32, rounding makes 6e-7 in float32, 2e-3 in
# float16 and 1e-2 in bfloat16; a mask or a position that is not the model's makes 0.4 and more.
LARGEST_DISTANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

# On a CPU more tokens at once gain nothing. A layer's output beyond 32 MiB is memory that the C library maps anew each
# time, since it keeps no freed block of that size: at 256 captions that costs encode_text a quarter of its time.
CPU_TOKENS = 2048

SHARE_OF_MEMORY = 0.5  # of what is free on a device; matrix products take their own, and vectors are kept


class TextMethod(StrEnum):
    """How captions are encoded."""

    AUTO = "auto"
    PREFIX_TREE = "prefix_tree"
    CUT_CONTEXT = "cut_context"
    ENCODE_TEXT = "encode_text"


class TextEncoder:
    """Encodes captions through a model's text tower.

    Args:
        model: an open_clip model, on its device and in evaluation mode.
        placement: that device, and the precision.
        batch: captions of full length whose activations fit at once. Where less of a caption is computed, more go at
            a time, so that a batch has as many tokens; lowered in place where memory runs out.
        method: ``"auto"``, or one of ``"prefix_tree"``, ``"cut_context"`` and ``"encode_text"``.

    Attributes:
        choice: the method, and why.

    Raises:
        BackendError: if the model's text tower does not allow the method asked for by name.
    """

    def __init__(self, model: ClipModel, placement: Placement, batch: BatchSize, method: str = "auto") -> None:
        self.placement, self.batch = placement, batch
        self._methods = text_methods(model)
        self._plain = self._methods[-1]
        self._tried = method != TextMethod.AUTO
        if self._tried:
            self._methods = _named(self._methods, method)

    @property
    def choice(self) -> Choice:
        """The method that runs; the first call may find that it disagrees with ``encode_text``, and take another."""
        return self._methods[0].choice

    def __call__(self, tokens: Tokens, report: Reporter = silent) -> Tensor:
        """Encode (m, L) tokens to (m, d) float32 unit vectors on the model's device; equal rows are encoded once."""
        if not self._tried:
            self._try(tokens)
        return self._encode(self._methods[0], tokens, report)

    def _try(self, tokens: Tokens) -> None:
        """Drop every method that does not give what ``encode_text`` gives, for a few of the captions."""
        by_length = np.argsort(self._methods[0].lengths(tokens), kind="stable")
        few = tokens[by_length[np.linspace(0, len(tokens) - 1, min(TRIED, len(tokens))).astype(int)]]
        expected = self._encode(self._plain, few, silent)
        while self.choice.name != TextMethod.ENCODE_TEXT:
            found = self._encode(self._methods[0], few, silent)
            distance = float(to_host(_distance(found, expected), "how far captions lie from encode_text's"))
            if distance <= LARGEST_DISTANCE[self.placement.dtype]:
                break
            self._drop_first(distance)
        self._tried = True

    def _drop_first(self, distance: float) -> None:
        lost, following = self.choice, self._methods[1]
        reason = f"{lost.name} differs from encode_text by {distance:.1e}"
        following.choice = Choice(following.choice.name, f"{reason}; {following.choice.reason}")
        warnings.warn(f"{reason}: captions are encoded by {following.choice.name}", FdgpuWarning, stacklevel=5)
        self._methods = self._methods[1:]

    def _encode(self, method: WholeContext, tokens: Tokens, report: Reporter) -> Tensor:
        paths, path_of_row = TokenPaths.of(tokens, method.lengths(tokens))
        computed = np.cumsum(method.computed(paths))  # (u,) tokens up to and with each path: what batches count
        batch = BatchSize(self._tokens_at_once(method, tokens.shape[1], paths.width))
        at_first = batch.rows
        rows = []

        @torch.inference_mode()
        def encode(start: int, stop: int) -> Tensor | None:
            """Encode the paths whose last token is one of these; after a halving there may be none."""
            first, last = np.searchsorted(computed, [start, stop], side="right")
            return F.normalize(method(paths.part(first, last)).float(), dim=-1) if first < last else None

        for done, vectors in halving_batches(encode, int(computed[-1]), batch):
            if vectors is not None:
                rows.append(vectors)
            report("embed captions", int(np.searchsorted(computed, done, side="right")), len(paths))
        if batch.rows < at_first:
            self.batch.rows = max(1, batch.rows // tokens.shape[1])
        return torch.cat(rows)[to_device(path_of_row, self.placement.device)]

    def _tokens_at_once(self, method: WholeContext, context: int, width: int) -> int:
        """Return how many tokens to compute at once: as many as the batch's captions have, and as memory holds."""
        most, device = self.batch.rows * context, self.placement.device
        if device.type == "cpu":
            return min(most, max(CPU_TOKENS, context))
        per_token = method.bytes_per_token(width)
        if device.type == "cuda" and per_token:
            most = min(most, int(SHARE_OF_MEMORY * free_bytes(device)) // per_token)
        return max(most, width)


def _named(methods: list[WholeContext], name: str) -> list[WholeContext]:
    for method in methods:
        if method.choice.name == name:
            method.choice = Choice(name, "asked for by name")
            return [method]
    allowed = ", ".join(f"'{method.choice.name}'" for method in methods)
    raise BackendError(f"text method '{name}' was asked for, but this model's text tower allows only {allowed}")


def _distance(vectors: Tensor, expected: Tensor) -> Tensor:
    """Return (), the largest distance between two rows, where they lie; NaN equals NaN only."""
    differs = (vectors.isnan() != expected.isnan()).any()
    return torch.where(differs, torch.inf, (vectors - expected).nan_to_num(0).norm(dim=1).amax())


class WholeContext:
    """``encode_text`` itself, which holds for every model: the plain twin of all others."""

    name = TextMethod.ENCODE_TEXT

    def __init__(self, model: ClipModel, reason: str) -> None:
        self.choice = Choice(self.name, reason)
        self._model = model

    def lengths(self, tokens: Tokens) -> Ints:
        """Return (m,) how many leading tokens of (m, L) a caption's vector depends on: here the whole context."""
        return np.full(len(tokens), tokens.shape[1], np.int64)

    def computed(self, paths: TokenPaths) -> Ints:
        """Return (u,) how many tokens each path adds to what is computed: the longest's, as shorter ones are padded."""
        return np.full(len(paths), paths.width)

    def bytes_per_token(self, width: int) -> int:  # noqa: ARG002 - of the tree's
        """Return what is allocated at once for every token computed, of paths up to ``width``; 0 if it is unknown."""
        return 0

    @torch.inference_mode()
    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d), one row a path."""
        device = next(self._model.parameters()).device
        return self._model.encode_text(to_device(paths.tokens, device).long())


class CutPadding(WholeContext):
    """The padding that all captions of a batch have is cut off; for towers that hide it from every token."""

    name = TextMethod.CUT_CONTEXT

    def __init__(self, model: ClipModel, pad_id: int, reason: str) -> None:
        super().__init__(model, reason)
        self._pad_id = pad_id

    def lengths(self, tokens: Tokens) -> Ints:
        """Return (m,) the tokens up to the last that is not padding."""
        return np.asarray(tokens.shape[1] - (tokens != self._pad_id)[:, ::-1].argmax(axis=1))


class CutContext(WholeContext):
    """The context is cut to the longest caption of a batch; for any causal tower."""

    name = TextMethod.CUT_CONTEXT

    def __init__(self, model: ClipModel, tower: CausalTower, reason: str) -> None:
        super().__init__(model, reason)
        self._tower = tower

    def lengths(self, tokens: Tokens) -> Ints:
        """Return (m,) the tokens up to the one whose state is the caption's."""
        return self._tower.lengths(tokens)

    def bytes_per_token(self, width: int) -> int:  # noqa: ARG002 - of the tree's
        """Return what is allocated at once for every token; 0 for blocks that are not known."""
        return 0 if unknown_block(self._tower.transformer) else self._tower.bytes_per_token()

    @torch.inference_mode()
    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d), one row a path."""
        tower = self._tower
        device = tower.positional_embedding.device
        tokens = to_device(paths.tokens, device)
        states = tower.embed(tokens, torch.arange(paths.width, device=device))  # (u, width, d)
        states = tower.transformer(states, attn_mask=tower.attn_mask[: paths.width, : paths.width])
        last = to_device(paths.lengths - 1, device)
        return tower.project(states[torch.arange(len(paths), device=device), last])


class SharedPrefixes(CutContext):
    """A prefix that captions share is computed once; for causal towers of open_clip's own blocks."""

    name = TextMethod.PREFIX_TREE

    def computed(self, paths: TokenPaths) -> Ints:
        """Return (u,) the nodes of the tree that each path brings."""
        return paths.lengths - paths.shared

    def bytes_per_token(self, width: int) -> int:
        """Return what is allocated at once for every node."""
        return self._tower.bytes_per_node(width - 1)

    def __call__(self, paths: TokenPaths) -> Tensor:
        """Return (u, d), one row a path."""
        return encode_paths(self._tower, paths)


def text_methods(model: ClipModel) -> list[WholeContext]:
    """Return the methods that a model's text tower allows by its structure, the fastest first."""
    tower = causal_tower(model)
    if isinstance(tower, str):
        pad_id = _hidden_padding(model)
        if pad_id is None:
            return [WholeContext(model, tower)]
        return [CutPadding(model, pad_id, f"{tower}, but it hides its padding"), WholeContext(model, tower)]
    whole = WholeContext(model, "it holds for every model")
    unknown = unknown_block(tower.transformer)
    shared = SharedPrefixes(model, tower, "the text tower is causal, so captions share their beginnings")
    if tower.pool_type == "last":  # the last position's state depends on the whole context: there is nothing to cut
        return [WholeContext(model, unknown)] if unknown else [shared, whole]
    if unknown:
        return [CutContext(model, tower, f"the text tower is causal, but {unknown}"), whole]
    return [shared, CutContext(model, tower, "the text tower is causal"), whole]


def _hidden_padding(model: ClipModel) -> int | None:
    """Return the padding's id where the tower is a Hugging Face model, in which no token sees it; else None."""
    from open_clip.hf_model import HFTextEncoder

    text: HFTextEncoder = getattr(model, "text", None)
    return int(text.config.pad_token_id) if type(text) is HFTextEncoder else None
