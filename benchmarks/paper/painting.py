"""Pictures of captions, added to a training set: the paper's synthetic data augmentation (2.3, A.8)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V

from benchmarks.paper.files.images import at_resolution
from benchmarks.paper.remedies import TrainingSet
from benchmarks.paper.sets import Seen
from fdgpu import text_to_image
from fdgpu.captions import CaptionRecipe
from fdgpu.repair import augmented


def paint(
    captions: Mapping[str, Mapping[str, str]],
    model: Any,
    clip: Any,
    classes: CaptionRecipe,
    per_caption: int,
    seed: int,
    **arguments: Any,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Paint every caption.

    Args:
        captions: class name → kind → caption.
        model: a decoder, or a text-to-image pipeline of diffusers.
        clip: reads captions for a decoder.
        classes: in the order of their ids.
        per_caption: pictures of each.
        seed: of their noise.
        arguments: of :meth:`fdgpu.Decoder.sample` or of the pipeline's call.

    Returns:
        Kind → pictures (n, 3, h, w) uint8 and their class ids (n,).
    """
    kinds = dict.fromkeys(kind for own in captions.values() for kind in own)
    with TemporaryDirectory() as folder:
        painted = text_to_image(
            captions, model, Path(folder), clip=clip, per_caption=per_caption, seed=seed, **arguments
        )
        of_kind = {kind: painted.of(kind) for kind in kinds}
        return {kind: (own.pictures(), _ids(own.class_names, classes)) for kind, own in of_kind.items()}


def with_pictures(train: Seen, pictures: Tensor, labels: Tensor, side: int) -> TrainingSet:
    """Add pictures, uint8 or in [0, 1], to a training set, at the side in pixels that its network sees."""
    sized = at_resolution(pictures, side)
    both = torch.cat([train.labels, labels])
    if isinstance(train.inputs, Tensor) and train.inputs.is_floating_point():
        return TrainingSet(torch.cat([train.inputs, V.to_dtype(sized, torch.float32, scale=True)]), both)
    as_files = V.to_dtype(sized, torch.uint8, scale=True)
    if isinstance(train.inputs, Tensor):
        return TrainingSet(torch.cat([train.inputs, as_files]), both)
    return TrainingSet(augmented(train.inputs, as_files, labels), both)


def _ids(names: list[str], classes: CaptionRecipe) -> Tensor:
    return torch.tensor([classes.names.index(name) for name in names])
