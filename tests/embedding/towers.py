"""Narrow models of every kind that open_clip builds, with weights that nothing cancels in, and captions for them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.hf_model import HFTextEncoder, MeanPooler
from torch import nn

CONTEXT = 24
END = 99  # the largest id, as in CLIP's vocabulary
VISION = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16, "image_size": 32}


def narrow(custom: bool = False, quick_gelu: bool = False, cast_dtype: torch.dtype | None = None, **text: Any) -> Any:
    """A model of three layers of width 32, as CLIP or CustomTextCLIP; ``text`` as in open_clip's configurations."""
    config = {"context_length": CONTEXT, "vocab_size": END + 1, "width": 32, "heads": 4, "layers": 3, **text}
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    torch.manual_seed(0)
    model = roughened(kind(24, VISION, config, quick_gelu=quick_gelu, cast_dtype=cast_dtype))
    if cast_dtype is not None:
        open_clip.model.convert_weights_to_lp(model, cast_dtype)
    return model


def roughened(model: nn.Module) -> Any:
    """Move every weight away from its start, so that no bias is 0 and no scale is 1."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model.eval().requires_grad_(False)


def hugging_face() -> Any:
    """A tower as open_clip wraps Hugging Face's: every token sees every other, and none the padding."""
    model = narrow(custom=True)
    text = HFTextEncoder.__new__(HFTextEncoder)
    nn.Module.__init__(text)
    text.config = SimpleNamespace(pad_token_id=0)
    text.output_tokens = False
    text.embedding, text.proj = nn.Embedding(END + 1, 32), nn.Linear(32, 24)
    text.pooler = MeanPooler()
    text.transformer = lambda input_ids, **_: SimpleNamespace(last_hidden_state=text.embedding(input_ids))
    model.text = text
    return roughened(model)


def captions(n: int, seed: int = 0, words: int = 4, longest: int = CONTEXT) -> np.ndarray:
    """(n, CONTEXT) tokens of few words, so that beginnings are shared; start, words, end, padding."""
    rng = np.random.default_rng(seed)
    tokens = np.zeros((n, CONTEXT), np.int32)
    for row in tokens:
        length = rng.integers(2, longest + 1)
        row[:length] = rng.integers(1, words + 1, length)
        row[0], row[length - 1] = 98, END
    return tokens
