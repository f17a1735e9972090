"""Any open_clip model as an embedder of images and captions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from importlib import resources

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import to_device
from fdgpu.device import Choice
from fdgpu.embedding.embedder import ImageEmbedder
from fdgpu.embedding.named_networks import SCHEMAS, Tokenizer, load_model
from fdgpu.embedding.text_encoder import TextEncoder
from fdgpu.embedding.text_tower import ClipModel
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.progress import OneBar, Reporter

OF_TEN_GARMENTS = (
    "The images were embedded by the bundled CLIP, which knows ten garments, rendered at 64 pixels: of anything else "
    "its vectors, and the captions found by them, mean little. Name an open_clip model, such as ViT-B-32:openai."
)


class ClipEmbedder(ImageEmbedder):
    """Embeds images and captions into one space of unit vectors.

    Args:
        model: an open_clip model name such as ``"ViT-B-32"``, or ``"local-dir:FOLDER"`` or ``"hf-hub:NAME"``.
        pretrained: a pretrained tag such as ``"openai"``, or the path of a local checkpoint, which may be OpenAI's own
            archive. A file that does not say whether it needs QuickGELU gets what the model's name says, with a
            warning: weights fine-tuned from OpenAI's are loaded as ``"ViT-B-32-quickgelu"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, …
        batch_size: images, or captions of full length, at a time; halved whenever the device runs out of memory.
        precision: what the model multiplies in, ``"float16"``, ``"bfloat16"`` or ``"float32"``; ``"auto"`` is float16
            on CUDA and float32 elsewhere. Layer norms compute in float32, and the vectors are float32.
        reduced_decoding: decode JPEGs that are much larger than the model's input at a half, a quarter or an eighth of
            their size, where no side gets below twice the input's or below 256 pixels. The least cosine to vectors of
            the whole pictures (crops of two photographs) was 0.99994 for the bundled CLIP, and 0.99997 for a ViT-B/32
            of random weights. A classifier in the same pass sees whole pictures: then nothing is reduced.

    Attributes:
        dimension: length d of the vectors.
        name: the model and its weights, as reports show them.
        placement: device and precision, and why.
        text_method_: how captions are encoded, and why.
        activation_: ``"quick_gelu"``, ``"gelu"`` or ``"other"``, and what decided it.
        doubts: what could make the vectors wrong; an audit notes it.

    Raises:
        ModelError: for an unknown model or tag (lists those there are), or weights that cannot be had, are another
            model's, or no weights.
        BackendError: for a device that is not here.

    Example:
        >>> clip = ClipEmbedder.bundled()
        >>> captions = clip.texts(["a photo of a coat", "a photo of a red coat"])
        >>> captions.shape == (2, clip.dimension)
        True
    """

    model: ClipModel
    activation_: Choice
    unread = "exceed the model's context, or hold characters that it cannot read"

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        device: str | torch.device = "auto",
        batch_size: int = 256,
        precision: str = "auto",
        *,
        reduced_decoding: bool = False,
    ) -> None:
        super().__init__(f"{model}:{pretrained}" if pretrained else model, device, batch_size, precision)
        loaded = load_model(model, pretrained, self.placement)
        self.model, self.tokenizer, self.activation_ = loaded.model, loaded.tokenizer, loaded.activation
        if loaded.doubt:
            self.doubts = (loaded.doubt,)
            warnings.warn(loaded.doubt, FdgpuWarning, stacklevel=2)
        self._tokens = CaptionTokens(self.tokenizer, self.name)
        self._texts = TextEncoder(self.model, self.placement, self._fitting)
        self.preprocess, self.reduced_decoding = loaded.preprocess, reduced_decoding
        with torch.inference_mode():
            self.dimension = self.model.encode_text(self.tokenizer(["a"]).to(self.placement.device)).shape[-1]

    @classmethod
    def bundled(
        cls,
        device: str | torch.device = "auto",
        batch_size: int = 256,
        precision: str = "auto",
        *,
        reduced_decoding: bool = False,
    ) -> ClipEmbedder:
        """Load the small CLIP that ships with fdgpu; it knows the bundled world and nothing else.

        Its ``doubts`` say so in an audit; empty them for pictures of that world.
        """
        folder = resources.files("fdgpu") / "demo" / "clip"
        embedder = cls(f"local-dir:{folder}", None, device, batch_size, precision, reduced_decoding=reduced_decoding)
        embedder.name = embedder._tokens.name = "bundled"
        embedder.doubts = (OF_TEN_GARMENTS,)
        return embedder

    @classmethod
    def from_name(
        cls,
        name: str,
        device: str | torch.device = "auto",
        batch_size: int = 256,
        precision: str = "auto",
        *,
        reduced_decoding: bool = False,
    ) -> ClipEmbedder:
        """Load ``"bundled"`` or ``"MODEL:PRETRAINED"``, as the command line spells them."""
        if name == "bundled":
            return cls.bundled(device, batch_size, precision, reduced_decoding=reduced_decoding)
        model, _, pretrained = (name, "", "") if name.startswith(SCHEMAS) else name.partition(":")
        return cls(model, pretrained or None, device, batch_size, precision, reduced_decoding=reduced_decoding)

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


# --- captions as token ids --------------------------------------------------------------------------------------------


class CaptionTokens:
    """A model's tokenizer. It refuses, with a reason, a caption that the model would not read whole.

    Args:
        tokenizer: one of open_clip's.
        name: the model's name in messages.
    """

    def __init__(self, tokenizer: Tokenizer, name: str) -> None:
        import open_clip

        self.tokenizer, self.name = tokenizer, name
        self._is_open_clips = type(tokenizer) is open_clip.SimpleTokenizer
        self._words: dict[str, list[int]] = {}

    @property
    def context_length(self) -> int:
        """Most tokens of a caption."""
        return int(getattr(self.tokenizer, "context_length", None) or 77)

    def ids(self, caption: str) -> list[int]:
        """Return every token of a caption, start and end of text included, however many."""
        if self._is_open_clips:
            return [self.tokenizer.sot_token_id, *self._encode(caption), self.tokenizer.eot_token_id]
        return list(self.tokenizer.tokenizer(caption).input_ids)  # Hugging Face's add start and end themselves

    def refusal(self, caption: str) -> str | None:
        """Say why the model cannot take a caption whole; None if it can."""
        try:
            caption.encode("utf-8")
        except UnicodeEncodeError as error:
            return f"holds {caption[error.start]!r}, which no tokenizer can encode: leave it out"
        return self._refusal(self.ids(caption))

    def matrix(self, captions: Sequence[str]) -> NDArray[np.int32]:
        """Tokenise captions to (m, context_length), padded as the model's own tokenizer does.

        Raises:
            InputError: for the first caption that the model cannot take whole.
        """
        for caption in captions:
            reason = self.refusal(caption)
            if reason is not None:
                raise InputError(f"the caption {caption!r} {reason}")
        if not captions:
            return np.zeros((0, self.context_length), np.int32)
        if not self._is_open_clips:
            return np.asarray(self.tokenizer(list(captions)), dtype=np.int32)
        return self._padded([self.ids(caption) for caption in captions])

    def _refusal(self, ids: list[int]) -> str | None:
        if len(ids) > self.context_length:
            return f"has {len(ids)} tokens, {self.name} takes at most {self.context_length}: shorten it"
        if self._is_open_clips and any(i in ids[1:-1] for i in self.tokenizer.all_special_ids):
            return f"holds a mark that {self.name} takes for the start or the end of the text: leave it out"
        unknown = self._unknown_id()
        if unknown is not None and unknown in ids:
            return f"holds characters that the tokenizer of {self.name} does not know: leave them out"
        return None

    def _unknown_id(self) -> int | None:
        """Return the id that stands for unknown characters, where the tokenizer keeps one for nothing else."""
        theirs = getattr(self.tokenizer, "tokenizer", None)
        unknown: int | None = getattr(theirs, "unk_token_id", None)
        marks = {getattr(theirs, f"{mark}_token_id", None) for mark in ("bos", "eos", "pad", "cls", "sep")}
        return None if unknown in marks else unknown

    def _encode(self, caption: str) -> list[int]:
        """Encode a caption by its words, each of which is encoded once.

        That is exact for plain text: the tokenizer cleans it character by character, and no token reaches across a
        space. Captions with entities (``&amp;``) or with characters beyond ASCII are encoded whole.
        """
        if not (caption.isascii() and caption.isprintable()) or "&" in caption:
            whole: list[int] = self.tokenizer.encode(caption)
            return whole
        ids: list[int] = []
        for word in caption.split():
            known = self._words.get(word)
            if known is None:
                known = self._words[word] = self.tokenizer.encode(word)
            ids += known
        return ids

    def _padded(self, rows: list[list[int]]) -> NDArray[np.int32]:
        lengths = np.array([len(row) for row in rows])
        matrix = np.zeros((len(rows), self.context_length), np.int32)
        # (m, L) marks the tokens of all rows in the order in which they are concatenated
        matrix[np.arange(self.context_length) < lengths[:, None]] = np.concatenate(rows)
        return matrix
