"""What a CV score says about a failure: beside the share removed, minority accuracy and errors (figures 22 to 24)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Examples
from benchmarks.paper.correlations import of_means, pearson
from benchmarks.paper.lab import correct
from benchmarks.paper.rankings import BASE, OURS, Directions
from benchmarks.paper.results import Figure
from fdgpu import FailureDirections

SCORES, ACCURACIES = "CV score by share removed", "minority accuracy by share removed"


@dataclass(frozen=True)
class Degree:
    """One class of one model.

    Attributes:
        removed: share of the minority subclass that the model's training set lacks.
        score: CV score of the class's direction.
        minority_accuracy: of the model, on the class's minority in test.
        predicted: share of the minority among the test images with a decision value below 0; NaN if there are none.
        actual: its share among those on which the model is wrong.
    """

    removed: float
    score: float
    minority_accuracy: float
    predicted: float
    actual: float


def degrees(removed: float, directions: FailureDirections, test: Examples, minority: NDArray[np.bool_]) -> list[Degree]:
    """Measure every class."""
    right, flagged = correct(test), Directions(directions).hardness(test) < 0
    scores = np.asarray(directions.cv_score_)[:, 0]
    found = []
    for label, score in zip(directions.classes_, scores, strict=True):
        own = test.labels == label
        found.append(
            Degree(
                removed,
                float(score),
                _mean(right[own & minority]),
                _mean(minority[own & flagged]),
                _mean(minority[own & ~right]),
            )
        )
    return found


def study(points: Sequence[Degree], kept_fixed: float) -> list[Figure]:
    """Average over classes at each share removed, and correlate: over shares, and at ``kept_fixed`` between classes."""
    shares = sorted({point.removed for point in points})
    scores, accuracies = ([_over(points, share, name) for share in shares] for name in ("score", "minority_accuracy"))
    at_one = [point for point in points if point.removed == kept_fixed]
    between = [point.score for point in at_one]
    return [
        *_by_share(SCORES, OURS, shares, scores),
        *_by_share(ACCURACIES, BASE, shares, accuracies),
        *_by_share("minority of predicted errors", OURS, shares, [_over(points, s, "predicted") for s in shares]),
        *_by_share("minority of actual errors", BASE, shares, [_over(points, s, "actual") for s in shares]),
        *_correlations(shares, scores, accuracies),
        Figure(
            "Pearson r between classes, CV score and minority of predicted errors",
            OURS,
            pearson(between, [point.predicted for point in at_one]),
        ),
        Figure(
            "Pearson r between classes, CV score and minority of actual errors",
            OURS,
            pearson(between, [point.actual for point in at_one]),
        ),
    ]


def conclude(means: Sequence[Figure]) -> list[Figure]:
    """Correlate the means over seeds, as the paper's figure 22 plots them."""
    scores = {f.at: f.value for f in means if f.measure == SCORES and f.at is not None}
    accuracies = [f.value for f in means if f.measure == ACCURACIES]
    return of_means(_correlations(list(scores), list(scores.values()), accuracies))


def _correlations(shares: Sequence[float], scores: Sequence[float], accuracies: Sequence[float]) -> list[Figure]:
    return [
        Figure("Pearson r, CV score and share removed", OURS, pearson(scores, shares)),
        Figure("Pearson r, CV score and minority accuracy", OURS, pearson(scores, accuracies)),
    ]


def _by_share(measure: str, method: str, shares: Sequence[float], values: Sequence[float]) -> list[Figure]:
    return [Figure(measure, method, value, share) for share, value in zip(shares, values, strict=True)]


def _over(points: Sequence[Degree], share: float, name: str) -> float:
    return float(np.nanmean([getattr(point, name) for point in points if point.removed == share]))


def _mean(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
