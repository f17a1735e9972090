"""The paper's figure 8b on the bundled world: the base model's accuracy on decoded pictures, from easy to hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fdgpu import FailureDirections, decode_directions
from fdgpu.auditing.decoded import DecodedDirections
from fdgpu.captions import Recipe
from fdgpu.decoding import Decoder
from fdgpu.demo.base_model import predict, train_base_model
from fdgpu.demo.settings import world_settings
from fdgpu.demo.world import TRAIN, VAL, make_split
from fdgpu.embedding import ClipEmbedder

PAPER = {"easy": 0.676, "neutral": 0.685, "hard": 0.369}  # CIFAR-10 at α = 0.1


@dataclass(frozen=True)
class Audited:
    """A base model with planted failures, the directions of its errors, and each class's reference vector."""

    model: nn.Module
    fit: FailureDirections
    references: Tensor


def audited(seed: int, clip: ClipEmbedder) -> Audited:
    """Train the demo's base model and fit directions on the validation split, with L2 normalisation only (A.7)."""
    train, val = make_split(TRAIN, seed), make_split(VAL, seed)
    model = train_base_model(train.pictures, train.labels, seed)
    predicted, _ = predict(model, val.pictures)
    fit = FailureDirections(whiten=False).fit(clip.images(val.pictures), val.labels, predicted == val.labels)
    names = world_settings().class_names
    captions = [entry.reference for entry in Recipe.resolve("demo", names).classes]
    places = [int(k) for k in fit.classes_]
    return Audited(model, fit, clip.texts(captions)[places])


def rows(
    decoder: Decoder, world: Audited, alphas: Sequence[float], seeds: Sequence[int], **sampling: Any
) -> list[dict[str, Any]]:
    """Return one row a rotation: accuracy over all classes, and over those with a planted failure."""
    decoded = decode_directions(world.fit, world.references, decoder, alphas=alphas, seeds=seeds, **sampling)
    right = _right(world.model, decoded)
    settings = world_settings()
    planted = [settings.class_names.index(plant.class_name) for plant in settings.plants]
    of_a_plant = torch.tensor([k in planted for k in decoded.classes])
    return [
        {
            "end": rotation.end,
            "alpha": rotation.alpha,
            "accuracy": round(float(right[:, column].mean()), 4),
            "accuracy, planted": round(float(right[of_a_plant, column].mean()), 4),
            "paper, CIFAR-10": PAPER[rotation.end] if rotation.alpha in (0.0, 0.1) else None,
            "pictures": right[:, column].numel(),
        }
        for column, rotation in enumerate(decoded.grid.rotations)
    ]


@torch.inference_mode()
def _right(model: nn.Module, decoded: DecodedDirections) -> Tensor:
    """Return (k, p, s): whether the model names the class; it takes 32 x 32 pictures as they are decoded."""
    pictures = decoded.grid.pictures
    said = torch.cat([model(batch).argmax(1) for batch in pictures.flatten(0, 2).cpu().split(1024)])
    labels = torch.tensor(decoded.classes)[:, None, None]
    return (said.view(pictures.shape[:3]) == labels).float()
