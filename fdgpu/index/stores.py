"""Where an index keeps its vectors: by position, added in chunks, searched by inner product.

Flat is :class:`ExactStore`, which needs torch only; inverted lists and a graph, on the host or on a GPU, are FAISS's.

FAISS takes torch's tensors here by their addresses, on a GPU on torch's stream: vectors do not pass through the host.
``faiss.contrib.torch_utils`` does the same, but on import it exchanges FAISS's own methods for ones that no longer take
``params``, for every user of FAISS in the process.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import to_device, to_host
from fdgpu.device import why_no_faiss_gpu
from fdgpu.errors import BackendError
from fdgpu.files import expect
from fdgpu.index.exact import ExactStore, Found
from fdgpu.index.kinds import IndexKind, Kind

if TYPE_CHECKING:  # it is optional, and mypy does not know its types
    import faiss

CHUNK_BYTES = 1 << 26  # of vectors that move into the lists at a time
STREAM = 1 << 22  # bytes at a time to and from a file, so that no second copy of the vectors is held
FIRST_BYTES = (b"IxFI", b"IxSQ", b"IwFl", b"IwSq", b"IHNf", b"IHNs")  # flat, lists and graphs, whole and half
FITS = 0.8  # of a card's free memory that vectors may take: the rest is for blocks of scores


def load_faiss(purpose: str) -> ModuleType:
    """Import FAISS.

    Raises:
        BackendError: if it is not installed; says how to get it.
    """
    try:
        return import_module("faiss")
    except ImportError:
        raise BackendError(f"{purpose} needs FAISS: pip install 'fdgpu[index]'") from None


# --- tensors by their addresses -------------------------------------------------------------------------------------


def _floats(rows: Tensor) -> object:
    import faiss

    return faiss.cast_integer_to_float_ptr(rows.data_ptr())


def _integers(ids: Tensor) -> object:
    import faiss

    return faiss.cast_integer_to_idx_t_ptr(ids.data_ptr())


def train_index(index: faiss.Index, rows: Tensor) -> None:
    """Learn the lists of an index from float32 rows (n, d), contiguous and where the index is."""
    index.train_c(len(rows), _floats(rows))


def add_to_index(index: faiss.Index, rows: Tensor) -> None:
    """Append float32 rows (n, d), contiguous and where the index is."""
    index.add_c(len(rows), _floats(rows))


def search_index(index: faiss.Index, queries: Tensor, k: int, parameters: faiss.SearchParameters | None) -> Found:
    """Return scores and positions (q, k), -1 where fewer were found, of float32 queries (q, d) where the index is."""
    scores = queries.new_empty(len(queries), k)
    positions = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    index.search_c(len(queries), _floats(queries), k, _floats(scores), _integers(positions), parameters)
    return scores, positions


def vectors_of_index(index: faiss.Index, positions: Tensor) -> Tensor:
    """Return the vectors (m, d) at positions (m,) of an index on the host."""
    vectors = torch.empty(len(positions), index.d)
    index.reconstruct_batch_c(len(positions), _integers(positions), _floats(vectors))
    return vectors


# --- the store ------------------------------------------------------------------------------------------------------


class FaissStore:
    """Inverted lists or a graph of FAISS.

    Inverted lists have to be learned from vectors: until ``kind.training_rows`` of them have come they wait in an
    :class:`ExactStore`. On a GPU they stay there as well, since FAISS hands no single vectors back from its lists
    there: exact searches are torch's, and lists take twice the memory.

    FAISS itself copies to the host what the lists are learned from, and the list of each vector that is added.

    Args:
        dimension: length d of the vectors.
        kind: what to become.
        half: keep float16, half the memory; scores then differ by about 1e-4.
        device: where it is, and where rows and queries come from.

    Raises:
        BackendError: if FAISS is not installed, or not for a GPU where that is the device.
    """

    def __init__(self, dimension: int, kind: IndexKind, half: bool, device: torch.device) -> None:
        self.dimension, self.kind, self.half, self.device = dimension, kind, half, device
        self._faiss = load_faiss(f"kind '{kind.name}'")
        missing = None if device.type == "cpu" else why_no_faiss_gpu(device)
        if missing is not None:
            raise BackendError(
                f"kind '{kind.name}' was asked for on a GPU, but cannot run there: {missing}; or use 'flat', which is "
                "exact and needs no FAISS, or backend='cpu'"
            )
        self._resources = None if device.type == "cpu" else self._faiss.StandardGpuResources()
        self._rows: ExactStore | None = None
        self._index: faiss.Index = None
        if kind.name == Kind.IVF:
            self._rows = ExactStore(dimension, half, device)
        else:
            self._index = self._graph()

    def __len__(self) -> int:
        return len(self._rows) if self._rows is not None else int(self._index.ntotal)

    @property
    def file(self) -> str:
        """What its file is called: FAISS's own format, or NumPy's while vectors wait."""
        return ExactStore.file if self._index is None else "vectors.faiss"

    def reserve(self, more: int) -> None:
        """Make room for vectors that wait, or stay beside the lists; FAISS makes its own."""
        if self._rows is not None:
            self._rows.reserve(min(more, self.kind.training_rows) if self._resources is None else more)

    def add(self, rows: Tensor) -> None:
        """Append vectors (n, d)."""
        if self._rows is not None:
            self._rows.add(rows)
        if self._index is not None:
            self._on_stream()
            add_to_index(self._index, rows.float().contiguous())
        elif self._rows is not None and len(self._rows) >= self.kind.training_rows:
            self._index = self._lists(self._rows.rows)
            if self._resources is None:
                self._rows = None

    def vectors(self, positions: Tensor) -> Tensor:
        """Return the vectors (…, d) at positions (…)."""
        if self._rows is not None:
            return self._rows.vectors(positions)
        if hasattr(self._index, "make_direct_map"):
            self._index.make_direct_map()  # 8 bytes a vector, once
        return vectors_of_index(self._index, positions.reshape(-1)).reshape(*positions.shape, -1)

    def block(self, start: int, stop: int) -> Tensor:
        """Return the vectors from one position to another."""
        return self.vectors(torch.arange(start, stop)) if self._rows is None else self._rows.block(start, stop)

    def search(self, queries: Tensor, k: int, exact: bool = False) -> Found:
        """Return scores (q, k), the highest first, and positions (q, k)."""
        if self._rows is not None and (exact or self._index is None):
            return self._rows.search(queries, k)
        scores, positions = self._search(queries, k, exact)
        # The lists or the part of the graph that were looked at may have held fewer.
        lacking = to_host((positions < 0).any(dim=1), "which searches looked at too few lists").nonzero()[0]
        if len(lacking):
            chosen = to_device(lacking, queries.device)
            scores[chosen], positions[chosen] = self.search(queries[chosen], k, exact=True)
        return scores, positions

    def _search(self, queries: Tensor, k: int, exact: bool) -> Found:
        kind, index, parameters = self.kind, self._index, None
        if kind.name == Kind.IVF:
            probes = kind.lists if exact else kind.probes_for(k, len(self))
            parameters = self._faiss.SearchParametersIVF(nprobe=probes)
        elif exact:
            index = index.storage  # the graph's vectors, flat
        else:
            parameters = self._faiss.SearchParametersHNSW(efSearch=kind.breadth_for(k))
        self._on_stream()
        return search_index(index, queries.contiguous(), k, parameters)

    def write(self, stream: IO[bytes]) -> None:
        """Write the index in FAISS's format, or the vectors that wait in NumPy's."""
        if self._index is None and self._rows is not None:
            self._rows.write(stream)
            return
        index = self._index if self._resources is None else self._faiss.index_gpu_to_cpu(self._index)
        self._faiss.write_index(index, self._faiss.PyCallbackIOWriter(stream.write, STREAM))

    def read(self, stream: IO[bytes], count: int) -> None:
        """Read vectors that wait into a store that is empty."""
        expect(self._rows is not None, f"a graph in FAISS's format, not {ExactStore.file}")
        if self._rows is not None:
            self._rows.read(stream, count)

    def take(self, index: faiss.Index) -> None:
        """Become an index that was read from a file."""
        if self._resources is None:
            self._index, self._rows = index, None
            return
        if self._rows is not None:
            self._rows.reserve(index.ntotal)
            index.make_direct_map()
            for positions in torch.arange(index.ntotal).split(max(1, CHUNK_BYTES // (4 * self.dimension))):
                self._rows.add(vectors_of_index(index, positions))
        self._index = self._on_device(index)

    # --- the kinds --------------------------------------------------------------------------------------------------

    def _graph(self) -> faiss.Index:
        faiss, d, links, metric = self._faiss, self.dimension, self.kind.links, self._faiss.METRIC_INNER_PRODUCT
        if self.half:
            graph = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_fp16, links, metric)
        else:
            graph = faiss.IndexHNSWFlat(d, links, metric)
        graph.hnsw.efConstruction = self.kind.build_breadth
        return graph

    def _lists(self, rows: Tensor) -> faiss.Index:
        """Learn the lists from vectors, and sort these into them."""
        faiss, d, metric = self._faiss, self.dimension, self._faiss.METRIC_INNER_PRODUCT
        cells = faiss.IndexFlatIP(d)
        if self.half:
            half = faiss.ScalarQuantizer.QT_fp16
            lists = faiss.IndexIVFScalarQuantizer(cells, d, self.kind.lists, half, metric, False)
        else:
            lists = faiss.IndexIVFFlat(cells, d, self.kind.lists, metric)
        lists = self._on_device(lists)
        self._on_stream()
        train_index(lists, rows.float())
        for some in rows.split(max(1, CHUNK_BYTES // (4 * d))):
            add_to_index(lists, some.float())
        return lists

    def _on_device(self, index: faiss.Index) -> faiss.Index:
        """Return the index where it shall be searched."""
        if self._resources is None:
            return index
        options = self._faiss.GpuClonerOptions()
        options.useFloat16 = self.half
        return self._faiss.index_cpu_to_gpu(self._resources, self.device.index, index, options)

    def _on_stream(self) -> None:
        """Have FAISS work on torch's stream, behind what made the vectors."""
        if self._resources is not None:
            stream = self._faiss.cast_integer_to_cudastream_t(torch.cuda.current_stream(self.device).cuda_stream)
            self._resources.setDefaultStream(self.device.index, stream)


