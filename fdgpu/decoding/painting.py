"""Captions → pictures, by a text-to-image pipeline of diffusers or by a decoder that is given the caption's vector."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from fdgpu.arrays import rows_not_finite, to_host
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.pipelines import Pipeline
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from fdgpu.fingerprint import Settings, pipeline_settings, plain, weights_digest

SET_HERE = ("prompt", "generator", "output_type", "return_dict", "num_images_per_prompt")


class Painter(Protocol):
    """Makes one picture a caption; the same caption and seed give the same picture."""

    def __call__(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Return uint8 pictures (n, 3, h, w) on the CPU."""
        ...

    @property
    def settings(self) -> Settings:
        """What decides the pictures beside captions and seeds, as plain data for a manifest."""
        ...


class CaptionReader(Protocol):
    """Turns captions into vectors of a CLIP space, as :class:`fdgpu.ClipEmbedder` does."""

    @property
    def name(self) -> str:
        """What open_clip calls the CLIP."""
        ...

    @property
    def dimension(self) -> int:
        """Length d of the vectors."""
        ...

    def texts(self, captions: list[str], /) -> Tensor:
        """Return unit vectors (n, d)."""
        ...


class PipelinePainter:
    """Any diffusers text-to-image pipeline; ``arguments`` go into its call, such as ``guidance_scale``."""

    def __init__(self, pipeline: Pipeline, /, **arguments: object) -> None:
        takes = inspect.signature(type(pipeline).__call__).parameters
        if not {"prompt", "generator"} <= set(takes) or _needs_more(takes):
            raise InputError(
                f"{type(pipeline).__name__} does not make pictures of a prompt alone: pass a text-to-image "
                "pipeline of diffusers, or an fdgpu.Decoder and the ClipEmbedder that reads captions for it"
            )
        reserved = [name for name in SET_HERE if name in arguments]
        if reserved:
            raise InputError(
                f"{reserved[0]} was given, which fdgpu.text_to_image sets itself: leave it out, captions and "
                "per_caption say what is painted and how often"
            )
        self.pipeline, self.arguments = pipeline, arguments

    def __call__(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Paint; one generator a picture, so that none depends on its batch."""
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        made = self.pipeline(prompt=list(captions), generator=generators, output_type="np", **self.arguments)
        pictures = torch.from_numpy(np.asarray(made.images)).permute(0, 3, 1, 2)
        self._check_made(pictures, getattr(made, "nsfw_content_detected", None), captions)
        return _as_bytes(pictures)

    def _check_made(self, pictures: Tensor, blackened: Sequence[bool] | None, captions: Sequence[str]) -> None:
        name, bad = type(self.pipeline).__name__, rows_not_finite(pictures.flatten(1), "pictures")
        if len(bad):
            raise ModelError(
                f"{name} made NaN of {len(bad)} of {len(pictures)} captions, the first is {captions[int(bad[0])]!r}: "
                "load its VAE, which overflows in float16, in float32 or bfloat16"
            )
        black = [caption for caption, is_black in zip(captions, blackened or (), strict=False) if is_black]
        if black:
            warnings.warn(
                f"the safety checker of {name} made {len(black)} of {len(pictures)} pictures black, the first is of "
                f"{black[0]!r}: use other captions, or load the pipeline with safety_checker=None",
                FdgpuWarning,
                stacklevel=2,
            )

    @property
    def settings(self) -> Settings:
        """The pipeline's class, weights and schedulers, and what its call is given."""
        return {**pipeline_settings(self.pipeline), "arguments": plain(self.arguments)}


class DecoderPainter:
    """A decoder that is given the caption's vector: text to image without a text-to-image model.

    The space of ``clip`` has to be the decoder's; ``arguments`` go to :meth:`Decoder.sample`, such as ``steps``.
    """

    def __init__(self, decoder: Decoder, clip: CaptionReader, /, **arguments: Any) -> None:
        decoder.check(clip)
        self.decoder, self.clip, self.arguments = decoder, clip, arguments

    def __call__(self, captions: Sequence[str], seeds: Sequence[int]) -> Tensor:
        """Paint; pictures of one caption differ by their seeds alone."""
        made = self.decoder.sample(self.clip.texts(list(captions)), seed=list(seeds), **self.arguments)
        return torch.from_numpy(to_host(_as_bytes(made), "pictures to write"))

    @property
    def settings(self) -> Settings:
        """The decoder, the CLIP that reads, and what sampling is given."""
        return {
            **self.decoder.settings,
            "clip": str(self.clip.name),
            "clip_weights": weights_digest({"clip": getattr(self.clip, "model", None)}),
            "arguments": plain(self.arguments),
        }


def painter_of(model: Decoder | Pipeline, clip: CaptionReader | None, arguments: Mapping[str, Any]) -> Painter:
    """Return the painter of a decoder or of a text-to-image pipeline.

    Raises:
        InputError: for a decoder without a CLIP or of another space, and a pipeline that needs more than a prompt.
    """
    if not isinstance(model, Decoder):
        return PipelinePainter(model, **arguments)
    if clip is None:
        raise InputError(f"{model.name} takes vectors: pass clip=, the ClipEmbedder that reads captions for it")
    return DecoderPainter(model, clip, **arguments)


def _needs_more(takes: Mapping[str, inspect.Parameter]) -> bool:
    """Whether the call has another argument without a default, as inpainting has its picture."""
    given = ("self", "prompt", "generator")
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return any(
        one.default is inspect.Parameter.empty and one.kind not in variadic
        for name, one in takes.items()
        if name not in given
    )


def _as_bytes(pictures: Tensor) -> Tensor:
    return pictures.float().mul(255).round().clamp(0, 255).to(torch.uint8)
