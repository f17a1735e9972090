"""fdgpu: find where an image classifier fails, say in words what the failures share, show them, help to fix them.

Implements *Distilling Model Failures as Directions in Latent Space* (ICLR 2023). Names are imported when first
used, so that ``import fdgpu`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fdgpu.version import __version__

if TYPE_CHECKING:
    from fdgpu.auditing import AuditResult, audit
    from fdgpu.captions import CaptionGrammar, nouns_below
    from fdgpu.decoding import Decoder, slerp
    from fdgpu.directions import FailureDirections
    from fdgpu.embedding import ClipEmbedder

_HOME = {
    "AuditResult": "fdgpu.auditing",
    "CaptionGrammar": "fdgpu.captions",
    "ClipEmbedder": "fdgpu.embedding",
    "Decoder": "fdgpu.decoding",
    "FailureDirections": "fdgpu.directions",
    "audit": "fdgpu.auditing",
    "nouns_below": "fdgpu.captions",
    "slerp": "fdgpu.decoding",
}

__all__ = [
    "AuditResult",
    "CaptionGrammar",
    "ClipEmbedder",
    "Decoder",
    "FailureDirections",
    "__version__",
    "audit",
    "nouns_below",
    "slerp",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fdgpu' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
