"""CelebA: age, with which gender is correlated (paper 3.1, B.1); offline, two garments and their colours.

Over eight strengths: does the CV score rise with the correlation (figure 4, B.1.3)? At four to one: which ranking
finds the minority (figure 2, B.1.5), and whose choice helps, by up-weighting (B.1.2) and by filtering (2.3)?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import nn

from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment, recipe_of
from benchmarks.paper.files.celeba_world import on_files
from benchmarks.paper.lab import Lab, find_directions
from benchmarks.paper.offline.garments import Pair, Part, spurious_pair
from benchmarks.paper.rankings import BASE, OURS, Directions, all_rankings, cheap_rankings, share_in_top
from benchmarks.paper.remedies import filtered, outcomes, up_weighted
from benchmarks.paper.results import Figure, Summary
from benchmarks.paper.sets import Seen
from fdgpu import FailureDirections

BALANCED = 0.5
TRAIN, VAL, TEST, POOL = range(4)  # streams of random numbers of a seed


class World(Protocol):
    """The sets of one seed."""

    lab: Lab
    settings: Mapping[str, Any]
    seed: int

    def val(self) -> Seen:
        """Return validation, the minority as frequent as the majority."""
        ...

    def test(self) -> Seen:
        """Return test, balanced as well or as it comes."""
        ...

    def train(self, strength: float) -> Seen:
        """Return a training set with ``strength`` times as many of the majority as of the minority."""
        ...

    def pool(self, strength: float) -> Seen:
        """Return further images of the same kind."""
        ...


@dataclass(frozen=True)
class Garments:
    """Two garments, and a colour that goes with each."""

    lab: Lab
    settings: Mapping[str, Any]
    seed: int

    def val(self) -> Seen:
        """Render validation."""
        return self._set(VAL, "val", (0, self.settings["held_out"]), BALANCED)

    def test(self) -> Seen:
        """Render test, each photograph several times."""
        return self._set(TEST, "test", (0, self.settings["held_out"]), BALANCED, self.settings["renderings"])

    def train(self, strength: float) -> Seen:
        """Render a training set."""
        return self._set(TRAIN, "base", self.settings["train"], strength / (1 + strength))

    def pool(self, strength: float) -> Seen:
        """Render other photographs."""
        return self._set(POOL, "base", self.settings["pool"], strength / (1 + strength))

    def _set(self, stream: int, split: str, rows: Sequence[int], share: float, renderings: int = 1) -> Seen:
        pair = Pair(tuple(self.settings["garments"]), self.settings["attribute"], tuple(self.settings["values"]))
        return self.lab.see(spurious_pair(pair, Part(split, *rows), share, 4 * self.seed + stream, renderings))


def offline(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Garments]:
    """Return the worlds of garments."""
    return partial(Garments, Lab.offline(clip, recipe_of(settings)), settings)


@dataclass(frozen=True)
class Trained:
    """A training set, the base model that it gave, and the directions of its failures."""

    train: Seen
    model: nn.Module
    directions: FailureDirections


def run(world: World) -> list[Figure]:
    """Measure one seed."""
    lab, settings = world.lab, world.settings
    val, test = world.val(), world.test()
    figures: list[Figure] = []
    scores: list[float] = []
    for strength in settings["strengths"]:
        train = world.train(strength)
        model = lab.train(train.inputs, train.labels, world.seed)
        trained = Trained(train, model, find_directions(lab.judge(model, val), train.embeddings))
        scores.append(float(np.mean(trained.directions.cv_score_)))
        figures += _of_strength(lab, trained, test, strength, scores[-1])
        if strength == settings["strength"]:
            figures += _rankings(world, trained, val, test)
            figures += _remedies(world, trained, world.pool(strength), test)
    return figures + [Figure(*key, r) for key, r in _correlations(settings["strengths"], scores).items()]


def _of_strength(lab: Lab, trained: Trained, test: Seen, strength: float, score: float) -> list[Figure]:
    accuracies = lab.accuracies(trained.model, test)
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


def _rankings(world: World, trained: Trained, val: Seen, test: Seen) -> list[Figure]:
    """Who has the minority among the hardest of each class?"""
    lab, minority = world.lab, test.minority.numpy()
    judged = lab.judge(trained.model, test)
    rankings = all_rankings(lab, trained.directions, trained.train, lab.judge(trained.model, val), world.seed)
    figures = []
    for name, ranking in rankings.items():
        shares = share_in_top(ranking.hardness(judged), judged.labels, minority, world.settings["top"])
        figures += [Figure("minority in top K", name, share, k) for k, share in shares.items()]
    flagged = Directions(trained.directions).hardness(judged) < 0
    return [*figures, Figure("minority among flagged", OURS, float(minority[flagged].mean()))]


def _remedies(world: World, trained: Trained, pool: Seen, test: Seen) -> list[Figure]:
    """Train anew, steered by ours, by confidence, by lot and by the truth."""
    settings, seed, train = world.settings, world.seed, trained.train
    rankings, judged = cheap_rankings(trained.directions, seed), partial(world.lab.judge, trained.model)
    trials = {
        "up-weighting": up_weighted(train, judged(train), rankings, settings["factor"]),
        "filtering": filtered(train, pool, judged(pool), rankings, settings["added"], seed),
    }
    again = partial(outcomes, world.lab, test=test, seed=seed, trainings=settings["trainings"])
    return [figure for trial, sets in trials.items() for figure in again(trial, sets)]


EXPERIMENT = Experiment(
    "celeba",
    run,
    offline,
    (
        Panel("How surely it is seen", ("CV score",), "majority : minority in training", "CV score"),
        Panel("The minority among the hardest", ("minority in top K",), "K", "share of the minority", (0, 1.02)),
        Panel("Accuracy of the minority, after", ("up-weighting: minority", "filtering: minority")),
    ),
    on_files,
    conclude,
)
