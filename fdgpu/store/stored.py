"""A store in the place of models: of an embedder, whose vectors it has, and of a classifier, whose answers it keeps."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from fdgpu.device import Placement
from fdgpu.embedding.classifier import KEPT, AnswerPart
from fdgpu.embedding.embedder import Alongside, Embeddings, ImageEmbedder, fingerprint_of
from fdgpu.embedding.given import NamedImages
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.sources import ImageSource
from fdgpu.errors import InputError
from fdgpu.progress import Reporter, silent
from fdgpu.store.embedding_store import EmbeddingStore, Ints, shared_texts
from fdgpu.store.shard import Shard
from fdgpu.store.writing import ANSWERS, AnswerTable, answers_coming, digest_of, write_answers, writing

UNASKED = -1  # as prediction: an image that was not read, or not in the source


class StoredVectors(ImageEmbedder):
    """Stands for the model that made the vectors of a store.

    Args:
        store: of unit vectors, or vectors of any length.
        device: to which they go.
    """

    def __init__(self, store: EmbeddingStore, device: torch.device) -> None:
        manifest = store.manifest
        self.store, self.name, self.dimension = store, manifest.model or "stored vectors", manifest.dimension
        self.batch_size = 256
        self.placement = Placement(
            device, manifest.dtype, f"the vectors come from {store.path.name}", f"the store keeps {manifest.precision}"
        )

    @property
    def preprocessing(self) -> str:
        """What the store says."""
        return self.store.manifest.preprocessing

    def embed(
        self,
        source: object,
        progress: Reporter | None = None,
        stage: str = "embed images",  # noqa: ARG002 - nothing takes long
        *,
        fingerprint: bool = False,
        alongside: Alongside | None = None,
    ) -> Embeddings:
        """Return the vectors of images by their ids.

        Raises:
            InputError: for an image that the store has no vector of.
        """
        images = image_source(source)
        ids = list(images.ids) if images.ids is not None else [sample.id for sample in images.samples()]
        at = self.store.rows_of(ids)
        skipped = self.store.skipped.combine_chunks().take(pa.array(at))
        missing = np.flatnonzero(~np.asarray(skipped.is_null())).tolist()
        made = Embeddings(
            ids,
            self.store.rows(self.placement.device).held(at),
            {ids[row]: skipped[row].as_py() for row in missing},
            self._fingerprint(at) if fingerprint else "",
            labels=list(images.labels) if images.labels is not None else self.store.labels_of(at),
            splits=list(images.splits) if images.splits is not None else [None] * len(ids),
        )
        if alongside is not None:
            asked = StoredAnswers(self.store, alongside, images, progress or silent, self.batch_size)
            alongside.complete([asked.of_images(made, at)])
        pa.default_memory_pool().release_unused()  # of columns of all images
        return made

    def _fingerprint(self, at: Ints) -> str:
        """Return the SHA-256 of the pictures, or of the shards' vectors where nobody saw pictures."""
        every = self.store.column("picture").combine_chunks().take(pa.array(at))
        read = self.store.skipped.combine_chunks().take(pa.array(at)).is_null()
        if not pc.any(pc.and_(every.is_null(), read)).as_py():
            return fingerprint_of(np.asarray(every.drop_null()).astype(np.int64))
        shards = np.unique(np.searchsorted(self.store.starts, at, "right") - 1).tolist()
        vectors = [self.store.shards[k].about.get("vectors") for k in shards]
        return sha256(json.dumps(vectors).encode() + at.tobytes()).hexdigest()


def columns_of_store(
    store: EmbeddingStore, images: object, columns: Mapping[str, Any]
) -> tuple[object, dict[str, Any]]:
    """Take images and columns from a store, where they were not given.

    Raises:
        InputError: for a store that lacks images that it had.
    """
    own = dict(columns)
    if images is not None:
        return images, own
    store.check_complete()
    every = np.arange(len(store))
    if own["labels"] is None:
        own["labels"] = store.labels_of(every)
    if own["splits"] is None and store.splits.null_count < len(store):
        own["splits"] = shared_texts(store.splits.combine_chunks())
    if own["groups"] is None or own["groups"] == "auto":
        own["groups"] = store.groups.combine_chunks() if store.groups.null_count < len(store) else own["groups"]
    return NamedImages(store.column("id").to_pylist()), own


# --- a classifier's answers, in a file for each shard and classifier, so that nothing is asked twice ------------------


