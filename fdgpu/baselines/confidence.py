"""Low confidence in the label as hardness: the base model's, an early-stopped one's, a biased one's (B.1.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fdgpu.baselines.ranking import Examples
from fdgpu.errors import InputError
from fdgpu.networks import class_scores
from fdgpu.training import GeneralisedCrossEntropy, Recipe, train


@dataclass(frozen=True)
class Confidence:
    """The probability that the base model gives to the label."""

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) from ``examples.probabilities``."""
        return _of_label(examples.matrix("probabilities", "confidence"), examples.class_ids())


@dataclass(frozen=True)
class ModelConfidence:
    """The probability that a model of one's own gives to the label."""

    model: nn.Module

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) from ``examples.images``."""
        scores = class_scores(self.model, examples.needed("images", "a model"))
        return _of_label(scores.double().softmax(1).numpy(), examples.class_ids())


def early_stopped(
    model: nn.Module, images: Any, labels: Any = None, *, recipe: Recipe, epochs: int | None = None, **training: Any
) -> ModelConfidence:
    """Train a model for the first epochs only, as Just Train Twice does, and rank by its confidence.

    Args:
        model: untrained; it is trained in place.
        images: the base model's training images, see :func:`fdgpu.training.train`.
        labels: theirs.
        recipe: the base model's, broken off in the middle of its schedule.
        epochs: by default a third of the recipe's; the paper stops at 10 of 30.
        training: further arguments of :func:`fdgpu.training.train`.
    """
    stop = max(1, round(recipe.epochs / 3)) if epochs is None else epochs
    return ModelConfidence(train(model, images, labels, recipe=recipe, stop_after=stop, **training))


def learning_from_failure(
    model: nn.Module, images: Any, labels: Any = None, *, recipe: Recipe, q: float = 0.7, **training: Any
) -> ModelConfidence:
    """Train a biased model by the generalised cross-entropy (Learning from Failure), and rank by its confidence."""
    return ModelConfidence(train(model, images, labels, recipe=recipe, loss=GeneralisedCrossEntropy(q), **training))


def _of_label(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    classes = probabilities.shape[1]
    if labels.max() >= classes:
        raise InputError(f"labels holds {labels.max()}, there are {classes} probabilities: number the classes from 0")
    return probabilities[np.arange(len(labels)), labels]
