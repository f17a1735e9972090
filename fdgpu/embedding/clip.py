"""Any open_clip model as an embedder of images and captions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.device import BatchSize, halving_batches, place
from fdgpu.embedding.loading import LoadedModel, load_model
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.sources import ImageBatch, image_source
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.progress import OneBar, Reporter


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors with the ids they belong to.

    ``vectors`` (n, d) float32 on the model's device, one row for each of ``ids``, in the order of the source. The
    row of an image that could not be read is NaN, and ``unreadable`` says why.
    """

    ids: list[str]
    vectors: Tensor
    unreadable: dict[str, str]


class ClipEmbedder:
    """Embeds images and captions into one space of unit vectors.

    Args:
        model: an open_clip model name such as ``"ViT-B-32"``, or ``"local-dir:FOLDER"`` or ``"hf-hub:NAME"``.
        pretrained: a pretrained tag such as ``"openai"``, or the path of a local checkpoint.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …; half precision on CUDA.
        batch_size: images or captions at a time; halved whenever the device runs out of memory.

    Attributes:
        dimension: length d of the vectors.
        name: the model and its weights, as reports show them.
        placement: device and precision, and why.

    Raises:
        ModelError: for an unknown model or tag (lists those there are), or weights that cannot be had.
        BackendError: for a device that is not here.
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        device: str | torch.device = "auto",
        batch_size: int = 256,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}: use at least 1")
        self.placement = place(device)
        self.batch_size = batch_size
        self._fitting = BatchSize(batch_size)
        self.name = f"{model}:{pretrained}" if pretrained else model
        loaded: LoadedModel = load_model(model, pretrained, self.placement)
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.preprocess = Preprocess.of_model(loaded.preprocess_config)
        self.dimension = int(self._encode(self.model.encode_text, self._on_device(self.tokenizer(["a"]))).shape[-1])

    @classmethod
    def bundled(cls, device: str | torch.device = "auto", batch_size: int = 256) -> ClipEmbedder:
        """Load the small CLIP that ships with fdgpu; it knows the bundled world and nothing else."""
        folder = resources.files("fdgpu") / "demo" / "clip"
        embedder = cls(f"local-dir:{folder}", device=device, batch_size=batch_size)
        embedder.name = "bundled"
        return embedder

    @classmethod
    def from_name(cls, name: str, device: str | torch.device = "auto", batch_size: int = 256) -> ClipEmbedder:
        """Load ``"bundled"`` or ``"MODEL:PRETRAINED"``, as the command line spells them."""
        if name == "bundled":
            return cls.bundled(device, batch_size)
        if name.startswith(("local-dir:", "hf-hub:")):
            return cls(name, device=device, batch_size=batch_size)
        model, _, pretrained = name.partition(":")
        return cls(model, pretrained or None, device, batch_size)

    def images(self, source: Any, progress: Reporter | None = None) -> Tensor:
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

    def embed(self, source: Any, progress: Reporter | None = None, stage: str = "embed images") -> Embeddings:
        """Embed images and keep their ids and what could not be read; see :meth:`images`."""
        images = image_source(source)
        ids: list[str] = []
        rows: list[Tensor] = []
        unreadable: dict[str, str] = {}
        with OneBar(progress) as report:
            report(stage, 0, images.count)
            for batch in images.batches(self.batch_size, self.preprocess.resize):
                rows.append(self._embed_batch(batch))
                ids += batch.order
                unreadable |= batch.unreadable
                report(stage, len(ids), images.count)
        vectors = torch.cat(rows) if rows else torch.empty(0, self.dimension, device=self.placement.device)
        return Embeddings(ids, vectors, unreadable)

    def texts(self, captions: str | Sequence[str] | Iterable[str], progress: Reporter | None = None) -> Tensor:
        """Embed captions, or a whole :class:`fdgpu.CaptionGrammar`.

        Returns:
            (n, d) float32 unit vectors on the model's device.

        Raises:
            InputError: for a caption that is longer than the model's context; it is not cut in silence.
        """
        listed = [captions] if isinstance(captions, str) else list(captions)
        tokens = self._tokenise(listed)

        def encode(start: int, stop: int) -> Tensor:
            return self._encode(self.model.encode_text, self._on_device(tokens[start:stop]))

        rows = []
        with OneBar(progress) as report:
            for done, vectors in halving_batches(encode, len(listed), self._fitting):
                rows.append(vectors)
                report("embed captions", done, len(listed))
        return torch.cat(rows) if rows else torch.empty(0, self.dimension, device=self.placement.device)

    def _embed_batch(self, batch: ImageBatch) -> Tensor:
        """Return one row for every id of the batch, NaN for what could not be read."""
        vectors = torch.full((len(batch.order), self.dimension), torch.nan, device=self.placement.device)
        read = torch.tensor([i not in batch.unreadable for i in batch.order], device=self.placement.device)

        def encode(start: int, stop: int) -> Tensor:
            pixels = self._on_device(batch.pixels[start:stop])
            return self._encode(self.model.encode_image, self.preprocess.normalise(pixels, self.placement.dtype))

        parts = [rows for _, rows in halving_batches(encode, len(batch.ids), self._fitting)]
        if parts:
            vectors[read] = torch.cat(parts)
        return vectors

    def _on_device(self, batch: Tensor) -> Tensor:
        return batch.to(self.placement.device, non_blocking=True)

    @torch.inference_mode()
    def _encode(self, tower: Any, batch: Tensor) -> Tensor:
        vectors: Tensor = F.normalize(tower(batch).float(), dim=-1)
        return vectors

    def token_count(self, caption: str) -> int:
        """Return how many tokens a caption takes, start and end of text included."""
        if hasattr(self.tokenizer, "encode"):
            return len(self.tokenizer.encode(caption)) + 2
        return len(self.tokenizer.tokenizer(caption).input_ids)  # Hugging Face's count both themselves

    def fits(self, caption: str) -> bool:
        """Whether the whole caption fits into the model's context."""
        return self.token_count(caption) <= self.context_length

    @property
    def context_length(self) -> int:
        """Most tokens of a caption."""
        return int(getattr(self.tokenizer, "context_length", None) or 77)

    def _tokenise(self, captions: list[str]) -> Tensor:
        for caption in captions:
            if not self.fits(caption):
                raise InputError(
                    f"the caption {caption!r} has {self.token_count(caption)} tokens, {self.name} takes at most "
                    f"{self.context_length}: shorten it"
                )
        if not captions:
            return torch.empty(0, self.context_length, dtype=torch.long)
        tokens: Tensor = self.tokenizer(captions)
        return tokens
