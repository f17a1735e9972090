"""Subpopulations that nobody has marked: each class's hardest and easiest caption, and the images nearest to it (4.1).

Where no attribute is known, the accuracy on the K test images of a class that lie nearest to a caption in CLIP's space
stands for the accuracy on what the caption describes (figures 7b and 10b).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from benchmarks.paper.charts import Panel
from benchmarks.paper.lab import Lab, correct
from benchmarks.paper.rankings import OURS, Fits, both_methods
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from benchmarks.paper.worlds import ThreeSets
from fdgpu import FailureDirections
from fdgpu.auditing.captioning import CaptionSource, caption_classes
from fdgpu.captions import CaptionRecipe
from fdgpu.progress import silent

HARD, EASY, REFERENCE = "hard", "easy", "reference"
SIDES = (HARD, EASY)
FULL = ", larger training set"


class Splits(ThreeSets, Protocol):
    """The sets of one seed in which nothing is planted, and the captions to try for each class, by its id."""

    @property
    def captions(self) -> CaptionRecipe:
        """Return one entry a class."""
        ...

    def pool(self) -> Seen:
        """Return further images, of which the base model has seen none."""
        ...


@dataclass(frozen=True)
class Extremes:
    """The hardest and the easiest caption of each class that has a direction.

    Attributes:
        texts: class id → ``"hard"``, ``"easy"`` and ``"reference"`` → caption.
        vectors: class id → ``"hard"`` and ``"easy"`` → (d,) unit vector.
    """

    texts: Mapping[int, Mapping[str, str]]
    vectors: Mapping[int, Mapping[str, NDArray[np.float32]]]

    @classmethod
    def of(cls, fit: FailureDirections, clip: Any, captions: CaptionRecipe) -> Extremes:
        """Caption a fit, as an audit does."""
        found = {
            k: modes[0] for k, modes in caption_classes(fit, clip, CaptionSource(captions, {}), silent).by_class.items()
        }
        texts = {
            k: {
                HARD: mode.hard[0].caption,
                EASY: mode.easy[0].caption,
                REFERENCE: captions.classes[k].reference,
            }
            for k, mode in found.items()
        }
        vectors = {
            k: {side: clip.texts(own[side]).cpu().numpy()[0] for side in (HARD, EASY)} for k, own in texts.items()
        }
        return cls(texts, vectors)

    def named(self, captions: CaptionRecipe) -> dict[str, Mapping[str, str]]:
        """Return the texts by class name, as :func:`fdgpu.text_to_image` takes them."""
        return {captions.names[k]: own for k, own in self.texts.items()}

    def nearest(self, seen: Seen, side: str) -> list[NDArray[np.int64]]:
        """Return for each class the rows of its images, the nearest to its caption first (cosine)."""
        labels = seen.labels.numpy()
        members = {k: np.flatnonzero(labels == k) for k in self.vectors}
        return [
            own[np.argsort(-(seen.embeddings[own] @ self.vectors[k][side]), kind="stable")]
            for k, own in members.items()
        ]


def accuracies_near(
    right: NDArray[np.bool_], nearest: Sequence[NDArray[np.int64]], ks: Sequence[int]
) -> dict[int, float]:
    """Return for each K the accuracy on the first K rows of each class, averaged over classes."""
    return {k: float(np.mean([right[rows[:k]].mean() for rows in nearest])) for k in ks}


@dataclass(frozen=True)
class Captioned:
    """A model, the directions of its failures, and the captions of their sides."""

    model: nn.Module
    fits: Fits
    extremes: Extremes

    @property
    def directions(self) -> FailureDirections:
        """The paper's, whose captions these are."""
        return self.fits[OURS]

    @classmethod
    def of(cls, world: Splits, model: nn.Module, train: Seen, val: Seen) -> Captioned:
        """Find a trained model's failures on validation."""
        fits = both_methods(world.lab.judge(model, val), train.embeddings)
        return cls(model, fits, Extremes.of(fits[OURS], world.lab.clip, world.captions))


def near_both_sides(
    right: NDArray[np.bool_], extremes: Extremes, test: Seen, ks: Sequence[int], method: str, suffix: str = ""
) -> list[Figure]:
    """Return the accuracy near the hard and the easy captions over K, and on all images, the same at every K."""
    figures = [
        Figure(f"near the {side} caption{suffix}", method, value, k)
        for side in SIDES
        for k, value in accuracies_near(right, extremes.nearest(test, side), ks).items()
    ]
    return figures + [Figure(f"all images{suffix}", method, float(right.mean()), k) for k in ks]


def is_right(lab: Lab, model: nn.Module, seen: Seen) -> NDArray[np.bool_]:
    """(n,) whether a model is right on each image of a set."""
    return correct(lab.judge(model, seen))


def over_k(title: str, *measures: str) -> Panel:
    """Plot accuracies near captions over K."""
    return Panel(title, measures, "K nearest test images of a class", "accuracy")


def _near(title: str, suffix: str) -> Panel:
    return over_k(title, f"near the {HARD} caption{suffix}", f"near the {EASY} caption{suffix}", f"all images{suffix}")


NEAR, NEAR_FULL = _near("Near the captions", ""), _near("Larger training set", FULL)