Store = ExactStore | FaissStore


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


def _read_index(faiss: ModuleType, stream: IO[bytes], size: int) -> faiss.Index:
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


def _is_flat(faiss: ModuleType, index: faiss.Index) -> bool:
    return isinstance(index, (faiss.IndexFlat, faiss.IndexScalarQuantizer))


def _check_index(faiss: ModuleType, index: faiss.Index, shape: tuple[int, int], half: bool) -> None:
    """Check what all kinds have: how many vectors of which length, by inner product."""
    expect((index.ntotal, index.d) == shape, f"{shape[0]} vectors of {shape[1]} numbers")
    expect(index.metric_type == faiss.METRIC_INNER_PRODUCT and index.is_trained, "an index by inner product")
    if _is_flat(faiss, index):
        width = _check_codes(faiss, index, half)
        codes = faiss.vector_to_array(index.codes)
        expect(codes.size == index.ntotal * width, f"{index.ntotal} vectors of {width} bytes")
        _check_finite(codes, half)


def _check_codes(faiss: ModuleType, index: faiss.Index, half: bool) -> int:
    """Check how a vector is kept; return its bytes."""
    width = int(index.d) * (2 if half else 4)
    of_half = not hasattr(index, "sq") or (index.sq.qtype, index.sq.d) == (faiss.ScalarQuantizer.QT_fp16, index.d)
    expect(hasattr(index, "sq") == half and of_half and index.code_size == width, f"vectors of {width} bytes")
    return width


def _check_finite(codes: NDArray[np.uint8], half: bool) -> None:
    expect(bool(np.isfinite(codes.view(np.float16 if half else np.float32)).all()), "finite vectors")


def _check_kind(faiss: ModuleType, index: faiss.Index, kind: IndexKind, half: bool) -> None:
    if kind.name == Kind.IVF and isinstance(index, (faiss.IndexIVFFlat, faiss.IndexIVFScalarQuantizer)):
        _check_lists(faiss, index, kind, half)
    else:
        graph = kind.name == Kind.HNSW and isinstance(index, (faiss.IndexHNSWFlat, faiss.IndexHNSWSQ))
        expect(graph, f"an index of the kind '{kind.name}'")
        _check_graph(faiss, index, kind, half)


def _check_lists(faiss: ModuleType, index: faiss.Index, kind: IndexKind, half: bool) -> None:
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


def _check_graph(faiss: ModuleType, index: faiss.Index, kind: IndexKind, half: bool) -> None:
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
