"""Captions in the order in which they are encoded into an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from fdgpu.progress import Reporter, silent

BLOCK = 1024  # neighbours that stay together, so that they share their beginnings in the prefix tree


class TextEmbedder(Protocol):
    """What turns captions into vectors, such as :class:`fdgpu.ClipEmbedder`."""

    def texts(self, captions: Any, progress: Reporter | None) -> Any:
        """Return (n, d) unit vectors of n captions."""
        ...


def encoded(embedder: TextEmbedder, captions: Sequence[str]) -> Any:
    """Return the vectors of some captions, without a bar of their own."""
    return embedder.texts(captions, silent)


def batches(count: int, batch_size: int, shuffled: bool) -> Iterator[list[range]]:
    """Yield the ids of each batch as blocks of neighbours: in order, or the blocks shuffled, always in the same way."""
    block = min(BLOCK, batch_size) if shuffled else batch_size
    blocks = np.arange(0, count, block)
    if shuffled:
        np.random.default_rng(0).shuffle(blocks)
    for some in np.split(blocks, range(batch_size // block, len(blocks), batch_size // block)):
        yield [range(start, min(start + block, count)) for start in some.tolist()]


def captions_at(captions: Sequence[str], blocks: Sequence[range]) -> list[str]:
    """Return the captions of a batch, and of no more than that."""
    return [captions[i] for block in blocks for i in block]
