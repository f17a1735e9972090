"""From a source of images to rows of vectors, whatever the model: what every embedder shares."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fdgpu.device import BatchSize, Placement, halving_batches
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.sources import ImageBatch, ImageSource
from fdgpu.errors import FdgpuWarning
from fdgpu.progress import Reporter


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors with the ids they belong to.

    ``vectors`` (n, d) float32 on the model's device, one row for each of ``ids``, in the order of the source. The
    row of an image that could not be read is NaN, and ``unreadable`` says why.
    """

    ids: list[str]
    vectors: Tensor
    unreadable: dict[str, str]

    def vectors_with_warning(self) -> Tensor:
        """Return the vectors; warn the caller's caller if some are NaN."""
        if self.unreadable:
            path, reason = next(iter(self.unreadable.items()))
            warnings.warn(
                f"{len(self.unreadable)} of {len(self.ids)} images could not be read, their rows are NaN; "
                f"the first is {path}: {reason}",
                FdgpuWarning,
                stacklevel=3,
            )
        return self.vectors


@dataclass(frozen=True)
class ImageEncoder:
    """A model's image side: its preprocessing, and ``encode``, normalised pixels (n, 3, h, w) → unit vectors (n, d)."""

    encode: Callable[[Tensor], Tensor]
    preprocess: Preprocess
    dimension: int
    placement: Placement
    batch_size: int
    fitting: BatchSize

    def __call__(self, images: ImageSource, report: Reporter, stage: str) -> Embeddings:
        """Embed every image of a source."""
        ids: list[str] = []
        rows: list[Tensor] = []
        unreadable: dict[str, str] = {}
        report(stage, 0, images.count)
        for batch in images.batches(self.batch_size, self.preprocess.resize):
            rows.append(self._embed_batch(batch))
            ids += batch.order
            unreadable |= batch.unreadable
            report(stage, len(ids), images.count)
        vectors = torch.cat(rows) if rows else torch.empty(0, self.dimension, device=self.placement.device)
        return Embeddings(ids, vectors, unreadable)

    def _embed_batch(self, batch: ImageBatch) -> Tensor:
        """Return one row for every id of the batch, NaN for what could not be read."""
        vectors = torch.full((len(batch.order), self.dimension), torch.nan, device=self.placement.device)
        read = torch.tensor([i not in batch.unreadable for i in batch.order], device=self.placement.device)

        def encode(start: int, stop: int) -> Tensor:
            pixels = batch.pixels[start:stop].to(self.placement.device, non_blocking=True)
            return self.encode(self.preprocess.normalise(pixels, self.placement.dtype))

        parts = [rows for _, rows in halving_batches(encode, len(batch.ids), self.fitting)]
        if parts:
            vectors[read] = torch.cat(parts)
        return vectors
