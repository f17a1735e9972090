"""Unit vectors by position, added in chunks and searched by inner product: all looked at by torch, or by FAISS.

:class:`ExactStore` needs torch only. Lists and graphs are FAISS's, which is imported nowhere else in the package but
where :mod:`fdgpu.device` asks what it can do.
"""

from __future__ import annotations

import importlib.util
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.cuda import why_no_cuda
from fdgpu.device import Choice, choose_index_backend, cpu_count
from fdgpu.errors import BackendError
from fdgpu.index.kinds import IndexKind, Kind

Rows = NDArray[np.float32]
Positions = NDArray[np.int64]

CHUNK_BYTES = 1 << 26  # of vectors that move into the lists at a time
STREAM = 1 << 22  # bytes at a time to and from a file, so that no second copy of the vectors is held
QUERIES = 256
VECTORS = 16384  # 16 MiB of scores with as many queries
NO_FAISS = "FAISS is not installed, pip install 'fdgpu[index]'"


def has_faiss() -> bool:
    """Whether FAISS is installed."""
    return importlib.util.find_spec("faiss") is not None


def load_faiss(purpose: str) -> Any:
    """Import FAISS, whose types mypy does not know.

    Raises:
        BackendError: if it is not installed; says how to get it.
    """
    try:
        import faiss
    except ImportError:
        raise BackendError(f"{purpose} needs FAISS: pip install 'fdgpu[index]'") from None
    return faiss


def choose_store_backend(requested: str) -> Choice:
    """Choose ``"cpu"`` or ``"gpu"``; without FAISS torch's exact search is all there is, on either.

    Raises:
        BackendError: if the name is unknown, or the GPU was asked for by name and cannot be used.
    """
    if has_faiss() or requested not in ("auto", "gpu"):
        return choose_index_backend(requested)
    missing = why_no_cuda()
    if missing is None:
        auto = "auto: " if requested == "auto" else ""
        return Choice("gpu", f"{auto}exact search on {torch.cuda.get_device_name()}; {NO_FAISS}")
    if requested == "gpu":
        raise BackendError(f"backend 'gpu' was asked for, but cannot run here: {missing}; use 'cpu'")
    return Choice("cpu", f"auto: exact search on {cpu_count()} CPU cores; {NO_FAISS}")


def torch_device(gpu: bool) -> torch.device:
    """Return where an exact store keeps its vectors."""
    return torch.device("cuda" if gpu else "cpu")


