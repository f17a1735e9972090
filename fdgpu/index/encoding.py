"""Captions to vectors, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from fdgpu.errors import InputError
from fdgpu.progress import Reporter, silent


class TextEmbedder(Protocol):
    """What turns captions into vectors, such as :class:`fdgpu.ClipEmbedder`."""

    def texts(self, captions: Any, progress: Reporter | None) -> Any:
        """Return (n, d) unit vectors of n captions."""
        ...


def encoded(embedder: TextEmbedder, captions: Sequence[str]) -> Any:
    """Return the vectors of some captions, without a bar of their own.

    Raises:
        InputError: if there is not one for each.
    """
    vectors = embedder.texts(captions, silent)
    if len(vectors) != len(captions):
        raise InputError(
            f"the embedder gave {len(vectors)} vectors for {len(captions)} captions: it must give one each"
        )
    return vectors


def captions_at(captions: Sequence[str], blocks: Sequence[range]) -> list[str]:
    """Return the captions of a batch, and of no more than that."""
    return [captions[i] for block in blocks for i in block]
