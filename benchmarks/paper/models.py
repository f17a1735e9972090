"""One base model, what it says of each set, and the directions of its failures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.paper.garments import Garments
from fdgpu import ClipEmbedder, FailureDirections
from fdgpu.baselines import Examples
from fdgpu.demo.base_model import halved, small_convnet
from fdgpu.networks import class_scores
from fdgpu.training import Recipe, train


@dataclass(frozen=True)
class Seen:
    """A set as the two networks see it: ``inputs`` of the base model, ``embeddings`` of CLIP."""

    garments: Garments
    inputs: Tensor
    embeddings: NDArray[np.float32]


def see(clip: ClipEmbedder, garments: Garments) -> Seen:
    """Embed a set."""
    return Seen(garments, halved(garments.pictures), clip.images(garments.pictures).cpu().numpy())


def train_on(inputs: Tensor, labels: Tensor, recipe: Recipe, seed: int, weights: Tensor | None = None) -> nn.Module:
    """Train a small net from its start by this seed."""
    model = small_convnet(int(labels.max()) + 1, seed)
    return train(model, inputs, labels, recipe=recipe, seed=seed, weights=weights)


def judge(model: nn.Module, seen: Seen) -> Examples:
    """Ask the model about a set."""
    probabilities = class_scores(model, seen.inputs).softmax(1).numpy()
    return Examples(seen.garments.labels.numpy(), seen.inputs, seen.embeddings, probabilities)


def correct(examples: Examples) -> NDArray[np.bool_]:
    """(n,) whether the model is right."""
    return np.asarray(examples.probabilities.argmax(axis=1) == examples.labels)


def find_directions(val: Examples, train_embeddings: NDArray[np.float32]) -> FailureDirections:
    """Fit with the paper's settings."""
    return FailureDirections().fit(val.embeddings, val.labels, correct(val), reference=train_embeddings)


@dataclass(frozen=True)
class Accuracies:
    """Of all pictures, and of the minorities'."""

    overall: float
    minority: float

    @classmethod
    def of(cls, model: nn.Module, test: Seen) -> Accuracies:
        """Measure on a set."""
        right = torch.from_numpy(correct(judge(model, test)))
        return cls(float(right.float().mean()), float(right[test.garments.minority].float().mean()))
