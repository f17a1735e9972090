"""Interventions, each of them steered by several rankings, and what they do for minority and overall accuracy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.paper.models import Accuracies, Seen, train_on
from benchmarks.paper.rankings import ORACLE
from fdgpu.baselines import Examples, Ranking
from fdgpu.interventions import hardest, up_weights
from fdgpu.training import Recipe


def filtered(
    train: Seen, pool: Seen, judged: Examples, rankings: Mapping[str, Ranking], k: int, recipe: Recipe, seed: int
) -> dict[str, nn.Module]:
    """Train anew with the ``k`` hardest of each class from a pool (2.3, A.5), by each ranking.

    The oracle takes minority pictures, as far as the pool has them, by lot.
    """
    lots = np.random.default_rng(seed).random(len(judged.labels))
    oracle = lots - pool.garments.minority.numpy()
    steered = {name: ranking.hardness(judged) for name, ranking in rankings.items()} | {ORACLE: oracle}
    models = {}
    for name, values in steered.items():
        rows = torch.from_numpy(hardest(values, judged.labels, k))
        inputs = torch.cat([train.inputs, pool.inputs[rows]])
        labels = torch.cat([train.garments.labels, pool.garments.labels[rows]])
        models[name] = train_on(inputs, labels, recipe, seed)
    return models


def up_weighted(
    train: Seen, judged: Examples, rankings: Mapping[str, Ranking], ours: str, factor: float, recipe: Recipe, seed: int
) -> dict[str, nn.Module]:
    """Train anew with ``factor`` on the examples that a ranking finds hard (A.2, B.1.2).

    Ours flags what has h < 0; every other ranking flags as many of each class, its hardest; the oracle all minorities.
    """
    flagged = rankings[ours].hardness(judged) < 0
    signs = {ours: np.where(flagged, -1.0, 1.0), ORACLE: np.where(train.garments.minority.numpy(), -1.0, 1.0)}
    for name, ranking in rankings.items():
        if name != ours:
            signs[name] = np.where(as_many(ranking.hardness(judged), judged.labels, flagged), -1.0, 1.0)
    return {
        name: train_on(train.inputs, train.garments.labels, recipe, seed, torch.from_numpy(up_weights(sign, factor)))
        for name, sign in signs.items()
    }


def as_many(values: NDArray[np.float64], labels: NDArray[np.int64], flagged: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Flag in each class the lowest values, as many as ``flagged`` does."""
    own = np.zeros(len(values), bool)
    for label in np.unique(labels):
        count = int(flagged[labels == label].sum())
        if count:
            own[hardest(values, labels, count, classes=[int(label)])] = True
    return own


def measured(models: Mapping[str, nn.Module], test: Seen) -> dict[str, Accuracies]:
    """Return the accuracies of each model."""
    return {name: Accuracies.of(model, test) for name, model in models.items()}