@dataclass
class StoredAnswers:
    """A classifier's answers of the images of a store.

    Attributes:
        store: whose images they are.
        alongside: the classifier.
        source: of the images that it is asked about.
        report: is told how many it was asked about.
        batch_size: images at a time.
    """

    store: EmbeddingStore
    alongside: Alongside
    source: ImageSource
    report: Reporter
    batch_size: int

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.store.path / ANSWERS / self.alongside.fingerprint[:16]

    def of_images(self, found: Embeddings, at: Ints) -> AnswerPart:
        """Return the answers of images in the order of their source; the classifier is asked where there is none.

        Args:
            found: the images.
            at: (n,) row of each in the store.
        """
        read = np.array([own not in found.unreadable for own in found.ids], bool)
        true = self.alongside.true(found.labels, range(len(at)), np.flatnonzero(read).tolist(), found.ids)
        shards = np.searchsorted(self.store.starts, at, "right") - 1
        tables = {int(k): self._read(int(k), true) for k in np.unique(shards)}
        local = at - self.store.starts[shards]
        lacking = np.flatnonzero(read & ~_answered(tables, shards, local, true))
        if len(lacking):
            unread = np.flatnonzero(~read)  # of which is written what is true, as if they had been asked about at once
            for k, own in _of_each(shards[unread]):
                tables[k].true[local[unread[own]]] = true[unread[own]]
            self._ask(found, lacking, shards, local, tables)
        return _gathered(tables, shards, local, true)

    def _read(self, k: int, true: NDArray[Any]) -> AnswerTable:
        """Return what there is of a shard, if it is of the same images; else a table without answers."""
        shard = self.store.shards[k]
        path = self.folder / shard.path.name
        empty = np.full((len(KEPT), shard.n), np.nan)
        empty[0] = UNASKED
        nothing = AnswerTable(empty, np.full((shard.n, *true.shape[1:]), UNASKED, true.dtype), None)
        if not path.is_file():
            return nothing
        try:
            file = Shard.at(path, self.store.manifest.run)
            if file.about.get("of") != self._digest(k):
                return nothing
            table = file.columns([name for name in file.footer.schema.to_arrow_schema().names if name != "id"])
        except InputError:  # cut off, or of another run: it is written anew
            return nothing
        columns = {name: table.column(name).combine_chunks() for name in table.column_names}
        lists = {
            name: np.asarray(own.flatten()).reshape(shard.n, -1) if pa.types.is_fixed_size_list(own.type) else own
            for name, own in columns.items()
        }
        own = np.asarray(lists["true"])
        if own.shape[1:] != true.shape[1:]:
            return nothing
        return AnswerTable(
            np.stack([np.asarray(columns[name]).astype(np.float64) for name in KEPT]),
            own.astype(true.dtype),
            np.asarray(lists["scores"]).copy() if "scores" in lists else None,
            int(file.about["outputs"]),
        )

    def _digest(self, k: int) -> str:
        table = self.store.shards[k].columns(["id", "picture"])
        return digest_of(table.column(0).combine_chunks(), table.column(1).combine_chunks())

    def _ask(self, found: Embeddings, lacking: Ints, shards: Ints, local: Ints, tables: dict[int, AnswerTable]) -> None:
        """Ask about images, and write the answers of a shard as soon as none of its images lacks one."""
        row_of = {found.ids[row]: row for row in lacking[::-1].tolist()}
        left = Counter(int(shards[row]) for row in row_of.values())
        done = 0
        with writing(self.store.path):
            for rows, said in self._said(row_of):
                for i, row in enumerate(rows):
                    k = int(shards[row])
                    tables[k] = tables[k].with_answer(int(local[row]), said, i)
                    left[k] -= 1
                    if not left[k]:
                        self._write(k, tables[k])
                done += len(rows)
                self.report("ask the model", done, len(row_of))
            for k in +left:  # of which the source did not give all again
                self._write(k, tables[k])

    def _said(self, row_of: dict[str, int]) -> Iterator[tuple[list[int], AnswerTable]]:
        """Yield the rows of each batch and what was said of them, while the next is at work."""
        before: tuple[list[int], Callable[[], AnswerTable]] | None = None
        for batch in self.source.only(row_of).batches(self.batch_size, self.alongside.view):
            rows = [row_of[own] for own in batch.ids]
            coming = answers_coming(self.alongside.take(batch.views[0], batch, rows))
            if before is not None:
                yield before[0], before[1]()
            before = rows, coming
        if before is not None:
            yield before[0], before[1]()

    def _write(self, k: int, table: AnswerTable) -> None:
        shard = self.store.shards[k]
        ids = shard.columns(["id"]).column(0).combine_chunks()
        write_answers(self.folder / shard.path.name, ids, table, self.store.manifest.run, self._digest(k))


def _answered(tables: dict[int, AnswerTable], shards: Ints, local: Ints, true: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n,) which images have an answer that was given when the same was true of them."""
    answered = np.zeros(len(shards), bool)
    for k, own in _of_each(shards):
        table, rows = tables[k], local[own]
        same = (table.true[rows] == true[own]).reshape(len(own), -1).all(axis=1)
        answered[own] = same & (table.rows[0, rows] != UNASKED)
    return answered


def _of_each(shards: Ints) -> Iterator[tuple[int, Ints]]:
    """Yield each shard with the images in it, by one sort."""
    order = np.argsort(shards, kind="stable")
    numbers, starts = np.unique(shards[order], return_index=True)
    return zip(numbers.tolist(), np.split(order, starts)[1:], strict=True)


def _gathered(tables: dict[int, AnswerTable], shards: Ints, local: Ints, true: NDArray[Any]) -> AnswerPart:
    """Lay the answers of shards in the order of the source."""
    rows, scores = np.empty((len(KEPT), len(shards))), None
    k_scores = next((table.scores.shape[1] for table in tables.values() if table.scores is not None), 0)
    if k_scores:
        scores = np.full((len(shards), k_scores), np.nan, np.float32)
    for k, own in _of_each(shards):
        table = tables[k]
        rows[:, own] = table.rows[:, local[own]]
        if scores is not None and table.scores is not None:
            scores[own] = table.scores[local[own]]
    outputs = max((table.outputs for table in tables.values()), default=0)
    return AnswerPart(torch.from_numpy(rows), true, None if scores is None else torch.from_numpy(scores), outputs)
