"""``EmbeddingStore``: the vectors of a data set on disk, with what there is of its images."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, empty_on_host, to_device, to_host, to_torch
from fdgpu.checks import check_kind, check_whole, shown
from fdgpu.described import Described
from fdgpu.errors import InputError
from fdgpu.files import UNFINISHED, unwritable
from fdgpu.findings import Split
from fdgpu.rows import Rows, TensorRows
from fdgpu.store.manifest import KINDS, SHARD_ROWS, Complete, Manifest
from fdgpu.store.shard import Floating, Floats, Shard, Vectors, texts
from fdgpu.store.writing import Piece, Writer, writing

SHARD = re.compile(r"(\d{5,})\.parquet")
COLUMNS = ("label", "split", "group", "skipped")
HELD = 1 << 28  # bytes of vectors up to which they are held on the host; on a device it is a quarter of what is free
READERS = 2  # threads that read blocks ahead: one alone does not fill the way from memory to memory
REUSED = READERS + 2  # blocks: read ahead, in use, and the one before, which may be held for a moment
UNIT = 1e-2  # how far the length of a unit vector may be off; half precision alone makes 1e-3
Ints = NDArray[np.int64]


class EmbeddingStore(Described):
    """Vectors of images in a folder of Parquet files, with their ids, labels, splits, groups and skip reasons.

    ``fdgpu embed`` and :func:`fdgpu.audit` write it; :meth:`create` and :meth:`append` do for vectors that are there
    already. It is read by whatever reads Parquet, and by :meth:`rows` block by block, without ever being whole in
    memory.

    Attributes:
        path: the folder.
        manifest: what it is of.
        shards: its files, in order.

    Example:
        >>> store = EmbeddingStore.create(tmp_path / "store", dimension=2, shard_rows=2)
        >>> store.append(["a", "b", "c"], np.eye(3, 2), labels=["cat", "dog", "cat"], splits=["val"] * 3)
        >>> len(store), store.rows().shape, store.labels.to_pylist()
        (3, (3, 2), ['cat', 'dog', 'cat'])
        >>> sorted(file.name for file in store.path.iterdir())
        ['00000.parquet', '00001.parquet', '_manifest.json']
    """

    def __init__(self, path: str | Path, manifest: Manifest) -> None:
        self.path, self.manifest = Path(path), manifest

    def _described(self) -> dict[str, object]:
        kept = self.manifest
        return {"path": str(self.path), "images": len(self), "dimension": kept.dimension, "precision": kept.precision}

    @classmethod
    def open(cls, path: str | Path) -> EmbeddingStore:
        """Open a store.

        Raises:
            InputError: if there is none, or a shard was cut off or is of another run.
        """
        store = cls(path, Manifest.read(Path(path)))
        _ = store.shards
        return store

    @classmethod
    def create(
        cls,
        path: str | Path,
        dimension: int,
        precision: str = "float32",
        *,
        model: str = "",
        fingerprint: str = "",
        preprocessing: str = "",
        shard_rows: int = SHARD_ROWS,
    ) -> EmbeddingStore:
        """Make an empty store, in a folder that is new or empty.

        Args:
            path: of the folder.
            dimension: numbers of a vector.
            precision: ``"float32"``, or ``"float16"`` for unit vectors.
            model: that makes the vectors, as reports show it.
            fingerprint: of its weights.
            preprocessing: of images.
            shard_rows: images of a shard.

        Raises:
            InputError: for a folder that holds anything or cannot be written, or another precision.
        """
        if precision not in KINDS:
            raise InputError(f"precision is {shown(precision)}: pass one of {', '.join(KINDS)}")
        about = {"model": model, "fingerprint": fingerprint, "preprocessing": preprocessing}
        sizes = {
            "dimension": check_whole(dimension, "dimension", 1),
            "shard_rows": check_whole(shard_rows, "shard_rows", 1),
        }
        manifest = Manifest.model_validate({"precision": precision, **about, **sizes})
        manifest.check()
        return cls.begin(Path(path), manifest)

    @classmethod
    def begin(cls, path: Path, manifest: Manifest) -> EmbeddingStore:
        """Write the manifest of an empty store; see :meth:`create`."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            others = [one.name for one in path.iterdir() if not one.name.endswith(UNFINISHED)]
        except OSError as error:
            raise unwritable(path, error) from None
        if others:
            raise InputError(f"{path} holds {shown(others[0])} and is no store: choose a folder that is new or empty")
        manifest.write(path)
        return cls(path, manifest)

    # --- what is there ------------------------------------------------------------------------------------------------

    @cached_property
    def shards(self) -> list[Shard]:
        """The files of the store, whose footers were read."""
        found = sorted((int(match[1]), one) for one in self.path.iterdir() if (match := SHARD.fullmatch(one.name)))
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda one: Shard.at(one[1], self.manifest.run), found))

    def refresh(self) -> None:
        """Forget what was read of the folder: shards came or went."""
        self.manifest = Manifest.read(self.path)
        for name in ("shards", "vectors", "starts", *COLUMNS, "ids"):
            self.__dict__.pop(name, None)

    @cached_property
    def vectors(self) -> list[Vectors]:
        """Where the vectors of each shard are."""
        return [Vectors(shard, self.manifest.dimension, self.manifest.kind) for shard in self.shards]

    @cached_property
    def starts(self) -> Ints:
        """(shards + 1,) first row of each shard."""
        return np.cumsum([0, *(shard.n for shard in self.shards)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of all images, as their shards have it."""
        parts = [shard.columns([name]).column(0) for shard in self.shards]
        kind = None if parts else pa.int64() if name == "picture" else pa.string()
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], type=kind)

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """(n,) ids."""
        return self.column("id")

    @property
    def labels(self) -> pa.ChunkedArray:
        """(n,) labels as text, null where there is none: a class name, the number of one, or a JSON list of 0 and 1."""
        return self.column("label")

    def rows_of(self, ids: Sequence[str]) -> Ints:
        """Return the rows of images by their ids.

        Raises:
            InputError: for an image that the store does not have.
        """
        found = pc.index_in(texts(ids), value_set=self.ids.combine_chunks())
        if found.null_count:
            row = int(np.flatnonzero(np.asarray(found.is_null()))[0])
            raise InputError(
                f"{self.path} has no vector of {shown(ids[row])} ({found.null_count} of {len(ids)} images lack one): "
                "embed them with fdgpu embed, or pass the images of the store"
            )
        return np.asarray(found).astype(np.int64)

    def labels_of(self, rows: Ints) -> list[object]:
        """Return the labels of some images as they came: names, ids, or lists of 0 and 1; None where there is none."""
        text = shared_texts(self.labels.combine_chunks().take(pa.array(rows)))
        as_json = np.repeat([shard.about.get("labels") == "json" for shard in self.shards], np.diff(self.starts))
        return [
            json.loads(one) if one is not None and as_json[row] else one for one, row in zip(text, rows, strict=True)
        ]

    @property
    def splits(self) -> pa.ChunkedArray:
        """(n,) train, val or test, null where nobody said."""
        return self.column("split")

    @property
    def groups(self) -> pa.ChunkedArray:
        """(n,) ids of images that belong together, null where nobody said."""
        return self.column("group")

    @property
    def skipped(self) -> pa.ChunkedArray:
        """(n,) why an image has no vector, null where it has one."""
        return self.column("skipped")

    def rows(self, device: str | torch.device = "cpu") -> StoredRows:
        """Return the vectors (n, d) block by block, on a device; those of skipped images are zero."""
        return StoredRows(self, torch.device(device))

    def check(self) -> None:
        """Read everything, and compare the vectors with those that pyarrow reads and with those that were written.

        Raises:
            InputError: names a shard that is damaged.
        """
        manifest = self.manifest
        for shard, vectors in zip(self.shards, self.vectors, strict=True):
            every, fast, plain = np.arange(shard.n), *np.empty((2, shard.n, manifest.dimension), manifest.kind)
            if shard.n:
                vectors.read(every, fast)
                vectors.read_by_parquet(every, plain)
            whole = shard.columns(shard.footer.schema.to_arrow_schema().names).num_rows == shard.n
            written = shard.about.get("vectors") in (None, sha256(fast.data).hexdigest())
            if not (whole and written and np.array_equal(fast, plain) and np.isfinite(fast).all()):
                raise InputError(
                    f"{shard.path} is damaged: delete the file, and run again; its images are embedded anew"
                )
        self.check_complete()

    def check_complete(self) -> None:
        """Check that a store that was complete still is: a shard may have been deleted.

        Raises:
            InputError: for a store that lacks images.
        """
        complete = self.manifest.complete
        if complete is not None and complete.images != len(self):
            raise InputError(
                f"{self.path} was complete with {complete.images:,} images, and has {len(self):,}: embed the others "
                "with fdgpu embed"
            )

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(
        self,
        ids: Sequence[str],
        vectors: Array,
        *,
        labels: Sequence[object] | None = None,
        splits: Sequence[str | None] | None = None,
        groups: Sequence[object] | None = None,
        skipped: Sequence[str | None] | None = None,
    ) -> None:
        """Write vectors that are there, in shards of their own.

        Args:
            ids: n names, none of which is in the store.
            vectors: (n, d) floats, on any device; unit vectors where the store is of half precision.
            labels: n class names or ids, or rows (k,) of 0 and 1.
            splits: n of "train", "val" and "test".
            groups: n ids of images that belong together.
            skipped: n reasons why an image has no vector, None where it has.

        Raises:
            InputError: for entries that do not fit together, vectors that the precision does not hold, an id that is
                there, or another writer.
        """
        nothing: list[None] = [None] * len(ids)
        given = {"labels": labels, "splits": splits, "groups": groups, "skipped": skipped}
        columns: dict[str, Any] = {name: nothing if column is None else list(column) for name, column in given.items()}
        for name, column in columns.items():
            if len(column) != len(ids):
                raise InputError(f"{name} has {len(column)} entries, ids has {len(ids)}: pass one an image")
        _check_text(ids, "ids")
        _check_text([reason for reason in columns["skipped"] if reason is not None], "skipped")
        odd = next((one for one in columns["splits"] if one is not None and one not in list(Split)), None)
        if odd is not None:
            raise InputError(f"splits holds {shown(odd)}: use {', '.join(Split)}, or None")
        there = torch.tensor([reason is None for reason in columns["skipped"]], dtype=torch.bool)
        rows = _checked_rows(vectors, self.manifest, len(ids), there)
        with writing(self.path):
            self.refresh()
            _refuse_twice(ids, self)
            self.mark(None)
            with closing(self.writer()) as writer:
                writer.add(Piece(list(ids), rows, **columns, treated=nothing, stamps=nothing, pictures=None))
                writer.finish()
        self.refresh()

    def mark(self, complete: Complete | None) -> None:
        """Write into the manifest that all images are there, or that others come."""
        if complete != self.manifest.complete:
            self.manifest = self.manifest.model_copy(update={"complete": complete})
            self.manifest.write(self.path)

    def writer(self, answers: str = "") -> Writer:
        """Return what writes further shards; see :class:`Writer`."""
        return Writer(self.path, self.manifest, [int(shard.path.stem) for shard in self.shards], answers)


def shared_texts(column: pa.Array) -> list[str | None]:
    """Return a column of text as a list, in which equal entries are one object: few names, and many images."""
    coded = column.dictionary_encode()
    names = [*coded.dictionary.to_pylist(), None]
    return [names[code] for code in np.asarray(coded.indices.fill_null(len(names) - 1)).tolist()]


def _check_text(entries: Sequence[object], name: str) -> None:
    odd = next((entry for entry in entries if not isinstance(entry, str)), "")
    check_kind(odd, name, isinstance(odd, str), "text")


def _refuse_twice(ids: Sequence[str], store: EmbeddingStore) -> None:
    own = set(ids)
    if len(own) < len(ids):
        raise InputError("ids has an id twice: give every image an id of its own")
    for shard in store.shards:
        there = own.intersection(shard.columns(["id"]).column(0).to_pylist())
        if there:
            raise InputError(f"{shown(min(there))} is in {store.path} already: append images that are new")


def _checked_rows(vectors: Array, manifest: Manifest, n: int, there: torch.Tensor) -> torch.Tensor:
    """Return vectors in the precision of a store, zeros where there is none."""
    rows = to_torch(vectors, "vectors")
    if rows.shape != (n, manifest.dimension):
        raise InputError(
            f"vectors has shape {tuple(rows.shape)}: pass ({n}, {manifest.dimension}), one row for each id"
        )
    if not rows.is_floating_point():
        raise InputError(f"vectors is of type {rows.dtype}: pass floating-point numbers")
    wide = rows.float().masked_fill(~to_device(there, rows.device)[:, None], 0.0)
    kept = wide.to(manifest.dtype)
    finite, lengths = kept.isfinite().all(dim=1), torch.linalg.vector_norm(wide, dim=1)
    far = ((lengths - 1).abs() > UNIT) & (lengths > 0) if manifest.precision == "float16" else ~finite
    odd = to_host(torch.stack([~finite, far]), "vectors that cannot be stored")
    if odd[0].any():
        raise InputError(
            f"vectors holds NaN, infinity or what {manifest.precision} does not hold in row {int(odd[0].argmax())}: "
            "scale the vectors, or leave the row out"
        )
    if odd[1].any():
        raise InputError(
            f"vectors is no unit vector in row {int(odd[1].argmax())}, and the store is of half precision: divide each "
            "row by its length, or make a store of precision float32"
        )
    return kept


def held_bytes(device: torch.device) -> int:
    """Return how many bytes of vectors may be held where they are used."""
    return int(torch.cuda.mem_get_info(device)[0]) // 4 if device.type == "cuda" else HELD


class StoredRows(Rows):
    """The vectors of a store: they are read when they are asked for, and a block ahead of the device."""

    finite = True  # they were when they were written

    def __init__(self, store: EmbeddingStore, device: torch.device) -> None:
        manifest = store.manifest
        self.store, self.device = store, device
        self.shape = (len(store), manifest.dimension)
        self.dtype, self._kind = manifest.dtype, manifest.kind
        self._parts = store.vectors

    def take(self, rows: Ints) -> torch.Tensor:
        """Return some rows (m, d)."""
        return to_device(self.read(rows), self.device)

    def blocks(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all rows, ``size`` at a time; threads read the next ones while a block is worked on."""
        spans = (np.arange(start, min(start + size, len(self))) for start in range(0, len(self), size))
        memory = _Memory(self.shape[1], self._kind)
        with ThreadPoolExecutor(READERS) as pool:
            ahead = [pool.submit(self.read, span, memory) for span in islice(spans, READERS)]
            while ahead:
                block = to_device(ahead.pop(0).result(), self.device)
                ahead += [pool.submit(self.read, span, memory) for span in islice(spans, 1)]
                yield block
                del block  # whose memory is free then, unless it is held elsewhere

    def held(self, at: Ints) -> Rows:
        """Return some rows as a tensor where they are few, else as what reads them."""
        if len(at) * self.shape[1] * self.dtype.itemsize <= held_bytes(self.device):
            return TensorRows(self.take(at), finite=True)
        return self if np.array_equal(at, np.arange(len(self))) else self.chosen(at)

    def read(self, rows: Ints, memory: _Memory | None = None) -> torch.Tensor:
        """Read some rows into memory of the host.

        Raises:
            IndexError: for a row that there is not.
        """
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows go from {rows.min()} to {rows.max()}, and there are {len(self)}: count from 0")
        out = (memory or _Memory(self.shape[1], self._kind)).rows(len(rows))
        into = out.numpy()
        ascending = bool((np.diff(rows) > 0).all())
        order = None if ascending else np.argsort(rows, kind="stable")
        ordered = rows if order is None else rows[order]
        starts = self.store.starts
        begins, ends = np.searchsorted(starts, ordered[[0, -1]], "right") - 1 if len(rows) else (0, -1)
        bounds = np.searchsorted(ordered, starts[begins : ends + 2])
        for k, first, last in zip(range(begins, ends + 1), bounds, bounds[1:], strict=False):
            if first == last:
                continue
            part, local = self._parts[k], ordered[first:last] - starts[k]
            if order is None:
                part.read(local, into[first:last])
            else:
                distinct, again = np.unique(local, return_inverse=True)
                got = np.empty((len(distinct), self.shape[1]), into.dtype)
                part.read(distinct, got)
                into[order[first:last]] = got[again]
        return out


class _Memory:
    """Memory on the host for blocks of rows, used again when nobody holds what it was used for.

    To touch memory for the first time takes longer than to read into it; NumPy's, whose pages are large, a quarter of
    the time of torch's. Where CUDA runs, it is torch's own pinned memory, which torch uses again.
    """

    def __init__(self, dimension: int, kind: Floating) -> None:
        self.dimension, self.kind = dimension, kind
        self._arrays: list[Floats] = []
        self._one = threading.Lock()  # of the readers, who may not find the same memory free

    def rows(self, n: int) -> torch.Tensor:
        """Return (n, d), which hold anything."""
        if torch.cuda.is_initialized():
            return empty_on_host((n, self.dimension), torch.from_numpy(np.empty(0, self.kind)).dtype)
        with self._one:
            for at in range(len(self._arrays)):  # of one that is free the references are the list's and the call's
                if sys.getrefcount(self._arrays[at]) == 2 and len(self._arrays[at]) >= n:
                    return torch.from_numpy(self._arrays[at][:n])
            self._arrays = [*self._arrays[1 - REUSED :], np.empty((n, self.dimension), self.kind)]
            return torch.from_numpy(self._arrays[-1][:n])
