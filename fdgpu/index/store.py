"""Unit vectors in a FAISS index, by position: added in chunks, searched by inner product."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from fdgpu.index.exact import AT_LEAST, nearest
from fdgpu.index.kinds import IndexKind

Rows = NDArray[np.float32]
CHUNK_BYTES = 1 << 26  # of vectors that move from the flat index to the lists at a time


class Store:
    """A FAISS index of one kind, on the host or on a GPU.

    Inverted lists have to be learned from vectors: until ``kind.training_rows`` of them have come they are kept flat,
    and searched exactly.

    Rows and queries come from the host and go back there, also for an index on a GPU: a million vectors of 512 are
    2 GB, which a PCIe bus moves in a tenth of a second, and which took minutes to encode.

    Args:
        dimension: length d of the vectors.
        kind: what to become.
        half: keep float16, half the memory; scores then differ by about 1e-4.
        gpu: keep it on the first GPU.
    """

    def __init__(self, dimension: int, kind: IndexKind, half: bool, gpu: bool) -> None:
        self.kind, self.half = kind, half
        self._resources = faiss.StandardGpuResources() if gpu else None
        self._index = self._placed(self._graph(dimension) if kind.name == "hnsw" else self._flat(dimension))

    @classmethod
    def of(cls, index: Any, kind: IndexKind, half: bool, gpu: bool) -> Store:
        """Take over an index that was read from a file."""
        store = cls(index.d, kind, half, gpu)
        store._index = store._placed(index)
        return store

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return int(self._index.d)

    @property
    def on_host(self) -> Any:
        """The FAISS index, brought to the host."""
        return self._index if self._resources is None else faiss.index_gpu_to_cpu(self._index)

    def add(self, rows: Rows) -> None:
        """Append vectors (n, d)."""
        self._index.add(np.ascontiguousarray(rows))
        if self.kind.name == "ivf" and not self._in_lists and len(self) >= self.kind.training_rows:
            self._sort_into_lists()

    def reserve(self, rows: int) -> None:
        """Make room for so many vectors at once: a flat index that grows by doubling holds its vectors twice."""
        if self.kind.name == "ivf":
            rows = min(rows, self.kind.training_rows)
        codes = getattr(self._index, "codes", None)
        if codes is not None and not len(self):
            codes.resize(rows * self._index.code_size)
            codes.clear()  # the room stays

    def search(self, queries: Rows, k: int, exact: bool = False) -> tuple[Rows, NDArray[np.int64]]:
        """Return scores (q, k), the highest first, and positions (q, k)."""
        queries = np.ascontiguousarray(queries)
        scores, positions = self._search(queries, k, exact)
        lacking = (positions < 0).any(axis=1)  # the lists or the part of the graph that were looked at held fewer
        if lacking.any():
            scores[lacking], positions[lacking] = self._search(queries[lacking], k, exact=True)
        return scores, positions

    def _search(self, queries: Rows, k: int, exact: bool) -> tuple[Rows, NDArray[np.int64]]:
        kind, index, parameters = self.kind, self._index, None
        if self._in_lists:
            probes = kind.lists if exact else kind.probes_for(k, len(self))
            parameters = faiss.SearchParametersIVF(nprobe=probes)
        elif kind.name == "hnsw" and exact:
            index = index.storage
        elif kind.name == "hnsw":
            parameters = faiss.SearchParametersHNSW(efSearch=kind.breadth_for(k))
        if parameters is None and len(queries) >= AT_LEAST and hasattr(index, "get_xb"):
            return nearest(queries, _vectors(index), k)
        found: tuple[Rows, NDArray[np.int64]] = index.search(queries, k, params=parameters)
        return found

    # --- the kinds --------------------------------------------------------------------------------------------------

    @property
    def _in_lists(self) -> bool:
        return hasattr(self._index, "nlist")

    def _flat(self, d: int) -> Any:
        if self.half and self._resources is None:
            return faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        return faiss.IndexFlatIP(d)

    def _graph(self, d: int) -> Any:
        if self.half:
            graph = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_fp16, self.kind.links, faiss.METRIC_INNER_PRODUCT)
        else:
            graph = faiss.IndexHNSWFlat(d, self.kind.links, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = self.kind.build_breadth
        return graph

    def _lists(self, d: int) -> Any:
        cells = faiss.IndexFlatIP(d)
        if self.half:
            half = faiss.ScalarQuantizer.QT_fp16
            return faiss.IndexIVFScalarQuantizer(cells, d, self.kind.lists, half, faiss.METRIC_INNER_PRODUCT, False)
        return faiss.IndexIVFFlat(cells, d, self.kind.lists, faiss.METRIC_INNER_PRODUCT)

    def _sort_into_lists(self) -> None:
        flat, lists = self._index, self._placed(self._lists(self.dimension))
        lists.train(flat.reconstruct_n(0, len(self)))
        for start, count in _chunks(len(self), self.dimension):
            lists.add(flat.reconstruct_n(start, count))
        self._index = lists

    def _placed(self, index: Any) -> Any:
        """Return the index where it shall be searched."""
        if self._resources is None:
            return index
        options = faiss.GpuClonerOptions()
        options.useFloat16 = self.half
        return faiss.index_cpu_to_gpu(self._resources, 0, index, options)


def _vectors(flat: Any) -> Rows:
    """Return what a flat index on the host holds (n, d), without a copy."""
    return np.asarray(faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d)).reshape(flat.ntotal, flat.d)


def _chunks(rows: int, dimension: int) -> Iterator[tuple[int, int]]:
    step = max(1, CHUNK_BYTES // (4 * dimension))
    return ((start, min(step, rows - start)) for start in range(0, rows, step))
