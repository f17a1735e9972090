"""A base model and the directions of its failures in a decoder's own space (A.7): what is decoded of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.paper.subpopulations import Splits, is_right
from fdgpu import FailureDirections
from fdgpu.captions import CaptionRecipe
from fdgpu.demo.world import Plant


@dataclass(frozen=True)
class Audited:
    """What was found in one model.

    Attributes:
        model: the base model.
        fit: directions of its errors, fitted without whitening.
        references: (k, d) each class's reference caption as a vector.
        plants: what is planted, by class id.
        resolution: side in pixels of what the model takes; None: decoded pictures are of that size.
    """

    model: nn.Module
    fit: FailureDirections
    references: Tensor
    plants: Mapping[int, Plant] = field(default_factory=dict)
    resolution: int | None = None

    @classmethod
    def of(cls, world: Splits) -> Audited:
        """Train a model on a world's training set, and fit directions on its validation."""
        lab, train, val = world.lab, world.train(), world.val()
        model = lab.train(train.inputs, train.labels, world.seed)
        fit = FailureDirections(whiten=False)
        fit.fit(val.embeddings, val.labels.numpy(), is_right(lab, model, val))
        references = reference_vectors(lab.clip, fit, world.captions)
        return cls(model, fit, references, resolution=lab.recipe.resolution)


def reference_vectors(clip: Any, fit: FailureDirections, captions: CaptionRecipe) -> Tensor:
    """Return (k, d), the vector of the reference caption of each class of a fit."""
    texts = [entry.reference for entry in captions.classes]
    return torch.as_tensor(clip.texts(texts)[[int(k) for k in fit.classes_]])
