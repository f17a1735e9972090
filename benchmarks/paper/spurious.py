"""A spurious pair over rising correlation: CelebA's age and gender (paper 3.1, B.1), as garments and colours.

Over eight strengths: does the CV score rise with the correlation (figure 4, B.1.3)? At four to one: which ranking
finds the minority (figure 2, B.1.5), and whose choice helps, by up-weighting (B.1.2) and by filtering (2.3)?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment, recipe_of
from benchmarks.paper.garments import Pair, Part, spurious_pair
from benchmarks.paper.models import Accuracies, Seen, find_directions, judge, see, train_on
from benchmarks.paper.rankings import BASE, OURS, Directions, all_rankings, cheap_rankings, share_in_top
from benchmarks.paper.remedies import filtered, outcomes, up_weighted
from benchmarks.paper.results import Figure, Summary
from fdgpu import ClipEmbedder, FailureDirections

BALANCED = 0.5
TRAIN, VAL, TEST, POOL = range(4)  # streams of random numbers of a seed


@dataclass(frozen=True)
class World:
    """The sets that every strength shares, and how to make a training set and a pool of one strength."""

    clip: ClipEmbedder
    settings: Mapping[str, Any]
    seed: int

    def set_of(self, stream: int, split: str, rows: tuple[int, int], share: float, renderings: int = 1) -> Seen:
        """Render and embed."""
        pair = Pair(tuple(self.settings["garments"]), self.settings["attribute"], tuple(self.settings["values"]))
        return see(self.clip, spurious_pair(pair, Part(split, *rows), share, 4 * self.seed + stream, renderings))

    def held_out(self) -> tuple[Seen, Seen]:
        """Return validation and test, both balanced."""
        rows = 0, self.settings["held_out"]
        test = self.set_of(TEST, "test", rows, BALANCED, self.settings["renderings"])
        return self.set_of(VAL, "val", rows, BALANCED), test

    def train(self, strength: float) -> Seen:
        """Return the training set of a strength, majority over minority."""
        return self.set_of(TRAIN, "base", tuple(self.settings["train"]), strength / (1 + strength))

    def pool(self, strength: float) -> Seen:
        """Return further pictures of the same kind."""
        return self.set_of(POOL, "base", tuple(self.settings["pool"]), strength / (1 + strength))


@dataclass(frozen=True)
class Trained:
    """A training set, the base model that it gave, and the directions of its failures."""

    train: Seen
    model: nn.Module
    directions: FailureDirections


def run(clip: ClipEmbedder, settings: Mapping[str, Any], seed: int) -> list[Figure]:
    """Measure one seed."""
    world, recipe = World(clip, settings, seed), recipe_of(settings)
    val, test = world.held_out()
    figures: list[Figure] = []
    scores: list[float] = []
    for strength in settings["strengths"]:
        train = world.train(strength)
        model = train_on(train.inputs, train.garments.labels, recipe, seed)
        trained = Trained(train, model, find_directions(judge(model, val), train.embeddings))
        scores.append(float(np.mean(trained.directions.cv_score_)))
        figures += _of_strength(trained, test, strength, scores[-1])
        if strength == settings["strength"]:
            figures += _rankings(trained, val, test, settings, seed)
            figures += _remedies(trained, world.pool(strength), test, settings, seed)
    return figures + [Figure(*key, r) for key, r in _correlations(settings["strengths"], scores).items()]


def _of_strength(trained: Trained, test: Seen, strength: float, score: float) -> list[Figure]:
    accuracies = Accuracies.of(trained.model, test)
    return [
        Figure("CV score", OURS, score, strength),
        Figure("accuracy by strength", BASE, accuracies.overall, strength),
        Figure("minority accuracy by strength", BASE, accuracies.minority, strength),
    ]


def _correlations(strengths: Sequence[float], scores: Sequence[float]) -> dict[tuple[str, str], float]:
    """Pearson's r of the CV score with the ratio, and with the correlation of colour and class, (n - 1) / (n + 1)."""
    ratio = np.asarray(strengths, float)
    return {
        ("Pearson r, CV score and ratio", OURS): float(np.corrcoef(ratio, scores)[0, 1]),
        ("Pearson r, CV score and correlation", OURS): float(np.corrcoef((ratio - 1) / (ratio + 1), scores)[0, 1]),
    }


def conclude(summaries: Sequence[Summary]) -> list[Summary]:
    """Correlate the strength with the mean score over seeds, as the paper's figure 4 plots it."""
    points = [(s.at, s.mean) for s in summaries if s.measure == "CV score" and s.at is not None]
    found = _correlations(*zip(*points, strict=True))
    return [Summary(f"{name}, of means", method, None, r, 0.0, (r,), None) for (name, method), r in found.items()]


def _rankings(trained: Trained, val: Seen, test: Seen, settings: Mapping[str, Any], seed: int) -> list[Figure]:
    """Who has the minority among the hardest of each class?"""
    recipe, minority = recipe_of(settings), test.garments.minority.numpy()
    judged = judge(trained.model, test)
    figures = []
    for name, ranking in all_rankings(
        trained.directions, trained.train, judge(trained.model, val), recipe, seed
    ).items():
        values = ranking.hardness(judged)
        shares = share_in_top(values, judged.labels, minority, settings["top"])
        figures += [Figure("minority in top K", name, share, k) for k, share in shares.items()]
    flagged = Directions(trained.directions).hardness(judged) < 0
    return [*figures, Figure("minority among flagged", OURS, float(minority[flagged].mean()))]


def _remedies(trained: Trained, pool: Seen, test: Seen, settings: Mapping[str, Any], seed: int) -> list[Figure]:
    """Train anew, steered by ours, by confidence, by lot and by the truth."""
    rankings = cheap_rankings(trained.directions, seed)
    train, judged = trained.train, partial(judge, trained.model)
    trials = {
        "up-weighting": up_weighted(train, judged(train), rankings, settings["factor"]),
        "filtering": filtered(train, pool, judged(pool), rankings, settings["added"], seed),
    }
    again = partial(outcomes, test=test, recipe=recipe_of(settings), seed=seed, trainings=settings["trainings"])
    return [figure for trial, sets in trials.items() for figure in again(trial, sets)]


EXPERIMENT = Experiment(
    "spurious",
    run,
    (
        Panel("How surely it is seen", ("CV score",), "majority : minority in training", "CV score"),
        Panel("The minority among the hardest", ("minority in top K",), "K", "share of the minority", (0, 1.02)),
        Panel("Accuracy of the minority, after", ("up-weighting: minority", "filtering: minority")),
    ),
    conclude,
)
