"""CelebA: age, with which gender is correlated (paper 3.1, B.1); offline, two garments and their colours.

Over eight strengths: does the CV score rise with the correlation (figure 4, B.1.3)? At one of them: which ranking
finds the minority (figure 2, B.1.5), also by a validation set that is as unbalanced (B.1.4) and in other latent spaces
(B.1.6), and whose choice helps, by up-weighting (B.1.2), by filtering and by synthetic images (2.3)? And what of a
data set that nobody has altered (B.1.7)?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch

from benchmarks.paper.charts import Panel
from benchmarks.paper.correlations import of_means, pearson
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.files.celeba_world import on_files
from benchmarks.paper.fitted import Fitted
from benchmarks.paper.lab import correct
from benchmarks.paper.offline.spurious_garments import garments
from benchmarks.paper.rankings import BASE, OURS, all_rankings, cheap_rankings, minority_in_top, ours_and_confidence
from benchmarks.paper.remedies import (
    TrainingSet,
    filtered,
    mean_accuracies,
    outcomes,
    up_weighted,
)
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from benchmarks.paper.spaces import Space, compare, spaces_of
from benchmarks.paper.synthetic import (
    Painter,
    Words,
    decoded,
    hardest_caption,
    names_the_minority,
    vectors_to_decode,
)
from benchmarks.paper.worlds import Evaluated


class World(Evaluated, Protocol):
    """The sets of one seed; labels are 0 and 1, and in validation and test the minority is as frequent as the rest."""

    def train(self, strength: float) -> Seen:
        """Return a training set with ``strength`` times as many of the majority as of the minority."""
        ...

    def pool(self, strength: float) -> Seen:
        """Return further images of the same kind."""
        ...

    def val_as_training(self, strength: float) -> Seen:
        """Return validation images with the training set's correlation (B.1.4)."""
        ...

    def unaltered(self) -> tuple[Seen, Seen, Seen]:
        """Return training, validation and test with the correlation that the data set has by itself (B.1.7)."""
        ...

    def spaces(self) -> Mapping[str, Space]:
        """Return further latent spaces by name, which neither CLIP nor the base model's data made (B.1.6)."""
        ...

    def words(self) -> Sequence[Words]:
        """Return the captions of each class, in the order of the labels."""
        ...

    def painter(self) -> Painter | None:
        """Return what decodes vectors of the lab's CLIP to pictures; None where nothing can."""
        ...


def run(world: World) -> list[Figure]:
    """Measure one seed."""
    val, test = world.val(), world.test()
    figures: list[Figure] = []
    for strength in world.settings["strengths"]:
        fitted = Fitted.on(world.lab, world.train(strength), val, world.seed)
        figures += _of_strength(fitted, test, strength)
        if strength == world.settings["strength"]:
            figures += _at_one_strength(world, fitted, val, test)
    return figures + _correlations(figures) + _unaltered(world)


def _at_one_strength(world: World, fitted: Fitted, val: Seen, test: Seen) -> list[Figure]:
    settings, strength = world.settings, world.settings["strength"]
    spaces = spaces_of(fitted, world.spaces())
    return [
        *_rankings(world, fitted, test),
        *_captions(world, fitted),
        *_as_training(world, fitted, world.val_as_training(strength), test),
        *compare(spaces, fitted, val, test, settings["top"]),
        *_remedies(world, fitted, world.pool(strength), test),
    ]


def _of_strength(fitted: Fitted, test: Seen, strength: float) -> list[Figure]:
    accuracies = fitted.lab.accuracies(fitted.model, test)
    return [
        Figure("CV score", OURS, float(np.mean(fitted.directions.cv_score_)), strength),
        Figure("accuracy by strength", BASE, accuracies.overall, strength),
        Figure("minority accuracy by strength", BASE, accuracies.minority, strength),
    ]


def _correlations(figures: Sequence[Figure]) -> list[Figure]:
    """Pearson's r of the CV score with the ratio n, and with the correlation of colour and class, (n - 1) / (n + 1)."""
    points = [(f.at, f.value) for f in figures if f.measure == "CV score" and f.at is not None]
    ratio, scores = np.array(points).T
    return [
        Figure("Pearson r, CV score and ratio", OURS, pearson(ratio, scores)),
        Figure("Pearson r, CV score and correlation", OURS, pearson((ratio - 1) / (ratio + 1), scores)),
    ]


def conclude(means: Sequence[Figure]) -> list[Figure]:
    """Correlate the strength with the mean score over seeds, as the paper's figure 4 plots it."""
    return of_means(_correlations(means))


