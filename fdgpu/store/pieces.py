"""From images to pieces of a store: a batch at a time here, or a shard at a time on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from fdgpu.arrays import to_device, to_host
from fdgpu.cluster import Cluster
from fdgpu.embedding.embedder import Alongside, ImageEmbedder, checksums
from fdgpu.embedding.loading import ImageBatch, Sample
from fdgpu.embedding.sources import ImageSource, IndexedSource, OnlySource, stamp_of_file
from fdgpu.errors import InputError
from fdgpu.store.manifest import Manifest
from fdgpu.store.writing import Piece

SENT = "a shard from a worker of a cluster"


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


# --- on the workers of a cluster --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Images:
    """The images of one shard, as a worker is sent them.

    Attributes:
        images: their ids, where the workers have the source; else the samples themselves.
        rows: of them in the source.
        stamps: of them, None where nothing is known.
    """

    images: Sequence[str | Sample]
    rows: Sequence[int]
    stamps: Sequence[str | None]

    @property
    def called(self) -> str:
        """What an error calls them."""
        first = self.images[0]
        return f"the shard of {len(self.images)} images from {first if isinstance(first, str) else first.id} on"


class SentSamples(IndexedSource):
    """Samples that were sent to a worker."""

    def __init__(self, samples: Sequence[Sample], stamps: Sequence[str | None]) -> None:
        self.listed, self.known, self.ids = samples, stamps, [one.id for one in samples]

    def __len__(self) -> int:
        return len(self.listed)

    def sample(self, row: int) -> Sample:
        """Return one of them."""
        return self.listed[row]

    def stamps(self, rows: Sequence[int]) -> list[str | None]:
        """Return the size and the time of files as they are seen here; of other images what was sent."""
        images = [self.listed[row].image for row in rows]
        return [
            stamp_of_file(image) if isinstance(image, Path) else self.known[row]
            for row, image in zip(rows, images, strict=True)
        ]


@dataclass
class Embedding:
    """What embeds shards on a worker.

    Attributes:
        embedder: that was loaded there.
        alongside: a classifier.
        source: that was sent; None where samples are.
    """

    embedder: ImageEmbedder
    alongside: Alongside | None
    source: ImageSource | None

    def __call__(self, images: Images) -> Piece:
        """Embed a shard, whose piece is on the host.

        Raises:
            InputError: for files that are not here.
        """
        source = self._part(images)
        pieces, start = [], 0
        for batch in source.batches(self.embedder.batch_size, *self.embedder.views(self.alongside)):
            part = slice(start, start + len(batch.ids))
            pieces.append(piece_of(self.embedder, batch, self.alongside, images.rows[part], images.stamps[part]))
            start = part.stop
        whole = Piece.joined(pieces)
        _refuse_absent(source, whole)
        return _on_host(whole)

    def _part(self, images: Images) -> ImageSource:
        if self.source is None:
            return SentSamples(cast(Sequence[Sample], images.images), images.stamps)
        return self.source.only(cast(Sequence[str], images.images))


def _refuse_absent(source: ImageSource, piece: Piece) -> None:
    """Look where images could not be read: a file that only the driver sees is no damaged image.

    Raises:
        InputError: names the first such file.
    """
    unread = [row for row, reason in enumerate(piece.skipped) if reason and piece.stamps[row] is not None]
    absent = [row for row, here in zip(unread, source.stamps(unread), strict=True) if here is None]
    if absent:
        raise InputError(
            f"{len(absent)} images are not there, such as {piece.ids[absent[0]]}: put the images where every node of "
            "the cluster sees them under the same path"
        )


def _on_host(piece: Piece) -> Piece:
    def down(tensor: Tensor) -> Tensor:
        return torch.from_numpy(to_host(tensor, SENT))

    said = piece.answers
    if said is not None:
        scores = said.scores
        said = replace(said, rows=down(said.rows), scores=None if scores is None else down(scores))
    pictures = None if piece.pictures is None else down(piece.pictures)
    return replace(piece, vectors=down(piece.vectors), pictures=pictures, answers=said)


@dataclass(frozen=True)
class Workers:
    """Workers that embed for a store.

    Attributes:
        cluster: that has them.
        make: loads the embedder on one.
    """

    cluster: Cluster
    make: Callable[[], ImageEmbedder]

    def shards(
        self, source: ImageSource, images: Iterator[Images], manifest: Manifest, alongside: Alongside | None
    ) -> Generator[tuple[int, Piece]]:
        """Yield the numbers and the pieces of shards as they come.

        Args:
            source: of the images.
            images: of the shards, with ids where :func:`is_sent` says that the source is.
            manifest: of the store.
            alongside: a classifier, which is sent as it is.

        Raises:
            FdgpuError: from a worker, with its node: without the model, with another, or without the images.
        """
        own, make, held = source if is_sent(source) else None, self.make, manifest

        def made() -> Embedding:
            embedder = make()
            try:
                held.refuse_other(Manifest.of(embedder, held.shard_rows), Path("the store"))
            except InputError as error:
                raise InputError(f"{error}. Give all nodes the same weights, and name the precision") from None
            return Embedding(embedder, alongside, own)

        yield from self.cluster.deal(made, images, lambda one: one.called)


def is_sent(source: ImageSource) -> bool:
    """Whether workers have a source of their own, of which they find any images; else they are sent samples."""
    return bool(source.ids) and not isinstance(source.only(source.ids[:1]), OnlySource)  # type: ignore[index]
