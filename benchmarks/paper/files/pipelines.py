"""Pipelines of diffusers by name: whether they fit the embedder, and as decoders, where the rest runs too."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fdgpu import Decoder
from fdgpu.decoding.spaces import ClipSpace
from fdgpu.device import choose_device
from fdgpu.errors import InputError, ModelError

UNNAMED = 0  # length of vectors that nobody has seen yet


def check_space(pipeline: str, wanted: str, clip: Any) -> None:
    """Check by name alone, before anything large is loaded, that a pipeline decodes the embedder's vectors.

    Args:
        pipeline: a folder, or a name on a hub.
        wanted: the CLIP that it was trained with, as ``--clip`` spells it.
        clip: has a ``name``; a checkpoint's folder, a hub's name or a file of weights says too little, and passes.

    Raises:
        InputError: names the embedder to use.
    """
    own_name = clip.name.replace("-quickgelu:", ":")  # open_clip's other name of the same weights
    try:
        ClipSpace(UNNAMED, (wanted,)).check(own_name, pipeline)
    except InputError:
        raise InputError(f"{pipeline} decodes vectors of {wanted}, not of {clip.name}: use --clip {wanted}") from None


@lru_cache(maxsize=1)  # seeds share it, and two would not fit on a small device
def load_decoder(pipeline: str, clip: Any) -> Decoder:
    """Load a pipeline from a folder or a hub.

    Raises:
        ModelError: if it cannot be loaded.
        InputError: if it decodes no CLIP vectors, or those of another embedder.
    """
    from diffusers import DiffusionPipeline  # takes seconds

    try:
        loaded = DiffusionPipeline.from_pretrained(pipeline)
    except Exception as error:  # diffusers, transformers and the hub's client each raise their own kinds
        raise ModelError(
            f"{pipeline} cannot be loaded ({error}): it is fetched from a hub on first use; without a network, name a "
            "folder in the experiment's TOML file"
        ) from error
    return Decoder.from_diffusers(loaded.to(choose_device("auto").device), clip=clip)
