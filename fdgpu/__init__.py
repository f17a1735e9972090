"""fdgpu: find where an image classifier fails, say in words what the failures share, show them, help to fix them.

Implements *Distilling Model Failures as Directions in Latent Space* (ICLR 2023). Names are imported when first
used, so that ``import fdgpu`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fdgpu.version import __version__ as __version__

_HOME = {
    "AuditResult": "fdgpu.auditing",
    "CaptionGrammar": "fdgpu.captions",
    "CaptionIndex": "fdgpu.index",
    "Classifier": "fdgpu.embedding",
    "ClipEmbedder": "fdgpu.embedding",
    "Cluster": "fdgpu.cluster",
    "Comparison": "fdgpu.auditing",
    "Decoder": "fdgpu.decoding",
    "EmbeddingStore": "fdgpu.store",
    "FailureDirections": "fdgpu.directions",
    "ImageSource": "fdgpu.embedding",
    "IndexedSource": "fdgpu.embedding",
    "Sample": "fdgpu.embedding",
    "SearchSettings": "fdgpu.directions",
    "SliceSearch": "fdgpu.auditing",
    "SolverSettings": "fdgpu.directions",
    "SyntheticImages": "fdgpu.decoding",
    "VectorIndex": "fdgpu.index",
    "audit": "fdgpu.auditing",
    "compare": "fdgpu.auditing",
    "decode_directions": "fdgpu.auditing",
    "export": "fdgpu.auditing",
    "extreme_captions": "fdgpu.auditing",
    "grow_captions": "fdgpu.auditing",
    "nouns_below": "fdgpu.captions",
    "slerp": "fdgpu.decoding",
    "text_to_image": "fdgpu.decoding",
    "visual_adjectives": "fdgpu.captions",
    "word_effects": "fdgpu.captions",
}

if TYPE_CHECKING:  # the same names for type checkers and editors; "as" makes each public
    from fdgpu.auditing import AuditResult as AuditResult
    from fdgpu.auditing import Comparison as Comparison
    from fdgpu.auditing import SliceSearch as SliceSearch
    from fdgpu.auditing import audit as audit
    from fdgpu.auditing import compare as compare
    from fdgpu.auditing import decode_directions as decode_directions
    from fdgpu.auditing import export as export
    from fdgpu.auditing import extreme_captions as extreme_captions
    from fdgpu.auditing import grow_captions as grow_captions
    from fdgpu.captions import CaptionGrammar as CaptionGrammar
    from fdgpu.captions import nouns_below as nouns_below
    from fdgpu.captions import visual_adjectives as visual_adjectives
    from fdgpu.captions import word_effects as word_effects
    from fdgpu.cluster import Cluster as Cluster
    from fdgpu.decoding import Decoder as Decoder
    from fdgpu.decoding import SyntheticImages as SyntheticImages
    from fdgpu.decoding import slerp as slerp
    from fdgpu.decoding import text_to_image as text_to_image
    from fdgpu.directions import FailureDirections as FailureDirections
    from fdgpu.directions import SearchSettings as SearchSettings
    from fdgpu.directions import SolverSettings as SolverSettings
    from fdgpu.embedding import Classifier as Classifier
    from fdgpu.embedding import ClipEmbedder as ClipEmbedder
    from fdgpu.embedding import ImageSource as ImageSource
    from fdgpu.embedding import IndexedSource as IndexedSource
    from fdgpu.embedding import Sample as Sample
    from fdgpu.index import CaptionIndex as CaptionIndex
    from fdgpu.index import VectorIndex as VectorIndex
    from fdgpu.store import EmbeddingStore as EmbeddingStore
else:  # a type checker would take an __all__ that it cannot read for an empty one
    __all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'fdgpu' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value  # the next look-up is a plain one
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
