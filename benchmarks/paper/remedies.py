"""Interventions, each of them steered by several rankings, and what they do for minority and overall accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.baselines import Examples, Ranking
from benchmarks.paper.lab import Accuracies, Lab
from benchmarks.paper.rankings import BASE, ORACLE, OURS
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Inputs, Seen, join, take
from fdgpu.repair import hardest, up_weights

APART = 1000  # between the seeds of one model's trainings, so that no two seeds of an experiment share one


@dataclass(frozen=True)
class TrainingSet:
    """What a model is trained on anew."""

    inputs: Inputs
    labels: Tensor
    weights: Tensor | None = None

    @classmethod
    def of(cls, seen: Seen, weights: NDArray[np.float32] | None = None) -> TrainingSet:
        """Return a set as it is, or weighed."""
        return cls(seen.inputs, seen.labels, None if weights is None else torch.from_numpy(weights))


def filtered(
    train: Seen, pool: Seen, judged: Examples, rankings: Mapping[str, Ranking], k: int, seed: int
) -> dict[str, TrainingSet]:
    """Add the ``k`` hardest of each class from a pool, by each ranking (2.3, A.5).

    The oracle takes minority pictures, as far as the pool has them, by lot; there is none where nobody knows any.
    """
    steered = {name: ranking.hardness(judged) for name, ranking in rankings.items()}
    if bool(pool.minority.any()):
        steered[ORACLE] = np.random.default_rng(seed).random(len(judged.labels)) - pool.minority.numpy()
    sets = {BASE: TrainingSet.of(train)}
    for name, values in steered.items():
        rows = torch.from_numpy(hardest(values, judged.labels, k))
        inputs = join(train.inputs, take(pool.inputs, rows))
        sets[name] = TrainingSet(inputs, torch.cat([train.labels, pool.labels[rows]]))
    return sets


def up_weighted(
    train: Seen, judged: Examples, rankings: Mapping[str, Ranking], factor: float
) -> dict[str, TrainingSet]:
    """Weigh the examples that a ranking finds hard by ``factor`` (A.2, B.1.2).

    Ours flags what has h < 0; every other ranking flags as many of each class, its hardest; the oracle all minorities.
    """
    flagged = rankings[OURS].hardness(judged) < 0
    flags = {name: as_many(ranking.hardness(judged), judged.labels, flagged) for name, ranking in rankings.items()}
    flags |= {OURS: flagged, ORACLE: train.minority.numpy()}
    weighed = {name: TrainingSet.of(train, up_weights(np.where(own, -1, 1), factor)) for name, own in flags.items()}
    return {BASE: TrainingSet.of(train), **weighed}


def as_many(values: NDArray[np.float64], labels: NDArray[np.int64], flagged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flag in each class the lowest values, as many as ``flagged`` does."""
    own = np.zeros(len(values), bool)
    for label in np.unique(labels):
        count = int(flagged[labels == label].sum())
        if count:
            own[hardest(values, labels, count, classes=[int(label)])] = True
    return own


def outcomes(
    lab: Lab,
    trial: str,
    sets: Mapping[str, TrainingSet],
    test: Seen,
    seed: int,
    trainings: int,
    base: Accuracies | None = None,
) -> list[Figure]:
    """Train on each set ``trainings`` times, and return the mean accuracies, of the minority and overall.

    ``base`` is what the set of that name gives, where it is known from another trial.
    """
    figures = []
    for name, own in sets.items():
        known = base if name == BASE else None
        found = known or mean_accuracies(lab, own, test, seed, trainings)
        figures.append(Figure(f"{trial}: minority", name, found.minority))
        figures.append(Figure(f"{trial}: overall", name, found.overall))
    return figures


def mean_accuracies(lab: Lab, own: TrainingSet, test: Seen, seed: int, trainings: int) -> Accuracies:
    """Train from as many starts, and average."""
    seeds = [seed + APART * number for number in range(trainings)]
    models = (lab.train(own.inputs, own.labels, start, own.weights) for start in seeds)
    found = [lab.accuracies(model, test) for model in models]
    return Accuracies(fmean(a.overall for a in found), fmean(a.minority for a in found))
