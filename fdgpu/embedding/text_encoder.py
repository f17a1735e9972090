"""Token matrices to unit vectors, by the fastest method that agrees with the model's ``encode_text``."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fdgpu.device import BatchSize, Choice, Placement, halving_batches
from fdgpu.embedding.prefix_tree import TokenPaths
from fdgpu.embedding.text_methods import TextMethod, text_methods
from fdgpu.errors import BackendError, FdgpuWarning
from fdgpu.progress import Reporter, silent

TRIED = 4  # captions that are encoded both ways before a method is trusted

# How far a unit vector may lie from that of encode_text. Through ViT-B/32, rounding makes 6e-7 in float32, 2e-3 in
# float16 and 1e-2 in bfloat16; a mask or a position that is not the model's makes 0.4 and more.
LARGEST_DISTANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}

# On a CPU more tokens at once gain nothing, and make the layers' outputs larger than what the C library keeps for the
# next one (32 MiB): memory mapped anew in every layer costs encode_text a quarter of its time at 256 captions.
CPU_TOKENS = 2048


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

    def __init__(self, model: Any, placement: Placement, batch: BatchSize, method: str = "auto") -> None:
        self.placement, self.batch = placement, batch
        self._methods = text_methods(model)
        self._plain = self._methods[-1]
        self._tried = method != "auto"
        if method != "auto":
            self._methods = _named(self._methods, method)

    @property
    def choice(self) -> Choice:
        """The method that runs; the first call may still find that it does not hold."""
        return self._methods[0].choice

    def __call__(self, tokens: NDArray[np.int32], report: Reporter = silent) -> Tensor:
        """Encode (m, L) tokens to (m, d) float32 unit vectors on the model's device; equal rows are encoded once."""
        if not self._tried:
            self._try(tokens)
        return self._encode(self._methods[0], tokens, report)

    def _try(self, tokens: NDArray[np.int32]) -> None:
        """Drop every method that does not give what ``encode_text`` gives, for a few of the captions."""
        by_length = np.argsort(self._methods[0].lengths(tokens), kind="stable")
        few = tokens[by_length[np.linspace(0, len(tokens) - 1, min(TRIED, len(tokens))).astype(int)]]
        expected = self._encode(self._plain, few, silent)
        while self.choice.name != "encode_text":
            distance = _distance(self._encode(self._methods[0], few, silent), expected)
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

    def _encode(self, method: TextMethod, tokens: NDArray[np.int32], report: Reporter) -> Tensor:
        paths, path_of_row = TokenPaths.of(tokens, method.lengths(tokens))
        computed = np.cumsum(method.computed(paths))
        batch = BatchSize(self._tokens_at_once(tokens.shape[1]))
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
        return torch.cat(rows)[torch.from_numpy(path_of_row).to(self.placement.device)]

    def _tokens_at_once(self, context: int) -> int:
        most = self.batch.rows * context
        return min(most, max(CPU_TOKENS, context)) if self.placement.device.type == "cpu" else most


def _named(methods: list[TextMethod], name: str) -> list[TextMethod]:
    for method in methods:
        if method.choice.name == name:
            method.choice = Choice(name, "asked for by name")
            return [method]
    allowed = ", ".join(repr(method.choice.name) for method in methods)
    raise BackendError(f"text method {name!r} was asked for, but this model's text tower allows only {allowed}")


def _distance(vectors: Tensor, expected: Tensor) -> float:
    """Return the largest distance of a row; NaN equals NaN, and nothing else."""
    if not torch.equal(vectors.isnan(), expected.isnan()):
        return float("inf")
    return float((vectors - expected).nan_to_num(0).norm(dim=1).max())
