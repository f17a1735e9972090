"""The order in which rows go into an index."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 1024  # neighbours that stay together: captions among them share their beginnings in the prefix tree


def batches(count: int, batch_size: int, shuffled: bool) -> Iterator[list[range]]:
    """Yield the ids of each batch as blocks of neighbours: in order, or the blocks shuffled, always in the same way.

    Inverted lists are learned from the first rows, and those of a grammar are all about its first words.
    """
    if not count:
        return
    block = min(BLOCK, batch_size) if shuffled else batch_size
    blocks = np.arange(0, count, block)
    if shuffled:
        np.random.default_rng(0).shuffle(blocks)
    for some in np.split(blocks, range(batch_size // block, len(blocks), batch_size // block)):
        yield [range(start, min(start + block, count)) for start in some.tolist()]