class ExactStore:
    """Vectors that are all looked at, in one block on the host or on a GPU.

    A search is blocks of scores by matrix product, and the best of each. It finds what ``faiss.IndexFlatIP`` finds, its
    plain twin, for 400 queries over 100 000 vectors of 128 on a CPU in a quarter of the time; a handful of queries,
    which read the vectors once and compute little, take as long as there.

    Args:
        dimension: length d of the vectors.
        half: keep float16, half the memory; scores then differ by about 1e-4.
        device: where the vectors are. Rows and queries come from the host, and results go back there.
    """

    file = "vectors.npy"

    def __init__(self, dimension: int, half: bool, device: torch.device) -> None:
        self.dimension = dimension
        self._room = torch.empty((0, dimension), dtype=torch.float16 if half else torch.float32, device=device)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> Tensor:
        """All vectors (n, d), without a copy."""
        return self._room[: self._count]

    def reserve(self, more: int) -> None:
        """Make room for so many vectors more: exactly so many at first, later at least twice what there was."""
        needed = self._count + more
        if needed > len(self._room):
            room = self._room.new_empty(max(needed, 2 * self._count), self.dimension)
            room[: self._count] = self.rows
            self._room = room

    def add(self, rows: Rows) -> None:
        """Append vectors (n, d)."""
        self.reserve(len(rows))
        self._room[self._count : self._count + len(rows)] = torch.from_numpy(rows)
        self._count += len(rows)

    def search(self, queries: Rows, k: int, exact: bool = True) -> tuple[Rows, Positions]:  # noqa: ARG002 - it always is
        """Return scores (q, k), the highest first, and positions (q, k)."""
        best = [self._best(some, k) for some in torch.from_numpy(queries).to(self._room.device).split(QUERIES)]
        scores, positions = (torch.cat(parts).cpu().numpy() for parts in zip(*best, strict=True))
        return scores, positions

    def _best(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the best of each block of vectors and of those before it."""
        scores = queries.new_empty(len(queries), 0)  # (q, up to k), and the positions they belong to
        positions = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        for start, block in zip(range(0, self._count, VECTORS), self.rows.split(VECTORS), strict=True):
            more, at = (queries @ block.float().T).topk(min(k, len(block)), dim=1)
            both = torch.cat([scores, more], dim=1)
            scores, order = both.topk(min(k, both.shape[1]), dim=1)
            positions = torch.cat([positions, at + start], dim=1).gather(1, order)
        return scores, positions

    def write(self, stream: IO[bytes]) -> None:
        """Write the vectors in NumPy's format."""
        np.lib.format.write_array(stream, self.rows.cpu().numpy())

    def read(self, stream: IO[bytes]) -> None:
        """Read what :meth:`write` wrote into a store that is empty."""
        self._room = torch.from_numpy(np.lib.format.read_array(stream)).to(self._room)
        self._count = len(self._room)


class FaissStore:
    """Inverted lists or a graph of FAISS, on the host or on the first GPU.

    Inverted lists have to be learned from vectors: until ``kind.training_rows`` of them have come they wait in an
    :class:`ExactStore`.

    Rows and queries come from the host and go back there, also for an index on a GPU: a million vectors of 512 are
    2 GB, which a PCIe bus moves in a tenth of a second, and which took minutes to encode.

    Args:
        dimension: length d of the vectors.
        kind: what to become.
        half: keep float16, half the memory; scores then differ by about 1e-4.
        gpu: keep it on the first GPU.

    Raises:
        BackendError: if FAISS is not installed.
    """

    def __init__(self, dimension: int, kind: IndexKind, half: bool, gpu: bool) -> None:
        self.dimension, self.kind, self.half = dimension, kind, half
        self._faiss = load_faiss(f"kind '{kind.name}'")
        self._resources = self._faiss.StandardGpuResources() if gpu else None
        self._waiting: ExactStore | None = None
        if kind.name == Kind.IVF:
            self._waiting = ExactStore(dimension, half, torch.device("cpu"))
        else:
            self._index = self._on_device(self._graph())

    def __len__(self) -> int:
        return int(self._index.ntotal) if self._waiting is None else len(self._waiting)

    @property
    def file(self) -> str:
        """What its file is called: FAISS's own format, or NumPy's while vectors wait."""
        return "vectors.faiss" if self._waiting is None else self._waiting.file

    def reserve(self, more: int) -> None:
        """Make room for vectors that wait; FAISS makes its own."""
        if self._waiting is not None:
            self._waiting.reserve(min(more, self.kind.training_rows))

    def add(self, rows: Rows) -> None:
        """Append vectors (n, d)."""
        if self._waiting is None:
            self._index.add(np.ascontiguousarray(rows))
            return
        self._waiting.add(rows)
        if len(self._waiting) >= self.kind.training_rows:
            self._index, self._waiting = self._lists(self._waiting.rows), None

    def search(self, queries: Rows, k: int, exact: bool = False) -> tuple[Rows, Positions]:
        """Return scores (q, k), the highest first, and positions (q, k)."""
        if self._waiting is not None:
            return self._waiting.search(queries, k)
        queries = np.ascontiguousarray(queries)
        scores, positions = self._search(queries, k, exact)
        lacking = (positions < 0).any(axis=1)  # the lists or the part of the graph that were looked at held fewer
        if lacking.any():
            scores[lacking], positions[lacking] = self._search(queries[lacking], k, exact=True)
        return scores, positions

    def _search(self, queries: Rows, k: int, exact: bool) -> tuple[Rows, Positions]:
        kind, index, parameters = self.kind, self._index, None
        if kind.name == Kind.IVF:
            probes = kind.lists if exact else kind.probes_for(k, len(self))
            parameters = self._faiss.SearchParametersIVF(nprobe=probes)
        elif exact:
            index = index.storage  # the graph's vectors, flat
        else:
            parameters = self._faiss.SearchParametersHNSW(efSearch=kind.breadth_for(k))
        found: tuple[Rows, Positions] = index.search(queries, k, params=parameters)
        return found

    def write(self, stream: IO[bytes]) -> None:
        """Write the index in FAISS's format, or the vectors that wait in NumPy's."""
        if self._waiting is not None:
            self._waiting.write(stream)
            return
        index = self._index if self._resources is None else self._faiss.index_gpu_to_cpu(self._index)
        self._faiss.write_index(index, self._faiss.PyCallbackIOWriter(stream.write, STREAM))

    def read(self, stream: IO[bytes]) -> None:
        """Read vectors that wait into a store that is empty."""
        if self._waiting is not None:
            self._waiting.read(stream)

    def take(self, index: Any) -> None:
        """Become an index that was read from a file."""
        self._index, self._waiting = self._on_device(index), None

    # --- the kinds --------------------------------------------------------------------------------------------------

    def _graph(self) -> Any:
        faiss, d, links, metric = self._faiss, self.dimension, self.kind.links, self._faiss.METRIC_INNER_PRODUCT
        if self.half:
            graph = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_fp16, links, metric)
        else:
            graph = faiss.IndexHNSWFlat(d, links, metric)
        graph.hnsw.efConstruction = self.kind.build_breadth
        return graph

    def _lists(self, rows: Tensor) -> Any:
        """Learn the lists from vectors, and sort these into them."""
        faiss, d, metric = self._faiss, self.dimension, self._faiss.METRIC_INNER_PRODUCT
        cells = faiss.IndexFlatIP(d)
        if self.half:
            half = faiss.ScalarQuantizer.QT_fp16
            lists = faiss.IndexIVFScalarQuantizer(cells, d, self.kind.lists, half, metric, False)
        else:
            lists = faiss.IndexIVFFlat(cells, d, self.kind.lists, metric)
        lists = self._on_device(lists)
        lists.train(rows.float().numpy())
        for some in rows.split(max(1, CHUNK_BYTES // (4 * d))):
            lists.add(some.float().numpy())
        return lists

    def _on_device(self, index: Any) -> Any:
        """Return the index where it shall be searched."""
        if self._resources is None:
            return index
        options = self._faiss.GpuClonerOptions()
        options.useFloat16 = self.half
        return self._faiss.index_cpu_to_gpu(self._resources, 0, index, options)


Store = ExactStore | FaissStore


def open_store(dimension: int, kind: IndexKind, half: bool, gpu: bool) -> Store:
    """Return an empty store of a kind."""
    if kind.name == Kind.FLAT:
        return ExactStore(dimension, half, torch_device(gpu))
    return FaissStore(dimension, kind, half, gpu)


def read_store(stream: IO[bytes], file: str, dimension: int, kind: IndexKind, half: bool, gpu: bool) -> Store:
    """Return a store of what was written into ``file``; every index was FAISS's once, flat ones too.

    Raises:
        BackendError: if it is in FAISS's format, and FAISS is not installed.
    """
    faiss = load_faiss(f"{file}, which is in FAISS's format,") if file.endswith(".faiss") else None
    store = open_store(dimension, kind, half, gpu)
    if faiss is None:
        store.read(stream)
        return store
    index = faiss.read_index(faiss.PyCallbackIOReader(stream.read, STREAM))
    if isinstance(store, FaissStore) and (hasattr(index, "nlist") or hasattr(index, "hnsw")):
        store.take(index)
    else:
        for start in range(0, index.ntotal, VECTORS):
            store.add(index.reconstruct_n(start, min(VECTORS, index.ntotal - start)))
    return store
