"""Unit vectors in FAISS's inverted lists or graph, on the host or on a GPU.

FAISS takes torch's tensors here by their addresses, on a GPU on torch's stream: vectors do not pass through the host.
``faiss.contrib.torch_utils`` does the same, but on import it exchanges FAISS's own methods for ones that no longer take
``params``, for every user of FAISS in the process.
"""

from __future__ import annotations

from typing import IO, Any

import torch
from torch import Tensor

from fdgpu.arrays import to_device, to_host
from fdgpu.device import why_no_faiss_gpu
from fdgpu.errors import BackendError
from fdgpu.files import expect
from fdgpu.index.exact_store import ExactStore, Found
from fdgpu.index.kinds import IndexKind, Kind

CHUNK_BYTES = 1 << 26  # of vectors that move into the lists at a time
STREAM = 1 << 22  # bytes at a time to and from a file, so that no second copy of the vectors is held


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


# --- tensors by their addresses -------------------------------------------------------------------------------------


def _floats(rows: Tensor) -> Any:
    import faiss

    return faiss.cast_integer_to_float_ptr(rows.data_ptr())


def _integers(ids: Tensor) -> Any:
    import faiss

    return faiss.cast_integer_to_idx_t_ptr(ids.data_ptr())


def train_index(index: Any, rows: Tensor) -> None:
    """Learn the lists of an index from float32 rows (n, d), contiguous and where the index is."""
    index.train_c(len(rows), _floats(rows))


def add_to_index(index: Any, rows: Tensor) -> None:
    """Append float32 rows (n, d), contiguous and where the index is."""
    index.add_c(len(rows), _floats(rows))


def search_index(index: Any, queries: Tensor, k: int, parameters: Any) -> Found:
    """Return scores and positions (q, k), -1 where fewer were found, of float32 queries (q, d) where the index is."""
    scores = queries.new_empty(len(queries), k)
    positions = torch.empty(len(queries), k, dtype=torch.int64, device=queries.device)
    index.search_c(len(queries), _floats(queries), k, _floats(scores), _integers(positions), parameters)
    return scores, positions


def vectors_of_index(index: Any, positions: Tensor) -> Tensor:
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
        self._index: Any = None
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

    def take(self, index: Any) -> None:
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
        self._on_stream()
        train_index(lists, rows.float())
        for some in rows.split(max(1, CHUNK_BYTES // (4 * d))):
            add_to_index(lists, some.float())
        return lists

    def _on_device(self, index: Any) -> Any:
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
