"""Low confidence in the label as hardness: the base model's, an early-stopped one's, a biased one's (B.1.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.baselines.ranking import Examples
from fdgpu.arrays import rows_not_finite
from fdgpu.errors import InputError, ModelError
from fdgpu.networks import class_scores
from fdgpu.repair import GeneralisedCrossEntropy, Recipe, as_recipe, train


@dataclass(frozen=True)
class Confidence:
    """The probability that the base model gives to the label."""

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) from ``examples.probabilities``.

        Raises:
            InputError: if these are missing, no distributions, or not one row a label.
        """
        probabilities = examples.distributions("confidence")
        return probabilities[np.arange(len(probabilities)), examples.class_ids()]


@dataclass(frozen=True)
class ModelConfidence:
    """The probability that a model of one's own gives to the label."""

    model: nn.Module

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) from ``examples.images``, the softmax of the model's scores at the label (paper, B.1.5).

        Args:
            examples: labels (n,) and n images; a Dataset's own labels are not looked at.

        Raises:
            InputError: if the images are missing, there are not as many as labels, or a label is beyond the model's
                classes.
            ModelError: if the model's scores are not finite, as those of a model whose training diverged.
        """
        labels = examples.class_ids()
        scores = class_scores(self.model, examples.needed("images", "a model"))
        if len(scores) != len(labels):
            raise InputError(f"labels has {len(labels)} entries, images has {len(scores)}: pass one label an image")
        probabilities = scores.double().softmax(1)
        bad = rows_not_finite(probabilities)
        if len(bad):
            raise ModelError(
                f"the model's scores are not finite for {len(bad)} of {len(labels)} images, the first is "
                f"{int(bad[0])}: train it anew at a lower learning rate, or see whether these images hold NaN"
            )
        return Confidence().hardness(Examples(labels, probabilities=probabilities))


def early_stopped(
    model: nn.Module,
    images: Any,
    labels: Any = None,
    *,
    recipe: Recipe | str,
    epochs: int | None = None,
    **training: Any,
) -> ModelConfidence:
    """Train a model for the first epochs only, as Just Train Twice does, and rank by its confidence (paper, B.1.5).

    Args:
        model: untrained; it is trained in place.
        images: the base model's training images, see :func:`fdgpu.repair.train`.
        labels: theirs; None for a Dataset.
        recipe: the base model's, or its name; broken off in the middle of its schedule.
        epochs: by default a third of the recipe's; the paper stops at 10 of 30.
        training: further arguments of :func:`fdgpu.repair.train`.

    Raises:
        InputError: for epochs that are not from 1 to the recipe's, or what :func:`fdgpu.repair.train` refuses.
        ModelError: where the loss is no longer finite.
    """
    stop = max(1, round(as_recipe(recipe).epochs / 3)) if epochs is None else epochs
    return ModelConfidence(train(model, images, labels, recipe=recipe, stop_after=stop, **training))


def learning_from_failure(
    model: nn.Module, images: Any, labels: Any = None, *, recipe: Recipe | str, q: float = 0.7, **training: Any
) -> ModelConfidence:
    """Train a biased model, as Learning from Failure does, and rank by its confidence (paper, B.1.5).

    Args:
        model: untrained; it is trained in place.
        images: the base model's training images, see :func:`fdgpu.repair.train`.
        labels: theirs; None for a Dataset.
        recipe: the base model's, or its name.
        q: of :class:`fdgpu.repair.GeneralisedCrossEntropy`, the loss; the larger, the more biased.
        training: further arguments of :func:`fdgpu.repair.train`, but for its loss.

    Raises:
        InputError: for q outside (0, 1], or what :func:`fdgpu.repair.train` refuses.
        ModelError: where the loss is no longer finite.
    """
    return ModelConfidence(train(model, images, labels, recipe=recipe, loss=GeneralisedCrossEntropy(q), **training))
