"""From a source of images to rows of vectors: what embedders of every model share."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import chain
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import to_device, to_host
from fdgpu.described import Described
from fdgpu.device import BatchSize, Choice, choose_device, halving_batches
from fdgpu.embedding.classifier import AnswerPart
from fdgpu.embedding.loading import ImageBatch, View
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.picture import Treatment
from fdgpu.embedding.preprocess import Memory, Preprocess
from fdgpu.errors import FdgpuWarning
from fdgpu.progress import OneBar, Reporter
from fdgpu.rows import Rows

CHECKED = 64  # pictures on a device that are made into float64 at a time


@dataclass(frozen=True, repr=False)
class Embeddings(Described):
    """Unit vectors with the ids they belong to.

    ``vectors`` is (n, d) float32 on the model's device, one row for each of ``ids``, in the order of the source. The
    row of an image that could not be read is NaN, and ``unreadable`` maps its id to the reason. From a store they are
    :class:`~fdgpu.rows.Rows`, zero where there is no vector. ``fingerprint`` is a SHA-256 of the pictures in the
    model's size, where it was asked for. ``treated`` counts the images that are more than plain pixels by what was done
    to them. ``labels`` and ``splits`` are what the source gave with its images.
    """

    ids: list[str]
    vectors: Tensor | Rows
    unreadable: dict[str, str]
    fingerprint: str = ""
    treated: Counter[Treatment] = field(default_factory=Counter)
    labels: list[object] = field(default_factory=list)
    splits: list[str | None] = field(default_factory=list)

    def _described(self) -> dict[str, object]:
        n, d = self.vectors.shape
        return {"images": n, "dimension": d, "unreadable": len(self.unreadable)}

    def add(self, batch: ImageBatch) -> None:
        """Keep what there is of a batch beside its vectors."""
        self.ids.extend(batch.ids)
        self.labels.extend(batch.labels)
        self.splits.extend(batch.splits)
        self.unreadable.update(batch.unreadable)
        self.treated.update(chain.from_iterable(batch.treated))


class Alongside(Protocol):
    """A further model that takes each image of the same pass, in a view of its own."""

    view: View

    @property
    def fingerprint(self) -> str:
        """Tell it from others, by its weights and its preprocessing."""
        ...

    def true(
        self, labels: Sequence[object], rows: Sequence[int], read: Sequence[int], ids: Sequence[str]
    ) -> NDArray[Any]:
        """Return the true column of images, or which of their conditions hold; see :class:`AnswerPart`."""
        ...

    def take(self, inputs: Tensor, batch: ImageBatch, rows: Sequence[int]) -> AnswerPart:
        """Return what it says of a batch; nothing is waited for.

        Args:
            inputs: (m, c, h, w), of the m images that were read, in order.
            batch: the images.
            rows: of all of them in the source.
        """
        ...

    def complete(self, parts: Sequence[AnswerPart]) -> None:
        """Be told all that was said, in the order of the source."""
        ...


@runtime_checkable
class CaptionReader(Protocol):
    """What makes vectors of captions, in the space of the images' vectors: a CLIP, or captions that have them already.

    Attributes:
        dimension: length d of the vectors.
        unread: what hinders captions that do not fit: they …
    """

    dimension: int
    unread: str

    @property
    def text_method_(self) -> Choice:
        """How captions are encoded, and why."""
        ...

    def fits(self, caption: str) -> bool:
        """Whether a caption can be read whole."""
        ...

    def texts(self, captions: Sequence[str], progress: Reporter | None = None) -> Tensor:
        """Return (n, d) unit vectors."""
        ...


def checksums(pictures: Tensor) -> Tensor:
    """Return (n,) int64, a checksum of each of the pictures (n, 3, h, w), where they are; nothing is waited for.

    Of a picture on the host it is the beginning of a SHA-256. On a device it is the bits of a sum that float64 holds
    exactly, in whatever order it is added up.
    """
    if pictures.device.type == "cpu":
        rows = pictures.contiguous().flatten(1).view(torch.uint8).numpy() if len(pictures) else ()
        begins = [int.from_bytes(sha256(row.data).digest()[:8], "little", signed=True) for row in rows]
        return torch.tensor(begins, dtype=torch.int64)
    sums = list[Tensor]()
    for some in pictures.flatten(1).split(CHECKED):
        whole = some.double() if some.dtype == torch.uint8 else some.double().mul_(65535).round_()
        weights = torch.arange(whole.shape[1], device=whole.device).mul_(40503).remainder_(65521).double() + 1
        sums.append(whole @ weights)
    return torch.cat(sums).view(torch.int64) if sums else torch.empty(0, dtype=torch.int64)


def fingerprint_of(sums: NDArray[np.int64]) -> str:
    """Return the SHA-256 of pictures, by the checksums of those that were read, in the order of the source."""
    return sha256(sums.tobytes()).hexdigest()


def sums_on_host(parts: Sequence[Tensor]) -> NDArray[np.int64]:
    """Return (n,) checksums on the host; parts that are on a device come down together."""
    there = [part for part in parts if part.device.type != "cpu"]
    down = to_host(torch.cat(there), "checksums of the pictures") if there else np.empty(0, np.int64)
    each = iter(np.split(down, np.cumsum([len(part) for part in there])[:-1]))
    return np.concatenate(
        [np.empty(0, np.int64), *(part.numpy() if part.device.type == "cpu" else next(each) for part in parts)]
    )


class ImageEmbedder(Described):
    """Embeds images into unit vectors; a subclass brings the model, its preprocessing, and what it makes of pixels.

    Args:
        name: the model, as reports show it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        batch_size: images at a time; halved whenever the device runs out of memory.
        precision: ``"float16"``, ``"bfloat16"``, ``"float32"``, or ``"auto"``: float16 on CUDA, float32 elsewhere.

    Attributes:
        dimension: length d of the vectors.
        doubts: sentences on what could make the vectors wrong although the model was loaded.
        model: the network, whose weights an audit fingerprints; None where there is none.
        activation_: of the network, and what decided it; None where nothing had to be decided.
        reduced_decoding: decode JPEGs that are much larger than the model's input at a half, a quarter or an eighth of
            their size, as :class:`fdgpu.ClipEmbedder` says. Off by default.
    """

    preprocess: Preprocess
    dimension: int
    doubts: tuple[str, ...] = ()
    model: object = None
    activation_: Choice | None = None
    reduced_decoding = False

    def __init__(self, name: str, device: str | torch.device, batch_size: int, precision: str = "auto") -> None:
        self.batch_size, self._fitting = batch_size, BatchSize(batch_size)
        self.placement = choose_device(device, precision)
        self.name, self._memory = name, Memory()

    def _described(self) -> dict[str, object]:
        device, precision = self.placement.device, str(self.placement.dtype).removeprefix("torch.")
        return {"name": self.name, "dimension": self.dimension, "device": str(device), "precision": precision}

    @property
    def preprocessing(self) -> str:
        """What becomes of an image before the model, in a sentence for the record."""
        reduced = f"; JPEGs decoded at a reduced size, no side below {self.preprocess.smallest}"
        return f"{self.preprocess}{reduced if self.reduced_decoding else ''}"

    def _features(self, pixels: Tensor) -> Tensor:
        """Turn the model's input (n, 3, h, w) into vectors (n, d) of any length."""
        raise NotImplementedError

    def images(self, source: object, progress: Reporter | None = None) -> Tensor:
        """Embed images.

        Args:
            source: see :func:`fdgpu.embedding.image_source`.
            progress: a reporter; by default a bar where a person watches standard error.

        Returns:
            (n, d) float32 unit vectors on the model's device, one row an image. An image that cannot be read gives
            a row of NaN and a warning that names it; :meth:`embed` returns the reasons.
        """
        embeddings = self.embed(source, progress)
        if embeddings.unreadable:
            path, reason = next(iter(embeddings.unreadable.items()))
            warnings.warn(
                f"{len(embeddings.unreadable)} of {len(embeddings.ids)} images could not be read, their rows are NaN; "
                f"the first is {path}: {reason}",
                FdgpuWarning,
                stacklevel=2,
            )
        return cast(Tensor, embeddings.vectors)

    def embed(
        self,
        source: object,
        progress: Reporter | None = None,
        stage: str = "embed images",
        *,
        fingerprint: bool = False,
        alongside: Alongside | None = None,
    ) -> Embeddings:
        """Embed images and keep their ids, what could not be read, and if asked a hash of them; see :meth:`images`.

        Args:
            source: as in :meth:`images`.
            progress: likewise.
            stage: what the reporter is told.
            fingerprint: hash the pictures.
            alongside: a further model for each image, which is decoded once for both.
        """
        images = image_source(source)
        made = Embeddings([], torch.empty(0), {})
        rows, sums, answers = list[Tensor](), list[Tensor](), list[AnswerPart]()
        with OneBar(progress) as report:
            report(stage, 0, images.count)
            for batch in images.batches(self.batch_size, *self.views(alongside)):
                rows.append(self.embed_batch(batch))
                if alongside:
                    start = len(made.ids)
                    answers.append(alongside.take(batch.views[1], batch, range(start, start + len(batch.ids))))
                if fingerprint:
                    sums.append(checksums(batch.pixels))
                made.add(batch)
                report(stage, len(made.ids), images.count)
        if alongside:
            alongside.complete(answers)
        vectors = torch.cat(rows) if rows else torch.empty(0, self.dimension, device=self.placement.device)
        seen = fingerprint_of(sums_on_host(sums)) if fingerprint else ""
        return replace(made, vectors=vectors, fingerprint=seen)

    @property
    def view(self) -> View:
        """What the model takes of an image."""
        smallest = self.preprocess.smallest if self.reduced_decoding else None
        return View(self.preprocess.resize, smallest=smallest, device=self.placement.device)

    def views(self, alongside: Alongside | None) -> list[View]:
        """Return what it and a further model take of an image."""
        return [self.view] if alongside is None else [self.view, alongside.view]

    @property
    def kept_in(self) -> torch.dtype:
        """The type in which vectors are kept: that of the run, where a file can hold it."""
        return torch.float16 if self.placement.dtype == torch.float16 else torch.float32

    def embed_batch(self, batch: ImageBatch) -> Tensor:
        """Return one row for every id of the batch, NaN for what could not be read; nothing is waited for."""
        device = self.placement.device

        @torch.inference_mode()
        def encode(start: int, stop: int) -> Tensor:
            there = to_device(batch.pixels[start:stop], device)
            pixels = self.preprocess.normalise(there, self.placement.dtype, self._memory.of(there))
            return F.normalize(self._features(pixels).float(), dim=1)

        parts = [rows for _, rows in halving_batches(encode, len(batch.pixels), self._fitting)]
        if len(batch.read) == len(batch.ids) and parts:
            return torch.cat(parts)
        vectors = torch.full((len(batch.ids), self.dimension), torch.nan, device=device)
        read = to_device(torch.tensor(batch.read), device)
        return vectors.index_copy_(0, read, torch.cat(parts)) if parts else vectors
