"""Where an index keeps its vectors: by position, added in chunks, searched by inner product.

Flat is :class:`ExactStore`, which needs torch only; lists and a graph are :class:`FaissStore`.
"""

from __future__ import annotations

from typing import IO

import torch
from torch import Tensor

from fdgpu.arrays import to_device
from fdgpu.index.exact_store import ExactStore
from fdgpu.index.faiss_store import CHUNK_BYTES, STREAM, FaissStore, load_faiss
from fdgpu.index.kinds import IndexKind, Kind

Store = ExactStore | FaissStore
FITS = 0.8  # of a card's free memory that vectors may take: the rest is for blocks of scores


def store_device(gpu: bool, rows: Tensor | None = None) -> torch.device:
    """Return where vectors are kept: on the device of the first of them, or torch's current one."""
    if not gpu:
        return torch.device("cpu")
    return rows.device if rows is not None and rows.is_cuda else torch.device(f"cuda:{torch.cuda.current_device()}")


def open_store(dimension: int, kind: IndexKind, half: bool, device: torch.device) -> Store:
    """Return an empty store of a kind."""
    if kind.name == Kind.FLAT:
        return ExactStore(dimension, half, device)
    return FaissStore(dimension, kind, half, device)


def read_store(
    stream: IO[bytes], file: str, dimension: int, kind: IndexKind, half: bool, device: torch.device
) -> Store:
    """Return a store of what was written into ``file``; every index was FAISS's once, flat ones too.

    Raises:
        BackendError: if it is in FAISS's format, and FAISS is not installed.
    """
    faiss = load_faiss(f"{file}, which is in FAISS's format,") if file.endswith(".faiss") else None
    store = open_store(dimension, kind, half, device)
    if faiss is None:
        store.read(stream)
        return store
    index = faiss.read_index(faiss.PyCallbackIOReader(stream.read, STREAM))
    if isinstance(store, FaissStore) and (hasattr(index, "nlist") or hasattr(index, "hnsw")):
        store.take(index)
        return store
    step = max(1, CHUNK_BYTES // (4 * dimension))
    for start in range(0, index.ntotal, step):
        store.add(to_device(index.reconstruct_n(start, min(step, index.ntotal - start)), device))
    return store
