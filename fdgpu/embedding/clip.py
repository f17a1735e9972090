"""Any open_clip model as an embedder of images and captions."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fdgpu.arrays import to_device
from fdgpu.device import Choice, Placement
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.preprocess import Preprocess
from fdgpu.embedding.text_encoder import TextEncoder
from fdgpu.embedding.text_tower import ClipModel
from fdgpu.embedding.tokens import CaptionTokens, Tokenizer
from fdgpu.errors import InputError, ModelError
from fdgpu.progress import OneBar, Reporter

SCHEMAS = ("local-dir:", "hf-hub:")

# open_clip's names. Its "fp16" and "bf16" convert what is multiplied: convolutions, linear layers and attention. Layer
# norms keep float32 weights and compute in it, and so do embeddings; "pure_fp16" would round those too.
PRECISIONS = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}


class ClipEmbedder(ImageEmbedder):
    """Embeds images and captions into one space of unit vectors.

    Args:
        model: an open_clip model name such as ``"ViT-B-32"``, or ``"local-dir:FOLDER"`` or ``"hf-hub:NAME"``.
        pretrained: a pretrained tag such as ``"openai"``, or the path of a local checkpoint.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        batch_size: images, or captions of full length, at a time; halved whenever the device runs out of memory.
        precision: what the model multiplies in, ``"float16"``, ``"bfloat16"`` or ``"float32"``; ``"auto"`` is float16
            on CUDA and float32 elsewhere. Layer norms compute in float32, and the vectors are float32.

    Attributes:
        dimension: length d of the vectors.
        name: the model and its weights, as reports show them.
        placement: device and precision, and why.
        text_method_: how captions are encoded, and why.

    Raises:
        ModelError: for an unknown model or tag (lists those there are), or weights that cannot be had.
        BackendError: for a device that is not here.

    Example:
        >>> clip = ClipEmbedder.bundled()
        >>> captions = clip.texts(["a photo of a coat", "a photo of a red coat"])
        >>> captions.shape == (2, clip.dimension)
        True
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        device: str | torch.device = "auto",
        batch_size: int = 256,
        precision: str = "auto",
    ) -> None:
        super().__init__(f"{model}:{pretrained}" if pretrained else model, device, batch_size, precision)
        self.model, self.tokenizer, config = _load_model(model, pretrained, self.placement)
        self._tokens = CaptionTokens(self.tokenizer, self.name)
        self._texts = TextEncoder(self.model, self.placement, self._fitting)
        self.preprocess = Preprocess.of_model(config)
        with torch.inference_mode():
            self.dimension = self.model.encode_text(self.tokenizer(["a"]).to(self.placement.device)).shape[-1]

    @classmethod
    def bundled(
        cls, device: str | torch.device = "auto", batch_size: int = 256, precision: str = "auto"
    ) -> ClipEmbedder:
        """Load the small CLIP that ships with fdgpu; it knows the bundled world and nothing else."""
        folder = resources.files("fdgpu") / "demo" / "clip"
        embedder = cls(f"local-dir:{folder}", None, device, batch_size, precision)
        embedder.name = embedder._tokens.name = "bundled"
        return embedder

    @classmethod
    def from_name(
        cls, name: str, device: str | torch.device = "auto", batch_size: int = 256, precision: str = "auto"
    ) -> ClipEmbedder:
        """Load ``"bundled"`` or ``"MODEL:PRETRAINED"``, as the command line spells them."""
        if name == "bundled":
            return cls.bundled(device, batch_size, precision)
        model, _, pretrained = (name, "", "") if name.startswith(SCHEMAS) else name.partition(":")
        return cls(model, pretrained or None, device, batch_size, precision)

    def _features(self, pixels: Tensor) -> Tensor:
        return self.model.encode_image(pixels)

    def texts(self, captions: str | Sequence[str] | Iterable[str], progress: Reporter | None = None) -> Tensor:
        """Embed captions, or a whole :class:`fdgpu.CaptionGrammar`.

        A caption that is given twice is encoded once. Most models encode a beginning that captions share once too: see
        ``text_method_``.

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
        return vectors[to_device(torch.tensor([row[caption] for caption in listed]), vectors.device)]

    @property
    def text_method_(self) -> Choice:
        """How captions are encoded, and why: ``"prefix_tree"``, ``"cut_context"`` or ``"encode_text"``.

        It follows from the text tower's structure. Where the first captions show that it does not give what
        ``encode_text`` gives, another is taken, with a warning.
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


def _load_model(name: str, pretrained: str | None, placement: Placement) -> tuple[ClipModel, Tokenizer, dict[str, Any]]:
    """Load a model through open_clip, in evaluation mode and without gradients.

    Args:
        name: a model name of open_clip, or with a ``local-dir:`` or ``hf-hub:`` prefix.
        pretrained: a tag or a checkpoint's path; None with a prefix, which names the weights too.
        placement: where it runs and in which precision.

    Returns:
        the model on its device, its tokenizer, and its preprocessing as open_clip configures it.

    Raises:
        ModelError: for an unknown name or tag, or weights that cannot be had. Random weights are never used.
    """
    import open_clip

    quick_gelu = _check_name(name, pretrained)
    try:
        with _quiet_root_logger():
            model = open_clip.create_model(
                name,
                pretrained,
                precision=PRECISIONS[placement.dtype],
                device=placement.device,
                force_quick_gelu=quick_gelu,
                require_pretrained=True,
            )
            tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # open_clip, the hub client and torch each raise their own kinds
        raise ModelError(
            f"{name}{':' + pretrained if pretrained else ''} could not be loaded ({error}). "
            "Weights are fetched from a model hub on first use: without a network, pass the path of a local checkpoint"
        ) from error
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model, tokenizer, open_clip.get_model_preprocess_cfg(model)


def _check_name(name: str, pretrained: str | None) -> bool:
    """Check name and tag; return whether the weights were trained with QuickGELU.

    open_clip only warns when the tag's activation is not the model's, and the embeddings are then wrong.
    """
    import open_clip

    if name.startswith(SCHEMAS):
        return False
    known = open_clip.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
        hint = f"did you mean {', '.join(close)}?" if close else f"there are {len(known)}, such as ViT-B-32"
        raise ModelError(f"open_clip has no model {name!r}: {hint}")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
    if pretrained is None:
        raise ModelError(f"{name} was asked for without weights: add a tag, one of {tags}, or a checkpoint's path")
    if Path(pretrained).is_file():
        return False
    config = open_clip.get_pretrained_cfg(name, pretrained)
    if not config:
        raise ModelError(f"{pretrained!r} is neither a file nor a pretrained tag of {name}: use one of {tags}")
    return bool(config.get("quick_gelu", False)) and not name.endswith("-quickgelu")


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """open_clip logs its whole loading to the root logger, which prints warnings where nobody configured logging."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
