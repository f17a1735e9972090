"""Any open_clip model as an embedder of images and captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.device import BatchSize, Choice, choose_device
from fdgpu.embedding.encoding import Embeddings, ImageEncoder
from fdgpu.embedding.loading import LoadedModel, load_model
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.sources import image_source
from fdgpu.embedding.text_encoder import TextEncoder
from fdgpu.embedding.tokens import CaptionTokens
from fdgpu.errors import InputError
from fdgpu.progress import OneBar, Reporter


class ClipEmbedder:
    """Embeds images and captions into one space of unit vectors.

    Args:
        model: an open_clip model name such as ``"ViT-B-32"``, or ``"local-dir:FOLDER"`` or ``"hf-hub:NAME"``.
        pretrained: a pretrained tag such as ``"openai"``, or the path of a local checkpoint.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …; half precision on CUDA.
        batch_size: images, or captions of full length, at a time; halved whenever the device runs out of memory.

    Attributes:
        dimension: length d of the vectors.
        name: the model and its weights, as reports show them.
        placement: device and precision, and why.
        text_method_: how captions are encoded, and why.

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
        self.placement = choose_device(device)
        self.batch_size = batch_size
        self._fitting = BatchSize(batch_size)
        self.name = f"{model}:{pretrained}" if pretrained else model
        loaded: LoadedModel = load_model(model, pretrained, self.placement)
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self._tokens = CaptionTokens(self.tokenizer, self.name)
        self._texts = TextEncoder(self.model, self.placement, self._fitting)
        self.preprocess = Preprocess.of_model(loaded.preprocess_config)
        self.dimension = int(self._encode(self.model.encode_text, self._on_device(self.tokenizer(["a"]))).shape[-1])

    @classmethod
    def bundled(cls, device: str | torch.device = "auto", batch_size: int = 256) -> ClipEmbedder:
        """Load the small CLIP that ships with fdgpu; it knows the bundled world and nothing else."""
        folder = resources.files("fdgpu") / "demo" / "clip"
        embedder = cls(f"local-dir:{folder}", device=device, batch_size=batch_size)
        embedder.name = embedder._tokens.name = "bundled"
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
        return self.embed(source, progress).vectors_with_warning()

    def embed(self, source: Any, progress: Reporter | None = None, stage: str = "embed images") -> Embeddings:
        """Embed images and keep their ids and what could not be read; see :meth:`images`."""
        images = image_source(source)
        encoder = ImageEncoder(
            lambda pixels: self._encode(self.model.encode_image, pixels),
            self.preprocess,
            self.dimension,
            self.placement,
            self.batch_size,
            self._fitting,
        )
        with OneBar(progress) as report:
            return encoder(images, report, stage)

    def texts(self, captions: str | Sequence[str] | Iterable[str], progress: Reporter | None = None) -> Tensor:
        """Embed captions, or a whole :class:`fdgpu.CaptionGrammar`.

        A caption that stands twice is encoded once, and so is a beginning that captions share (``text_method_``).

        Returns:
            (n, d) float32 unit vectors on the model's device, equal to ``encode_text`` within 1e-4 in float32.

        Raises:
            InputError: for a caption that the model would not read whole: one longer than its context, or with
                characters that its tokenizer cannot encode. It is named, and not cut in silence.
        """
        listed = [captions] if isinstance(captions, str) else list(captions)
        odd = [caption for caption in listed if not isinstance(caption, str)]
        if odd:
            raise InputError(f"captions holds {odd[0]!r}, a {type(odd[0]).__name__}: pass strings")
        distinct = list(dict.fromkeys(listed))
        tokens = self._tokens.matrix(distinct)
        if not distinct:
            return torch.empty(0, self.dimension, device=self.placement.device)
        with OneBar(progress) as report:
            vectors = self._texts(tokens, report)
        if len(distinct) == len(listed):
            return vectors
        row = {caption: i for i, caption in enumerate(distinct)}
        return vectors[torch.tensor([row[caption] for caption in listed], device=vectors.device)]

    def _on_device(self, batch: Tensor) -> Tensor:
        return batch.to(self.placement.device, non_blocking=True)

    @torch.inference_mode()
    def _encode(self, tower: Any, batch: Tensor) -> Tensor:
        vectors: Tensor = F.normalize(tower(batch).float(), dim=-1)
        return vectors

    @property
    def text_method_(self) -> Choice:
        """How captions are encoded, and why: ``"prefix_tree"``, ``"cut_context"`` or ``"encode_text"``.

        Known by the text tower's structure; the first captions may still show that it does not hold.
        """
        return self._texts.choice

    def token_count(self, caption: str) -> int:
        """Return how many tokens a caption takes, start and end of text included."""
        return len(self._tokens.ids(caption))

    def fits(self, caption: str) -> bool:
        """Whether the model takes the whole caption: it fits into the context, and its tokenizer can encode it."""
        return self._tokens.refusal(caption) is None

    @property
    def context_length(self) -> int:
        """Most tokens of a caption."""
        return self._tokens.context_length
