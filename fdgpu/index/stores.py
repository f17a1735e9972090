"""Where an index keeps its vectors: by position, added in chunks, searched by inner product.

Flat is :class:`ExactStore`, which needs torch only; lists and a graph are :class:`FaissStore`.
"""

from __future__ import annotations

from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import to_device
from fdgpu.files import expect
from fdgpu.index.exact_store import ExactStore
from fdgpu.index.faiss_store import CHUNK_BYTES, STREAM, FaissStore, load_faiss
from fdgpu.index.kinds import IndexKind, Kind

Store = ExactStore | FaissStore
FIRST_BYTES = (b"IxFI", b"IxSQ", b"IwFl", b"IwSq", b"IHNf", b"IHNs")  # flat, lists and graphs, whole and half
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
    stream: IO[bytes], size: int, file: str, shape: tuple[int, int], kind: IndexKind, half: bool, device: torch.device
) -> Store:
    """Return a store of what was written into ``file``; every index was FAISS's once, flat ones too.

    Args:
        stream: its content.
        size: how many bytes that is.
        file: its name.
        shape: how many vectors it should hold, and their length.
        kind: of the index.
        half: whether vectors are float16.
        device: of the store.

    Raises:
        ValueError: if it holds something else.
        RuntimeError: as FAISS says what it cannot read.
        BackendError: if it is in FAISS's format, and FAISS is not installed.
    """
    count, dimension = shape
    expect(count * dimension * (2 if half else 4) <= size, f"{count} vectors of {dimension} numbers in {size} bytes")
    faiss = load_faiss(f"{file}, which is in FAISS's format,") if file.endswith(".faiss") else None
    store = open_store(dimension, kind, half, device)
    if faiss is None:
        store.read(stream, count)
        return store
    index = _read_index(faiss, stream, size)
    _check_index(faiss, index, shape, half)
    if isinstance(store, FaissStore) and not _is_flat(faiss, index):
        _check_kind(faiss, index, kind, half)
        store.take(index)
        return store
    expect(_is_flat(faiss, index) and kind.name != Kind.HNSW, f"an index of the kind '{kind.name}'")
    step = max(1, CHUNK_BYTES // (4 * dimension))
    for start in range(0, index.ntotal, step):
        store.add(to_device(index.reconstruct_n(start, min(step, index.ntotal - start)), device))
    return store


# --- FAISS believes what a file says of itself: what its searches would go by is checked first -----------------------


def _read_index(faiss: Any, stream: IO[bytes], size: int) -> Any:
    """Read an index of a kind that is written here; no vector of it can be larger than the file."""
    head = [stream.read(4)]
    expect(head[0] in FIRST_BYTES, f"an index of FAISS that begins with one of {', '.join(map(str, FIRST_BYTES))}")
    reader = faiss.PyCallbackIOReader(lambda n: head.pop() if head else stream.read(n), STREAM)
    if not hasattr(faiss, "set_deserialization_vector_byte_limit"):  # before FAISS 1.14
        return faiss.read_index(reader)
    before = faiss.get_deserialization_vector_byte_limit()
    faiss.set_deserialization_vector_byte_limit(size)
    try:
        return faiss.read_index(reader)
    finally:
        faiss.set_deserialization_vector_byte_limit(before)


def _is_flat(faiss: Any, index: Any) -> bool:
    return isinstance(index, (faiss.IndexFlat, faiss.IndexScalarQuantizer))


def _check_index(faiss: Any, index: Any, shape: tuple[int, int], half: bool) -> None:
    """Check what all kinds have: how many vectors of which length, by inner product."""
    expect((index.ntotal, index.d) == shape, f"{shape[0]} vectors of {shape[1]} numbers")
    expect(index.metric_type == faiss.METRIC_INNER_PRODUCT and index.is_trained, "an index by inner product")
    if _is_flat(faiss, index):
        width = _check_codes(faiss, index, half)
        codes = faiss.vector_to_array(index.codes)
        expect(codes.size == index.ntotal * width, f"{index.ntotal} vectors of {width} bytes")
        _check_finite(codes, half)


def _check_codes(faiss: Any, index: Any, half: bool) -> int:
    """Check how a vector is kept; return its bytes."""
    width = int(index.d) * (2 if half else 4)
    of_half = not hasattr(index, "sq") or (index.sq.qtype, index.sq.d) == (faiss.ScalarQuantizer.QT_fp16, index.d)
    expect(hasattr(index, "sq") == half and of_half and index.code_size == width, f"vectors of {width} bytes")
    return width


def _check_finite(codes: NDArray[np.uint8], half: bool) -> None:
    expect(bool(np.isfinite(codes.view(np.float16 if half else np.float32)).all()), "finite vectors")


def _check_kind(faiss: Any, index: Any, kind: IndexKind, half: bool) -> None:
    if kind.name == Kind.IVF and isinstance(index, (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer)):
        _check_lists(faiss, index, kind, half)
    else:
        graph = kind.name == Kind.HNSW and isinstance(index, (faiss.IndexHNSWFlat, faiss.IndexHNSWSQ))
        expect(graph, f"an index of the kind '{kind.name}'")
        _check_graph(faiss, index, kind, half)


def _check_lists(faiss: Any, index: Any, kind: IndexKind, half: bool) -> None:
    """Check that the lists hold every vector once, and that the cells are as many as the lists."""
    width, lists, cells = _check_codes(faiss, index, half), index.invlists, faiss.downcast_index(index.quantizer)
    expect(index.nlist == kind.lists and lists.nlist == kind.lists, f"{kind.lists} lists")
    plain = isinstance(faiss.downcast_InvertedLists(lists), faiss.ArrayInvertedLists) and lists.code_size == width
    expect(plain and not getattr(index, "by_residual", False) * half, "lists of plain vectors")
    expect(isinstance(cells, faiss.IndexFlat), "cells that are flat")
    _check_index(faiss, cells, (kind.lists, index.d), half=False)
    seen = np.zeros(index.ntotal, np.int64)
    for i in range(kind.lists):
        count = lists.list_size(i)
        if count:
            ids = faiss.rev_swig_ptr(lists.get_ids(i), count)
            expect(bool(((ids >= 0) & (ids < index.ntotal)).all()), "ids of vectors that there are")
            seen[ids] += 1
            _check_finite(faiss.rev_swig_ptr(lists.get_codes(i), count * width), half)
    expect(bool((seen == 1).all()) and sum(map(lists.list_size, range(kind.lists))) == index.ntotal, "each vector once")
    index.set_direct_map_type(faiss.DirectMap.NoMap)  # made anew where it is needed


def _check_graph(faiss: Any, index: Any, kind: IndexKind, half: bool) -> None:
    """Check that every link goes to a vector that there is, on a level that it has."""
    storage, hnsw, n = faiss.downcast_index(index.storage), index.hnsw, index.ntotal
    expect(_is_flat(faiss, storage), "a graph of flat vectors")
    _check_index(faiss, storage, (n, index.d), half)
    vectors = ("levels", "offsets", "neighbors", "cum_nneighbor_per_level")
    levels, offsets, links, until = (faiss.vector_to_array(getattr(hnsw, name)).astype(np.int64) for name in vectors)
    expect(len(levels) == n and len(offsets) == n + 1, "a level and links for each vector")
    widths = [0, 2 * kind.links] + [kind.links] * (len(until) - 2)
    expect(len(until) > 1 and (until == np.cumsum(widths)).all(), f"{kind.links} links a vector and level")
    expect(bool(((levels > 0) & (levels < len(until))).all()), "levels that have links")
    expect(
        offsets[0] == 0 and offsets[-1] == len(links) and (np.diff(offsets) == until[levels]).all(), "links in order"
    )
    expect(bool(((links >= -1) & (links < n)).all()), "links to vectors that there are")
    expect(hnsw.max_level == levels.max() - 1 and 0 <= hnsw.entry_point < n, "an entry to the graph")
    expect(levels[hnsw.entry_point] == levels.max(), "an entry at the top of the graph")
    for level in range(1, int(levels.max())):
        own = offsets[:-1][levels > level][:, None] + np.arange(until[level], until[level + 1])
        there = links[own][links[own] >= 0]
        expect(bool((levels[there] > level).all()), "links to vectors of the level")
