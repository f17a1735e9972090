"""Indexes of vectors with names, and of captions that directions are searched in; FAISS is optional."""

from fdgpu.index.caption_index import CaptionIndex, Extremes
from fdgpu.index.kinds import IndexKind
from fdgpu.index.vector_index import Neighbours, VectorIndex

__all__ = ["CaptionIndex", "Extremes", "IndexKind", "Neighbours", "VectorIndex"]
