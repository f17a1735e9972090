"""fdgpu: find where an image classifier fails, say in words what the failures share, show them, help to fix them.

Implements *Distilling Model Failures as Directions in Latent Space* (ICLR 2023). Names are imported when first
used, so that ``import fdgpu`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fdgpu.version import __version__

if TYPE_CHECKING:
    from fdgpu.auditing import AuditResult, audit, decode_directions, extreme_captions, grow_captions
    from fdgpu.captions import CaptionGrammar, nouns_below, visual_adjectives, word_effects
    from fdgpu.decoding import Decoder, SyntheticImages, slerp, text_to_image
    from fdgpu.directions import FailureDirections
    from fdgpu.embedding import ClipEmbedder
    from fdgpu.index import CaptionIndex, VectorIndex

_HOME = {
    "AuditResult": "fdgpu.auditing",
    "CaptionGrammar": "fdgpu.captions",
    "CaptionIndex": "fdgpu.index",
    "ClipEmbedder": "fdgpu.embedding",
    "Decoder": "fdgpu.decoding",
    "FailureDirections": "fdgpu.directions",
    "SyntheticImages": "fdgpu.decoding",
    "VectorIndex": "fdgpu.index",
    "audit": "fdgpu.auditing",
    "decode_directions": "fdgpu.auditing",
    "extreme_captions": "fdgpu.auditing",
    "grow_captions": "fdgpu.auditing",
    "nouns_below": "fdgpu.captions",
    "slerp": "fdgpu.decoding",
    "text_to_image": "fdgpu.decoding",
    "visual_adjectives": "fdgpu.captions",
    "word_effects": "fdgpu.captions",
}

__all__ = [
    "AuditResult",
    "CaptionGrammar",
    "CaptionIndex",
    "ClipEmbedder",
    "Decoder",
    "FailureDirections",
    "SyntheticImages",
    "VectorIndex",
    "__version__",
    "audit",
    "decode_directions",
    "extreme_captions",
    "grow_captions",
    "nouns_below",
    "slerp",
    "text_to_image",
    "visual_adjectives",
    "word_effects",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fdgpu' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
