"""``VectorIndex``: unit vectors with names, searched by inner product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import Array, restorer, to_device, to_host, to_numpy
from fdgpu.checks import check_name, check_seed, check_whole
from fdgpu.described import Described
from fdgpu.device import choose_index_backend, free_bytes, has_faiss
from fdgpu.errors import InputError
from fdgpu.files import expect
from fdgpu.index.exact import Found
from fdgpu.index.given_rows import Chain, RowIds, batches, check_k, check_names, check_rows, check_unit_rows, moved
from fdgpu.index.index_file import read_file, write_file
from fdgpu.index.kinds import IndexKind, Kind, check_backend, check_kind
from fdgpu.index.stores import FITS, Store, open_store, store_device

DTYPES = ("float32", "float16")
CHUNK = 1 << 16  # rows that are stored at a time
TIE = 1e-6  # of score: captions that read alike have one vector up to rounding, and either may be found


class Neighbours(NamedTuple):
    """``scores`` (q, k), and ``ids`` (q, k): the rows of the vectors they belong to, in the order they were added."""

    scores: Array
    ids: Array


class VectorIndex(Described):
    """Unit vectors with names: the K images nearest to a caption, or the captions nearest to an image.

    Vectors come all at once, or in chunks by :meth:`add`; names are looked up and never copied, so that a grammar
    stands for its captions however many they are. An exact search is torch's; lists and graphs are FAISS's, which is
    optional: ``pip install 'fdgpu[index]'``.

    Example:
        >>> photos = VectorIndex([[1.0, 0.0], [0.0, 1.0]], ["cat.png", "dog.png"])
        >>> photos.names_of(photos.search([[0.1, 0.9]], 1).ids)
        [['dog.png']]

    Args:
        embeddings: (n, d) unit vectors: torch, NumPy, CuPy or JAX. None if they come by :meth:`add`.
        names: n strings, such as the paths of images. Without ``embeddings``: those of the rows to come.
        kind: ``"auto"`` chooses by size, ``"flat"``, ``"ivf"`` or ``"hnsw"``, or an :class:`IndexKind` of your own.
        expected: how many vectors there will be, which the choice goes by; default as many as there are names.
        dtype: ``"float32"``, or ``"float16"`` for half the memory; scores then differ by about 1e-4.
        backend: ``"auto"``, ``"cpu"`` or ``"gpu"``; one asked for by name runs or raises.

    Attributes:
        names: the names of all rows.
        kind_: the :class:`IndexKind` that was chosen, and why; None before the first vectors.
        backend_, backend_reason_: where it runs, and why.

    Raises:
        InputError: for embeddings that do not go with the names, are not finite or not of unit length, or settings
            that are not known.
        BackendError: if the GPU was asked for and cannot be used, or lists or a graph without FAISS.
    """

    _names_are = "names"
    _own_names: tuple[str, ...] = ()  # of vectors that a subclass keeps

    def __init__(
        self,
        embeddings: Array = None,
        names: Sequence[str] | None = None,
        *,
        kind: str | IndexKind = "auto",
        expected: int | None = None,
        dtype: str = "float32",
        backend: str = "auto",
    ) -> None:
        check_name(dtype, "dtype", DTYPES)
        expected = None if expected is None else check_whole(expected, "expected", 1)
        chosen = choose_index_backend(backend)
        self.backend_, self.backend_reason_ = chosen.name, chosen.reason
        self._by_name = backend == chosen.name
        self._kind, self._expected, self._half = check_kind(kind), expected, dtype == "float16"
        self._store: Store | None = None
        self._ids, self._seen = RowIds(), 0
        self.names = Chain()
        if embeddings is not None:
            self.add(embeddings, names)
        elif names is not None:
            self.names.append(check_names(names, self._names_are))

    # --- adding -----------------------------------------------------------------------------------------------------

    def add(self, embeddings: Array, names: Sequence[str] | None = None) -> Self:
        """Add the next rows.

        Inverted lists are learned from the first ``kind_.training_rows`` rows: where rows come in several chunks and
        their order means something, shuffle them.

        Args:
            embeddings: (n, d) unit vectors.
            names: n strings. None where the index knows the names of the rows to come.

        Raises:
            InputError: for rows that do not go with the names, are not finite or not of unit length; nothing is added.
        """
        rows = check_unit_rows(embeddings, "embeddings", self.dimension)
        if names is None:
            self._check_room(len(rows))
        else:
            names = self._checked_names(names, len(rows))
        self._open(rows, len(rows)).reserve(len(rows))
        kept = self._kept(rows)
        for blocks in batches(len(rows), CHUNK, shuffled=self._shuffled):
            some = torch.cat([rows[block.start : block.stop] for block in blocks])
            ids = [range(self._seen + block.start, self._seen + block.stop) for block in blocks]
            self._add(some, ids, None if kept is None else np.concatenate([kept[b.start : b.stop] for b in blocks]))
        self._seen += len(rows)
        if names is not None:
            self.names.append(names)
        return self

    def _checked_names(self, names: Sequence[str], rows: int) -> Sequence[str]:
        listed = check_names(names, self._names_are)
        if len(listed) != rows:
            raise InputError(f"{self._names_are} has {len(listed)} entries, embeddings has {rows} rows: pass one a row")
        if self._seen < len(self.names):
            raise InputError(
                f"the index waits for the rows of {len(self.names) - self._seen} {self._names_are} that it was made "
                "with: add those first, without naming them again"
            )
        return listed

    def _check_room(self, rows: int) -> None:
        left = len(self.names) - self._seen
        if rows > left:
            raise InputError(
                f"embeddings has {rows} rows, the index has {self._names_are} for {left}: pass {self._names_are}, "
                "one a row"
            )

    def _add(self, rows: Tensor, blocks: Sequence[range], kept: NDArray[np.bool_] | None) -> None:
        """Store those of some rows that are ``kept`` (n,), or all; their ids are those of the blocks, in order."""
        if kept is not None and not kept.all():
            rows = rows[to_device(np.flatnonzero(kept), rows.device)]
        self._opened.add(self._stored(moved(rows, self._opened.device)))
        for block in blocks:
            self._ids.append(block.start, np.ones(len(block), bool) if kept is None else kept[: len(block)])
            kept = None if kept is None else kept[len(block) :]

    def _kept(self, rows: Tensor) -> NDArray[np.bool_] | None:  # noqa: ARG002 - a subclass leaves some out
        """Return which rows (n,) are stored; None for all of them."""
        return None

    def _stored(self, rows: Tensor) -> Tensor:
        """Return the vectors that are stored for rows."""
        return rows

    def _open(self, rows: Tensor, count: int) -> Store:
        """Return the store, making it when the first rows have come, ``count`` of them for now."""
        if self._store is None:
            count, dimension = self._expected or max(count, len(self.names)), rows.shape[1]
            device = self._device(rows, count * dimension * (2 if self._half else 4))
            gpu, kind = device.type != "cpu", self._kind
            if not isinstance(kind, IndexKind):
                kind = IndexKind.choose(kind, count, dimension, gpu, faiss=has_faiss())
            self._store = open_store(dimension, check_backend(kind, gpu), self._half, device)
            self._kind = kind
        return self._store

    def _device(self, rows: Tensor | None, size: int) -> torch.device:
        """Return where vectors of so many bytes are kept; a GPU that was not asked for by name has to hold them."""
        device = store_device(self.backend_ == "gpu", rows)
        if device.type != "cpu" and not self._by_name and size > FITS * (free := free_bytes(device)):
            self.backend_ = "cpu"
            self.backend_reason_ = (
                f"auto: {size / 1e9:.1f} GB of vectors for {free / 1e9:.1f} GB that {device} has free"
            )
            return torch.device("cpu")
        return device

    @property
    def _opened(self) -> Store:
        """The store, once there are vectors."""
        assert self._store is not None  # noqa: S101 - whoever asks has opened it, or counted what it holds
        return self._store

    @property
    def _shuffled(self) -> bool:
        """Whether rows are stored in shuffled blocks: lists are learned from the first that come."""
        return self.kind_ is not None and self.kind_.name != Kind.FLAT

    # --- searching --------------------------------------------------------------------------------------------------

    def search(self, queries: Array, k: int, *, exact: bool = False) -> Neighbours:
        """Find the vectors of the largest inner product with each query.

        Args:
            queries: (q, d), of any length: the score is the inner product.
            k: how many for each, at most ``len(index)``.
            exact: look at every vector, with lists and graphs too.

        Returns:
            ``scores`` (q, k) float32, the highest first, and ``ids`` (q, k) int64, of the queries' kind of array.

        Raises:
            InputError: for queries of another dimension or with NaN, k larger than the index, or an empty index.
        """
        scores, ids = self._search(*self._checked(queries, k), exact)
        restore = restorer(queries)
        return Neighbours(restore(scores), restore(ids))

    def recall(self, queries: Array, k: int) -> float:
        """Return the share of the true k nearest that :meth:`search` finds, over all queries, by an exact search."""
        rows, k = self._checked(queries, k)
        found, _ = self._search(rows, k, False)
        true, _ = self._search(rows, k, True)
        tie = TIE * torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return float(to_host((found >= true[:, -1:] - tie).double().mean(), "the recall of an index"))

    def _checked(self, queries: Array, k: int, name: str = "queries") -> tuple[Tensor, int]:
        checked = check_k(k, len(self), gpu=self.backend_ == "gpu" and self._shuffled)
        return moved(check_rows(queries, name, self.dimension), self._opened.device).float(), checked

    def _search(self, queries: Tensor, k: int, exact: bool) -> Found:
        scores, positions = self._opened.search(queries, k, exact)
        return scores, self._ids.ids(positions)

    def names_of(self, ids: Array) -> list[Array]:
        """Return the names of ids, in (nested) lists of their shape; a name is looked up once for all its places."""
        wanted = to_numpy(ids, "ids")
        inside = wanted.dtype.kind in "iu" and not ((wanted < 0) | (wanted >= len(self.names))).any()
        if wanted.size and not inside:
            raise InputError(f"ids holds numbers that are no ids: pass whole numbers from 0 to {len(self.names) - 1}")
        once, inverse = np.unique(wanted, return_inverse=True)
        listed = [self.names[i] for i in once.tolist()]
        names: list[Array] = np.array(listed, dtype=object)[inverse].reshape(wanted.shape).tolist()
        return names

    def sample(self, count: int, seed: int = 0) -> NDArray[np.int64]:
        """Return ids (count,) of vectors drawn at random without replacement, the same for the same seed."""
        count = check_k(count, len(self))
        positions = np.random.default_rng(check_seed(seed)).choice(len(self), count, replace=False, shuffle=False)
        return self._ids.ids(torch.from_numpy(positions)).numpy()

    # --- storage ----------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write one file: the vectors, the names, and how they go together; see :mod:`fdgpu.index.index_file`.

        A grammar is stored as its template and words, any other sequence name by name.

        Raises:
            InputError: if the index is empty, or the folder cannot be written.
        """
        if self._store is None or not len(self):
            raise InputError("the index is empty: add embeddings before saving it")
        own = {name: getattr(self, name) for name in self._own_names}
        settings = {
            "kind": None if self.kind_ is None else asdict(self.kind_),
            "dtype": DTYPES[self._half],
            "seen": self._seen,
            "runs": self._ids.runs,
            **{name: None if value is None else value.tolist() for name, value in own.items()},
        }
        write_file(self._store, self.names.parts, settings, self._format(), Path(path))

    @classmethod
    def load(cls, path: str | Path, *, backend: str = "auto") -> Self:
        """Read what :meth:`save` wrote, to ``backend``; more can be added to it.

        Raises:
            InputError: if the file is missing, cut short, damaged, or of another kind of index.
            BackendError: if the GPU was asked for and cannot be used, or FAISS is missing that wrote the file.
        """
        device = store_device(choose_index_backend(backend).name == "gpu")
        store, names, manifest = read_file(cls._format(), path, device)
        own: dict[str, Array] = {
            name: np.array(getattr(manifest, name)) for name in cls._own_names if getattr(manifest, name) is not None
        }
        try:
            index = cls(kind=manifest.index_kind, dtype=manifest.dtype, backend=backend, **own)
            expect(index.dimension in (None, manifest.dimension), f"a reference of {manifest.dimension} numbers")
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}): save the index again") from None
        index._store = store
        index._ids, index._seen = RowIds([list(run) for run in manifest.runs], len(store)), manifest.seen
        index.names = Chain(names)
        return index

    @classmethod
    def _format(cls) -> str:
        return f"{cls.__name__}/1"

    # --- what it holds ----------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dimension(self) -> int | None:
        """Length d of the vectors; None before the first."""
        return None if self._store is None else self._store.dimension

    @property
    def kind_(self) -> IndexKind | None:
        """The kind of index, and why; None before the first vectors."""
        return self._kind if self._store is not None and isinstance(self._kind, IndexKind) else None

    def _described(self) -> dict[str, object]:
        kind = {} if self.kind_ is None else {"dimension": self.dimension, "kind": self.kind_.name}
        return {"vectors": len(self), **kind, "backend": str(self.backend_)}
