"""From a source of images to a store of their vectors: what is there already is compared, what is missing is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import rows_finite
from fdgpu.checks import shown
from fdgpu.embedding.embedder import (
    Alongside,
    Embeddings,
    ImageEmbedder,
    checksums,
    fingerprint_of,
    sums_on_host,
)
from fdgpu.embedding.loading import Sample, on_the_host
from fdgpu.embedding.picture import Treatment
from fdgpu.embedding.sources import FileSource, ImageSource
from fdgpu.errors import InputError
from fdgpu.folders import check_folder
from fdgpu.progress import OneBar, Reporter
from fdgpu.rows import Rows, TensorRows
from fdgpu.store.embedding_store import EmbeddingStore, held_bytes, shared_texts
from fdgpu.store.manifest import NAME, Complete, Manifest
from fdgpu.store.pieces import Images, Workers, is_sent, piece_of
from fdgpu.store.shard import texts
from fdgpu.store.stored import StoredAnswers
from fdgpu.store.writing import Piece, Writer, digest_of, plain_label, writing

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
    workers: Workers | None = None,
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
        workers: of a cluster, which embed in place of this process.

    Returns:
        What :meth:`ImageEmbedder.embed` returns, in the order of the source, with a fingerprint; ``vectors`` are
        :class:`Rows`.

    Raises:
        InputError: for a store of another model, preprocessing or precision, images that changed, or with ``whole``
            images that went; a store that another run writes; or a folder that cannot be written. What was finished
            stays.

    Example:
        >>> source = fdgpu.embedding.image_source(np.zeros((2, 32, 32, 3), np.uint8))
        >>> fill(tmp_path / "store", source, fdgpu.ClipEmbedder.bundled("cpu")).vectors.shape
        (2, 128)
    """
    manifest = Manifest.of(embedder, shard_rows)
    new, made = not (folder / NAME).exists(), [parent for parent in folder.parents if not parent.exists()]
    if new:
        manifest.check()
        store = EmbeddingStore.begin(folder, manifest)
    else:
        store = EmbeddingStore.open(folder)
        store.manifest.refuse_other(manifest, folder)
    try:
        with OneBar(progress) as report:
            return _Filling(store, source, embedder, report, alongside, workers).run(whole)
    finally:
        if new:
            _leave_no_empty_store(folder, made)


def _leave_no_empty_store(folder: Path, made: Sequence[Path]) -> None:
    """Remove a store in which nothing was finished, and the folders made for it, unless another run fills it."""
    with suppress(InputError, OSError), writing(folder):
        if [one.name for one in folder.iterdir()] == [NAME]:
            (folder / NAME).unlink()
            for empty in (folder, *made):
                empty.rmdir()


