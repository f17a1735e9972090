"""From a source of images to a store of their vectors: what is there already is compared, what is missing is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import rows_finite, to_device
from fdgpu.checks import shown
from fdgpu.embedding.embedder import (
    SUMS,
    Alongside,
    Embeddings,
    ImageEmbedder,
    brought_together,
    checksums,
    fingerprint_of,
)
from fdgpu.embedding.loading import ImageBatch
from fdgpu.embedding.picture import Treatment
from fdgpu.embedding.sources import ImageSource, OnlySource
from fdgpu.errors import InputError
from fdgpu.folders import check_folder
from fdgpu.progress import OneBar, Reporter
from fdgpu.rows import Rows, TensorRows
from fdgpu.store.answers_file import StoredAnswers
from fdgpu.store.embedding_store import EmbeddingStore, held_bytes
from fdgpu.store.manifest import NAME, Complete, Manifest, source_digest
from fdgpu.store.writing import Piece, Writer, writing

HELD = (
    1 << 28
)  # bytes of vectors that are held on the host where they are that few; of a device a quarter of what is free
MOST_SHOWN = 3  # images in an error

Ints = NDArray[np.int64]


def fill(
    folder: Path,
    source: ImageSource,
    embedder: ImageEmbedder,
    progress: Reporter | None = None,
    alongside: Alongside | None = None,
    *,
    whole: bool = False,
    shard_rows: int | None = None,
    stage: str = "embed images",
) -> Embeddings:
    """Embed through a store: images that it holds are not embedded again.

    Args:
        folder: of the store, made where it is missing.
        source: of the images.
        embedder: of them.
        progress: a reporter.
        alongside: a classifier; of images that it has answered nothing is asked.
        whole: the store is of this source, and holds no others.
        shard_rows: images of a shard of a store that is new.
        stage: what the reporter is told.

    Returns:
        What :meth:`ImageEmbedder.embed` returns, in the order of the source, with a fingerprint; ``vectors`` are
        :class:`Rows`.

    Raises:
        InputError: for a store of another model, preprocessing or precision, images that changed, or with ``whole``
            images that went; a store that another run writes; or a folder that cannot be written. What was finished
            stays.
    """
    manifest = Manifest.of(embedder, shard_rows)
    if (folder / NAME).exists():
        store = EmbeddingStore.open(folder)
        store.manifest.refuse_other(manifest, folder)
    else:
        manifest.check()
        store = EmbeddingStore.begin(folder, manifest)
    try:
        with OneBar(progress) as report:
            return _Filling(store, source, embedder, report, alongside, stage).run(whole)
    finally:
        _leave_no_empty_store(folder)


def _leave_no_empty_store(folder: Path) -> None:
    """Remove a store in which nothing was finished, and the folders that were made for it."""
    if not any(folder.glob("*.parquet")) and {one.name for one in folder.iterdir()} <= {NAME}:
        (folder / NAME).unlink(missing_ok=True)
        folder.rmdir()


def piece_of(
    embedder: ImageEmbedder,
    batch: ImageBatch,
    alongside: Alongside | None,
    rows: Sequence[int],
    stamps: Sequence[str | None],
) -> Piece:
    """Embed a batch, and let a classifier answer it; nothing is waited for."""
    sums = checksums(batch.pixels)
    if len(batch.read) < len(batch.ids):
        every = torch.zeros(len(batch.ids), dtype=torch.int64, device=sums.device)
        sums = every.index_copy_(0, to_device(torch.tensor(batch.read, dtype=torch.int64), sums.device), sums)
    return Piece(
        ids=batch.ids,
        vectors=embedder.embed_batch(batch),
        labels=batch.labels,
        splits=batch.splits,
        groups=[None] * len(batch.ids),
        skipped=[batch.unreadable.get(own) for own in batch.ids],
        treated=["; ".join(one) or None for one in batch.treated or [()] * len(batch.ids)],
        stamps=stamps,
        pictures=sums,
        answers=None if alongside is None else alongside.take(batch.views[1], batch, rows),
    )


@dataclass
class _Filling:
    """One run over a source; see :func:`fill`."""

    store: EmbeddingStore
    source: ImageSource
    embedder: ImageEmbedder
    report: Reporter
    alongside: Alongside | None
    stage: str
    order: list[str] | None = None  # ids of the source as it was last gone through
    fresh: list[Tensor] | None = None  # vectors where they were made, as long as they are few and all are new
    kept: int = 0  # bytes of them
    most: int = 0  # that they may be

    def run(self, whole: bool) -> Embeddings:
        known = bool(len(self.store))
        ids = self._ids() if known or self.source.ids is not None else None
        missing = None if ids is None else self._missing(ids, whole)
        if missing is None or missing:
            with writing(self.store.path):
                self.store.refresh()  # what another run has written in between
                if ids is not None and len(self.store) and not known:
                    missing = self._missing(ids, whole)
                self._embed(ids, missing)
        return self._found(whole)

    def _ids(self) -> list[str]:
        """Return the ids of the source, which may have to be gone through for them."""
        if self.source.ids is not None:
            return list(self.source.ids)
        if self.source.once:
            raise InputError(
                f"{self.store.path} holds images, and these can be gone through only once, so that nobody can tell "
                "which of them it holds: pass a list, a folder or a data set, or leave the store out"
            )
        return [sample.id for sample in self.source.samples()]

    # --- what is there ------------------------------------------------------------------------------------------------

    def _missing(self, ids: list[str], whole: bool) -> list[str]:
        """Return the ids that the store lacks, each once; those that it holds are compared.

        Raises:
            InputError: for images that changed, or went.
        """
        self.order = ids
        at = self._at(ids)
        there = np.flatnonzero(at >= 0)
        if whole and len(np.unique(at[there])) < len(self.store):
            gone = np.setdiff1d(np.arange(len(self.store)), at[there])
            raise _differ(self.store, gone, "went: the source has none of their names", "restore them")
        if len(there):
            self._compare(there, at[there])
        return list(dict.fromkeys(ids[row] for row in np.flatnonzero(at < 0)))

    def _at(self, ids: Sequence[str]) -> Ints:
        """Return the row of each image in the store, −1 where there is none."""
        found = pc.index_in(pa.array(ids, pa.string()), value_set=self.store.ids.combine_chunks())
        return np.asarray(found.fill_null(-1)).astype(np.int64)

    def _compare(self, rows: Ints, at: Ints) -> None:
        """Compare images with those that were embedded: by size and time of their files, else by their pictures.

        Raises:
            InputError: for images that changed.
        """
        stamps = pa.array(self.source.stamps(rows.tolist()), pa.string())
        same = pc.equal(stamps, self.store.column("stamp").combine_chunks().take(pa.array(at))).fill_null(False)
        pictures = self.store.column("picture").combine_chunks().take(pa.array(at))
        skipped = self.store.skipped.combine_chunks().take(pa.array(at))
        unknown = pc.and_(pictures.is_null(), skipped.is_null())  # vectors that somebody else made
        unsure = np.flatnonzero(~np.asarray(pc.or_(same, unknown)))
        if not len(unsure):
            return
        now = self._pictures_now([self.order[row] for row in rows[unsure].tolist()] if self.order else [])
        held = pictures.take(pa.array(unsure)).to_pylist()
        differ = [at[row] for row, one, other in zip(unsure.tolist(), held, now, strict=True) if one != other]
        if differ:
            raise _differ(self.store, np.array(differ), "changed since they were embedded", "restore them")

    def _pictures_now(self, ids: list[str]) -> list[int | None]:
        """Look at images again without the model: the checksum of each picture, None of one that cannot be read."""
        part, found = self.source.only(ids), dict[str, int | None]()
        read, sums = list[str](), list[Tensor]()
        for batch in part.batches(self.embedder.batch_size, self.embedder.view):
            found |= dict.fromkeys(batch.ids)
            read += [batch.ids[row] for row in batch.read]
            sums.append(checksums(batch.pixels))
            self.report("compare images", len(found), len(ids))
        found |= dict(zip(read, brought_together(sums, SUMS).tolist(), strict=True))
        return [found.get(own) for own in ids]

    # --- what is missing ----------------------------------------------------------------------------------------------

    def _embed(self, ids: list[str] | None, missing: list[str] | None) -> None:
        store, known = self.store, len(self.store)
        wanted = self.source.count if missing is None else len(missing)
        check_folder(store.path, (wanted or 0) * store.manifest.dimension * store.manifest.kind.itemsize)
        if store.manifest.complete is not None:
            store.manifest = store.manifest.model_copy(update={"complete": None})
            store.manifest.write(store.path)
        source = self.source if missing is None or missing == ids else self.source.only(missing)
        self.fresh = [] if not known and source is self.source else None
        self.most = held_bytes(self.embedder.placement.device)
        total = None if source.count is None else known + source.count
        answers = self.alongside.fingerprint[:16] if self.alongside else ""
        taken = [int(shard.path.stem) for shard in store.shards]
        self.report(self.stage, known, total)
        with closing(Writer(store.path, store.manifest, taken, answers)) as writer:
            for piece in self._pieces(source, ids):
                writer.add(piece)
                self._keep(piece.vectors)
                known += len(piece)
                self.report(self.stage, known, total)
            writer.finish()
        store.refresh()
        if isinstance(source, OnlySource):
            self.order = source.order
        elif missing is None:
            self.order = store.ids.to_pylist()

    def _pieces(self, source: ImageSource, ids: list[str] | None) -> Iterator[Piece]:
        """Embed the images of a source batch by batch."""
        views = [self.embedder.view, *([self.alongside.view] if self.alongside else [])]
        first = None if ids is None or source is self.source else {own: row for row, own in reversed([*enumerate(ids)])}
        # Before the images are read, so that one that changes in between is found to have changed.
        listed = source.ids if self.source.ids is not None else None
        known = None if listed is None else [first[own] if first else row for row, own in enumerate(listed)]
        stamps = None if known is None else pa.array(self.source.stamps(known), pa.string())
        start = 0
        for batch in source.batches(self.embedder.batch_size, *views):
            span = range(start, start + len(batch.ids))
            rows = span if first is None else [first[own] for own in batch.ids]
            stamped = self.source.stamps(rows) if stamps is None else stamps[span.start : span.stop].to_pylist()
            yield piece_of(self.embedder, batch, self.alongside, rows, stamped)
            start = span.stop

    def _keep(self, vectors: Tensor) -> None:
        """Keep new vectors where they are, so that they need not be read again."""
        if self.fresh is None:
            return
        self.fresh.append(vectors)
        self.kept += vectors.numel() * self.embedder.kept_in.itemsize
        if self.kept > self.most:
            self.fresh = None

    # --- what was found -----------------------------------------------------------------------------------------------

    def _found(self, whole: bool) -> Embeddings:
        """Return all images of the source, from the store."""
        store, ids = self.store, self.order if self.order is not None else self._ids()
        at = self._at(ids)
        take = pa.array(at)
        table = {name: store.column(name).combine_chunks().take(take) for name in ("skipped", "treated", "picture")}
        reasons = table["skipped"]
        unread = np.flatnonzero(~np.asarray(reasons.is_null()))
        treated: Counter[Treatment] = Counter()
        for entry in pc.value_counts(table["treated"].drop_null()).to_pylist():
            for one in entry["values"].split("; "):
                treated[Treatment(one)] += entry["counts"]
        pictures = np.asarray(table["picture"].drop_null())
        found = Embeddings(
            ids=ids,
            vectors=self._rows(at),
            unreadable={ids[row]: str(reasons[row]) for row in unread.tolist()},
            fingerprint=fingerprint_of(pictures),
            treated=treated,
            labels=_own(self.source.labels) or store.labels_of(at),
            splits=_own(self.source.splits) or store.splits.combine_chunks().take(take).to_pylist(),
        )
        if self.alongside is not None:
            said = StoredAnswers(store, self.alongside, self.source, self.report, self.embedder.batch_size)
            self.alongside.complete([said.of_images(found, at)])
        if whole and store.manifest.complete is None:
            self._complete()
        return found

    def _rows(self, at: Ints) -> Rows:
        """Return the vectors: those that were just made, a tensor where they are few, else what reads them."""
        device, kept = self.embedder.placement.device, self.embedder.kept_in
        if self.fresh is not None and sum(map(len, self.fresh)) == len(at):
            made = torch.cat(self.fresh).to(kept)
            return TensorRows(made.masked_fill(~rows_finite(made)[:, None], 0.0), finite=True)
        return self.store.rows(device).held(at)

    def _complete(self) -> None:
        """Write into the manifest that all images are there."""
        store = self.store
        pictures = np.asarray(store.column("picture").combine_chunks().fill_null(0))
        done = Complete(images=len(store), source=source_digest(store.ids.to_pylist(), pictures))
        store.manifest = store.manifest.model_copy(update={"complete": done})
        with writing(store.path):
            store.manifest.write(store.path)


def _own(column: Sequence[Any] | None) -> list[Any] | None:
    return None if column is None else list(column)


def _differ(store: EmbeddingStore, at: Ints, how: str, remedy: str) -> InputError:
    """Say which images of a store are others now, and in which shards they are."""
    some = store.ids.combine_chunks().take(pa.array(at[:MOST_SHOWN])).to_pylist()
    files = [store.shards[k].path.name for k in np.unique(np.searchsorted(store.starts, at, "right") - 1).tolist()]
    more = f" and {len(files) - MOST_SHOWN} more" if len(files) > MOST_SHOWN else ""
    listed = ", ".join(files[:MOST_SHOWN]) + more
    return InputError(
        f"{len(at)} images of {store.path} {how}, such as {', '.join(map(shown, some))}: {remedy}, choose another "
        f"folder for the store, or delete {listed} in it, whose images are then embedded anew"
    )