def _rankings(world: World, fitted: Fitted, test: Seen) -> list[Figure]:
    """Who has the minority among the hardest of each class?"""
    rankings = all_rankings(world.lab, fitted.fits, fitted.train, fitted.val, world.seed)
    judged = world.lab.judge(fitted.model, test)
    flagged = test.minority[torch.from_numpy(rankings[OURS].hardness(judged) < 0)]
    return [
        *minority_in_top("minority in top K", rankings, judged, test.minority, world.settings["top"]),
        Figure("minority among flagged", OURS, float(flagged.float().mean())),
    ]


def _captions(world: World, fitted: Fitted) -> list[Figure]:
    """Of how many classes does the hardest caption name the minority (figure 3)?"""
    clip, words = world.lab.clip, list(enumerate(world.words()))
    return [
        Figure(
            "the hardest caption names the minority",
            name,
            float(np.mean([names_the_minority(hardest_caption(clip, fit, own, label), own) for label, own in words])),
        )
        for name, fit in fitted.fits.items()
    ]


def _as_training(world: World, fitted: Fitted, val: Seen, test: Seen) -> list[Figure]:
    """Find the same model's failures in a validation set with few of the minority (B.1.4)."""
    again = Fitted.of(world.lab, fitted.train, fitted.model, val)
    rankings, judged = ours_and_confidence(again.fits), world.lab.judge(again.model, test)
    name = "minority in top K, validation as training"
    return minority_in_top(name, rankings, judged, test.minority, world.settings["top"])


def _unaltered(world: World) -> list[Figure]:
    """Take the data as they come: the minority's share of each class, of the errors on it, and of the hardest (B.1.7).

    The shares are the paper's table 2, ``at`` the class.
    """
    train, val, test = world.unaltered()
    fitted = Fitted.on(world.lab, train, val, world.seed)
    rankings, judged = ours_and_confidence(fitted.fits), world.lab.judge(fitted.model, test)
    top = world.settings["top"]
    figures = minority_in_top("minority in top K, unaltered", rankings, judged, test.minority, top)
    wrong = ~torch.from_numpy(correct(judged))
    for label in (0, 1):
        own = test.labels == label
        of_errors = test.minority[own & wrong].float().mean()
        figures.append(Figure("unaltered: minority of the data", BASE, float(test.minority[own].float().mean()), label))
        figures.append(Figure("unaltered: minority of the errors", BASE, float(of_errors), label))
    return figures


def _remedies(world: World, fitted: Fitted, pool: Seen, test: Seen) -> list[Figure]:
    """Train anew, steered by ours, by confidence, by lot and by the truth."""
    settings, seed, train = world.settings, world.seed, fitted.train
    rankings, judged = cheap_rankings(fitted.fits, seed), partial(world.lab.judge, fitted.model)
    trials = {
        "up-weighting": up_weighted(train, judged(train), rankings, settings["factor"]),
        "filtering": filtered(train, pool, judged(pool), rankings, settings["added"], seed),
        "synthetic": _synthetic(world, fitted),
    }
    base = mean_accuracies(world.lab, TrainingSet.of(train), test, seed, settings["trainings"])
    again = partial(outcomes, world.lab, test=test, seed=seed, trainings=settings["trainings"], base=base)
    return [figure for trial, sets in trials.items() for figure in again(trial, sets)]


def _synthetic(world: World, fitted: Fitted) -> dict[str, TrainingSet]:
    """Add decoded pictures; nothing where there is no decoder."""
    painter, settings = world.painter(), world.settings
    if painter is None:
        return {}
    vectors = vectors_to_decode(fitted, world.words(), settings["alpha"], world.seed)
    return decoded(fitted, vectors, painter, settings["synthetic"], world.seed)


EXPERIMENT = Experiment(
    "celeba",
    run,
    garments,
    (
        Panel("How surely it is seen", ("CV score",), "majority : minority in training", "CV score"),
        Panel("The minority among the hardest", ("minority in top K",), "K", "share of the minority", (0, 1.02)),
        Panel("Validation as unbalanced", ("minority in top K, validation as training",), "K", "", (0, 1.02)),
        Panel("In other latent spaces", ("minority in top K, by space",), "K", "", (0, 1.02)),
        Panel("Unaltered", ("minority in top K, unaltered",), "K", "", (0, 1.02)),
        Panel(
            "Accuracy of the minority, after",
            ("up-weighting: minority", "filtering: minority", "synthetic: minority"),
        ),
    ),
    on_files,
    conclude,
)