@dataclass
class _Filling:
    """One run over a source; see :func:`fill`."""

    store: EmbeddingStore
    source: ImageSource
    embedder: ImageEmbedder
    report: Reporter
    alongside: Alongside | None
    workers: Workers | None
    order: list[str] | None = None  # ids of the source, in its order
    came: Counter[str] = field(default_factory=Counter)  # ids that were not known beforehand, in the order they came in
    told: dict[str, tuple[object, str | None]] = field(default_factory=dict)  # label and split that came with an id
    fresh: list[Tensor] | None = None  # vectors where they were made, as long as they are few and all are new
    kept: int = 0  # bytes of them
    most: int = 0  # that they may be

    def run(self, whole: bool) -> Embeddings:
        store = self.store
        missing = self._missing(whole)
        if missing is None or missing or (whole and store.manifest.complete is None):
            with writing(store.path):
                there = [shard.path.name for shard in store.shards]
                store.refresh()
                if there != [shard.path.name for shard in store.shards]:  # another run has written in between
                    missing = self._missing(whole)
                if missing is None or missing:
                    self._embed(missing)
                if whole:
                    self._complete()
        return self._found()

    def _ids(self) -> list[str]:
        """Return the ids of the source, which may have to be gone through for them.

        Raises:
            InputError: for a source that cannot, or has an id twice.
        """
        if self.source.ids is not None:
            ids = list(self.source.ids)
            if not isinstance(self.source, FileSource):  # of which one may be listed twice
                _refuse_twice(Counter(ids))
            return ids
        if self.source.once:
            raise InputError(
                f"{self.store.path} holds images, and these can be gone through only once, so that nobody can tell "
                "which of them it holds: pass a list, a folder or a data set, or leave the store out"
            )
        ids, labels, splits = list[str](), list[object](), list[str | None]()
        for sample in self.source.samples():
            ids.append(sample.id)
            labels.append(sample.label)
            splits.append(sample.split)
        _refuse_twice(Counter(ids))
        self.told |= zip(ids, zip(on_the_host(labels), splits, strict=True), strict=True)
        return ids

    # --- what is there ------------------------------------------------------------------------------------------------

    def _missing(self, whole: bool) -> list[str] | None:
        """Return the ids that the store lacks, each once; those that it holds are compared.

        None stands for all of a source whose ids are not known: the store is empty, so that nobody has to ask.

        Raises:
            InputError: for images that changed, or went.
        """
        if self.order is None and not len(self.store) and self.source.ids is None:
            return None
        ids = self.order = self.order or self._ids()
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
        found = pc.index_in(texts(ids), value_set=self.store.ids.combine_chunks())
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
            self.told |= zip(batch.ids, zip(batch.labels, batch.splits, strict=True), strict=True)
            self.report("compare images", len(found), len(ids))
        found |= dict(zip(read, sums_on_host(sums).tolist(), strict=True))
        return [found.get(own) for own in ids]

    # --- what is missing ----------------------------------------------------------------------------------------------

    def _embed(self, missing: list[str] | None) -> None:
        store, known, ids = self.store, len(self.store), self.order
        wanted = self.source.count if missing is None else len(missing)
        check_folder(store.path, (wanted or 0) * store.manifest.dimension * store.manifest.kind.itemsize)
        store.mark(None)
        every = missing is None or (missing == ids and self.source.ids is not None)
        source = self.source if every or missing is None else self.source.only(missing)
        self.fresh = [] if not known and source is self.source and self.workers is None else None
        self.most = held_bytes(self.embedder.placement.device)
        total = None if source.count is None else known + source.count
        answers = self.alongside.fingerprint[:16] if self.alongside else ""
        self.report("embed images", known, total)
        with closing(store.writer(answers)) as writer:
            for piece in self._written(source, writer):
                self._keep(piece.vectors)
                known += len(piece)
                self.report("embed images", known, total)
            writer.finish()
        store.refresh()
        if ids is None:
            self.order = list(self.came)

    def _written(self, source: ImageSource, writer: Writer) -> Iterator[Piece]:
        """Embed the images of a source, and yield what was handed to the writer."""
        if self.workers is None:
            for piece in self._pieces(source):
                writer.add(piece)
                yield piece
            return
        numbers = list[int]()

        def numbered() -> Iterator[Images]:
            for one in self._shards(source):
                numbers.append(next(writer.numbers))
                yield one

        with closing(self.workers.shards(source, numbered(), self.store.manifest, self.alongside)) as shards:
            for at, piece in shards:
                writer.write(numbers[at], piece)
                yield piece

    def _shards(self, source: ImageSource) -> Iterator[Images]:
        """Cut a source into the images of shards, for workers."""
        rows_of = self._rows_of(source)
        entries: Iterator[str | Sample] = iter(source.ids) if source.ids and is_sent(source) else source.samples()
        while some := list(islice(entries, self.store.manifest.shard_rows)):
            rows = rows_of([one if isinstance(one, str) else one.id for one in some])
            yield Images(some, rows, self.source.stamps(rows))

    def _rows_of(self, source: ImageSource) -> Callable[[Sequence[str]], Sequence[int]]:
        """Return what finds the rows of the next images of a source among all.

        It raises an InputError for an id that comes twice, of a source whose ids are not known beforehand.
        """
        ids = self.order
        first = None if ids is None or source is self.source else {own: row for row, own in reversed([*enumerate(ids)])}
        start = 0

        def rows_of(following: Sequence[str]) -> Sequence[int]:
            nonlocal start
            if ids is None:
                self.came.update(following)
                _refuse_twice(Counter({own: self.came[own] for own in following}))
            span = range(start, start + len(following))
            start = span.stop
            return span if first is None else [first[own] for own in following]

        return rows_of

    def _pieces(self, source: ImageSource) -> Iterator[Piece]:
        """Embed the images of a source batch by batch."""
        rows_of = self._rows_of(source)
        # Before the images are read, so that one that changes in between is found to have changed.
        listed = source.ids if self.source.ids is not None else None
        known = None if listed is None else self._rows_of(source)(listed)
        stamps = None if known is None else pa.array(self.source.stamps(known), pa.string())
        start = 0
        for batch in source.batches(self.embedder.batch_size, *self.embedder.views(self.alongside)):
            span, rows = range(start, start + len(batch.ids)), rows_of(batch.ids)
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

    def _found(self) -> Embeddings:
        """Return all images of the source, from the store.

        Raises:
            InputError: for a source that has not given again what it gave before.
        """
        store, ids = self.store, self.order if self.order is not None else self._ids()
        at = self._at(ids)
        if len(at) and at.min() < 0:
            raise InputError(
                f"images gave {shown(ids[int(at.argmin())])} once, and not again: leave them alone while they are "
                "embedded, and pass some that are the same each time"
            )
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
            labels=self._labels(ids, at),
            splits=self._splits(ids, at),
        )
        if self.alongside is not None:
            said = StoredAnswers(store, self.alongside, self.source, self.report, self.embedder.batch_size)
            self.alongside.complete([said.of_images(found, at)])
        pa.default_memory_pool().release_unused()  # of columns of all images
        return found

    def _labels(self, ids: Sequence[str], at: Ints) -> list[object]:
        """Return labels as they come with the images now, where anybody looked, else as they came then."""
        if self.source.labels is not None:
            return list(self.source.labels)
        then = self.store.labels_of(at)
        now = [plain_label(self.told[own][0]) if own in self.told else None for own in ids] if self.told else then
        return [old if new is None else new for old, new in zip(then, now, strict=True)]

    def _splits(self, ids: Sequence[str], at: Ints) -> list[str | None]:
        """Return splits likewise."""
        if self.source.splits is not None:
            return list(self.source.splits)
        then = shared_texts(self.store.splits.combine_chunks().take(pa.array(at)))
        return [self.told[own][1] or old if own in self.told else old for own, old in zip(ids, then, strict=True)]

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
        digest = digest_of(store.ids.combine_chunks(), store.column("picture").combine_chunks())
        store.mark(Complete(images=len(store), source=digest))


def _refuse_twice(counts: Counter[str]) -> None:
    twice, count = next(iter(counts.most_common(1)), ("", 0))
    if count > 1:
        raise InputError(f"images gave {count} images the id {shown(twice)}: give every image an id of its own")


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
