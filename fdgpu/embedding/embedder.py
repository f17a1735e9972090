"""From a source of images to rows of vectors: what embedders of every model share."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import to_device
from fdgpu.device import BatchSize, choose_device, halving_batches
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.sources import ImageBatch, image_source
from fdgpu.errors import FdgpuWarning
from fdgpu.progress import OneBar, Reporter


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors with the ids they belong to.

    ``vectors`` is (n, d) float32 on the model's device, one row for each of ``ids``, in the order of the source. The
    row of an image that could not be read is NaN, and ``unreadable`` maps its id to the reason.
    """

    ids: list[str]
    vectors: Tensor
    unreadable: dict[str, str]


class ImageEmbedder:
    """Embeds images into unit vectors; a subclass brings the model, its preprocessing, and what it makes of pixels.

    Args:
        name: the model, as reports show it.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        batch_size: images at a time; halved whenever the device runs out of memory.
        precision: ``"float16"``, ``"bfloat16"``, ``"float32"``, or ``"auto"``: float16 on CUDA, float32 elsewhere.
    """

    preprocess: Preprocess
    dimension: int

    def __init__(self, name: str, device: str | torch.device, batch_size: int, precision: str = "auto") -> None:
        self.batch_size, self._fitting = batch_size, BatchSize(batch_size)
        self.placement = choose_device(device, precision)
        self.name = name

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
        return embeddings.vectors

    def embed(self, source: object, progress: Reporter | None = None, stage: str = "embed images") -> Embeddings:
        """Embed images and keep their ids and what could not be read; see :meth:`images`."""
        images = image_source(source)
        ids: list[str] = []
        rows: list[Tensor] = []
        unreadable: dict[str, str] = {}
        with OneBar(progress) as report:
            report(stage, 0, images.count)
            for batch in images.batches(self.batch_size, self.preprocess.resize):
                rows.append(self._embed_batch(batch))
                ids += batch.ids
                unreadable |= batch.unreadable
                report(stage, len(ids), images.count)
        vectors = torch.cat(rows) if rows else torch.empty(0, self.dimension, device=self.placement.device)
        return Embeddings(ids, vectors, unreadable)

    def _embed_batch(self, batch: ImageBatch) -> Tensor:
        """Return one row for every id of the batch, NaN for what could not be read; nothing is waited for."""
        device = self.placement.device

        @torch.inference_mode()
        def encode(start: int, stop: int) -> Tensor:
            pixels = self.preprocess.normalise(to_device(batch.pixels[start:stop], device), self.placement.dtype)
            return F.normalize(self._features(pixels).float(), dim=1)

        parts = [rows for _, rows in halving_batches(encode, len(batch.pixels), self._fitting)]
        if parts and not batch.unreadable:
            return torch.cat(parts)
        vectors = torch.full((len(batch.ids), self.dimension), torch.nan, device=device)
        read = torch.tensor([row for row, own in enumerate(batch.ids) if own not in batch.unreadable])
        return vectors.index_copy_(0, to_device(read, device), torch.cat(parts)) if parts else vectors
