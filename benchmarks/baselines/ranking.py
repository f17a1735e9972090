"""Rankings of examples by hardness behind one interface, so that one can stand in for another (paper, B.1.5).

Here are chance and low confidence in the label: the base model's, an early-stopped one's (Just Train Twice), and a
biased one's (Learning from Failure).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from fdgpu.arrays import rows_not_finite, to_host, to_numpy, to_torch
from fdgpu.errors import InputError, ModelError
from fdgpu.networks import class_scores
from fdgpu.repair import TrainingRecipe, as_recipe, cross_entropy, train

LEAST = 1e-12  # probability of a label, below which its loss is not told apart
SLACK = 1e-3  # of a distribution's sum: a softmax in half precision is off by less


@dataclass(frozen=True)
class Examples:
    """What a ranking may look at; each says which of these it needs.

    Attributes:
        labels: (n,) class ids from 0.
        images: (n, 3, h, w) as the models take them, or a Dataset of (image, label).
        embeddings: (n, d), in any space.
        probabilities: (n, k) that the base model gives, over classes: each row sums to 1. Where an image has several
            labels, each is a problem of its own, of two classes, [1 − p, p].
    """

    labels: Any
    images: Any = None
    embeddings: Any = None
    probabilities: Any = None

    def class_ids(self) -> NDArray[np.int64]:
        """Return the labels, checked."""
        labels = to_numpy(self.labels, "labels")
        if labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) == 0 or labels.min() < 0:
            raise InputError(f"labels is {labels.dtype} of shape {labels.shape}: pass (n,) class ids from 0, n > 0")
        return labels.astype(np.int64)

    def needed(self, name: str, who: str) -> Any:
        """Return a part, of which ``who`` has need.

        Raises:
            InputError: if it was not given.
        """
        part = getattr(self, name)
        if part is None:
            raise InputError(f"{who} looks at {name}, which was not given: pass Examples(…, {name}=…)")
        return part

    def matrix(self, name: str, who: str) -> NDArray[np.float64]:
        """Return embeddings or probabilities, one row an example.

        Raises:
            InputError: if they were not given, are not one row a label, or hold NaN or infinity.
        """
        rows = to_host(to_torch(self.needed(name, who), name).double(), name)
        if rows.ndim != 2 or len(rows) != len(self.class_ids()):
            raise InputError(
                f"{name} has shape {rows.shape}, there are {len(self.class_ids())} labels: pass a row each"
            )
        if not np.isfinite(rows).all():
            raise InputError(f"{name} holds NaN or infinity: drop these examples, or see what made them")
        return rows

    def distributions(self, who: str) -> NDArray[np.float64]:
        """Return the probabilities, one row an example, a column for every class that the labels name.

        Raises:
            InputError: if they were not given, are logits or for another reason no distributions, or have too few
                columns.
        """
        rows, highest = self.matrix("probabilities", who), self.class_ids().max()
        if highest >= rows.shape[1]:
            raise InputError(
                f"labels holds {highest}, there are {rows.shape[1]} probabilities: number the classes from 0"
            )
        sums, least = rows.sum(axis=1), rows.min(axis=1)
        off = (least < -SLACK) | (np.abs(sums - 1) > SLACK)
        if off.any():
            first = int(off.argmax())
            raise InputError(
                f"probabilities has {int(off.sum())} rows that are no distribution; row {first} has the sum "
                f"{sums[first]:.4g}, its least entry is {least[first]:.4g}: softmax them in float32 if they "
                "are logits; where an image has several labels, pass [1 − p, p] of one at a time"
            )
        return rows

    def loss(self, who: str) -> NDArray[np.float64]:
        """Return (n,) -log of the probability that the base model gives to the label.

        Raises:
            InputError: if there are no probabilities, or these are no distributions.
        """
        rows = self.distributions(who)
        return np.asarray(-np.log(rows[np.arange(len(rows)), self.class_ids()].clip(LEAST, 1)))


class Ranking(Protocol):
    """Orders examples."""

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) numbers, lower is harder, to be compared within a class; as a decision value is."""
        ...


@dataclass(frozen=True)
class Chance:
    """Draws lots."""

    seed: int = 0

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) uniform numbers; the same seed draws the same lots."""
        return np.random.default_rng(self.seed).random(len(examples.class_ids()))


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
        bad = rows_not_finite(probabilities, "probabilities")
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
    recipe: TrainingRecipe | str,
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


@dataclass(frozen=True)
class GeneralisedCrossEntropy:
    """(1 - p_y^q) / q, which listens to what a model already believes (Learning from Failure; paper, B.1.5).

    Its gradient is cross-entropy's times p_y^q: hard examples hardly count, and the model stays biased. q → 0 is
    cross-entropy, q = 1 the absolute error.
    """

    q: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.q <= 1:
            raise InputError(f"q is {self.q}: use a number above 0 and at most 1; Learning from Failure takes 0.7")

    def __call__(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return (n,) from scores (n, k) and classes (n,).

        Raises:
            InputError: for targets (n, k), several labels an image.
        """
        return -(-self.q * cross_entropy(scores, targets)).expm1() / self.q


def learning_from_failure(
    model: nn.Module, images: Any, labels: Any = None, *, recipe: TrainingRecipe | str, q: float = 0.7, **training: Any
) -> ModelConfidence:
    """Train a biased model, as Learning from Failure does, and rank by its confidence (paper, B.1.5).

    Args:
        model: untrained; it is trained in place.
        images: the base model's training images, see :func:`fdgpu.repair.train`.
        labels: theirs; None for a Dataset.
        recipe: the base model's, or its name.
        q: of :class:`GeneralisedCrossEntropy`, the loss; the larger, the more biased.
        training: further arguments of :func:`fdgpu.repair.train`, but for its loss.

    Raises:
        InputError: for q outside (0, 1], or what :func:`fdgpu.repair.train` refuses.
        ModelError: where the loss is no longer finite.
    """
    return ModelConfidence(train(model, images, labels, recipe=recipe, loss=GeneralisedCrossEntropy(q), **training))
