"""One adapter a diffusers pipeline; a pipeline is known by its class, or one that it derives from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fdgpu.decoding.denoiser import Denoiser
from fdgpu.decoding.pipelines.context import Context, RetrievalAugmented
from fdgpu.decoding.pipelines.kandinsky import Kandinsky
from fdgpu.decoding.pipelines.stable_unclip import StableUnclip
from fdgpu.decoding.pipelines.unclip import Unclip
from fdgpu.errors import InputError

Adapter = Callable[[Any, int | None, Any], Denoiser]

ADAPTERS: dict[str, Adapter] = {
    "StableUnCLIPImg2ImgPipeline": StableUnclip,
    "KandinskyV22Pipeline": Kandinsky,
    "UnCLIPImageVariationPipeline": Unclip,
    "RDMPipeline": RetrievalAugmented,  # a research project of diffusers, and no class of the package
    "StableDiffusionImageVariationPipeline": Context,
}


def adapt(pipeline: Any, size: int | None, negative: Any) -> Denoiser:
    """Return the pipeline as a denoiser.

    Raises:
        InputError: for a pipeline that does not take CLIP vectors, or a size or negative vector that it cannot have.
    """
    for kind in type(pipeline).__mro__:
        if kind.__name__ in ADAPTERS:
            return ADAPTERS[kind.__name__](pipeline, size, negative)
    raise InputError(
        f"{type(pipeline).__name__} is not a pipeline that decodes CLIP vectors: use one of {', '.join(ADAPTERS)}; "
        "captions go to any text-to-image pipeline by fdgpu.text_to_image"
    )
