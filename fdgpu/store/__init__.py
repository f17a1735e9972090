"""Vectors of a data set on disk: a run that was killed goes on, and nothing has to fit into memory."""

from fdgpu.store.embedding_store import EmbeddingStore
from fdgpu.store.filling import fill

__all__ = ["EmbeddingStore", "fill"]
