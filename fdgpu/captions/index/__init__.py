"""Indexes of vectors with names on FAISS, and of captions that directions are searched in."""

from fdgpu.captions.index.caption_index import CaptionIndex
from fdgpu.captions.index.kinds import IndexKind
from fdgpu.captions.index.vector_index import Neighbours, VectorIndex

__all__ = ["CaptionIndex", "IndexKind", "Neighbours", "VectorIndex"]
