"""Every way to rank examples that the experiments compare, behind fdgpu's one interface."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.baselines import Chance, Confidence, Domino, Examples, Ranking, early_stopped, learning_from_failure
from benchmarks.baselines.domino import COMPONENTS
from benchmarks.paper.lab import Lab
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from fdgpu import FailureDirections
from fdgpu.repair import hardest

BASE, OURS, RANDOM, CONFIDENCE, ORACLE = "base", "fdgpu", "random", "confidence", "oracle"


@dataclass(frozen=True)
class Directions:
    """fdgpu: the decision value of the class's failure direction."""

    fit: FailureDirections

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) decision values."""
        return np.asarray(self.fit.decision_function(examples.embeddings, examples.labels), np.float64)


def cheap_rankings(fit: FailureDirections, seed: int) -> dict[str, Ranking]:
    """Those that train no further model."""
    return {OURS: Directions(fit), CONFIDENCE: Confidence(), RANDOM: Chance(seed)}


def ours_and_confidence(fit: FailureDirections, seed: int) -> dict[str, Ranking]:
    """Where the paper compares these two alone."""
    rankings = cheap_rankings(fit, seed)
    return {name: rankings[name] for name in (OURS, CONFIDENCE)}


def all_rankings(lab: Lab, fit: FailureDirections, train: Seen, val: Examples, seed: int) -> dict[str, Ranking]:
    """The paper's (B.1.5): ours, and each of its baselines, trained on the base model's own training set."""
    labels = train.labels if isinstance(train.inputs, torch.Tensor) else None
    classes = int(train.labels.max()) + 1
    settings: dict[str, Any] = {"recipe": lab.recipe, "seed": seed, "augment": lab.augment, "workers": lab.workers}
    return {
        **cheap_rankings(fit, seed),
        "early-stopped confidence": early_stopped(lab.network(classes, seed), train.inputs, labels, **settings),
        "Learning from Failure": learning_from_failure(lab.network(classes, seed), train.inputs, labels, **settings),
        "Domino": _domino(val, seed),
    }


def _domino(val: Examples, seed: int) -> Domino:
    """Fit Domino with its own number of components, or with one for every pair of class and prediction that occurs."""
    pairs = np.unique(np.stack([val.labels, val.probabilities.argmax(axis=1)]), axis=1).shape[1]
    return Domino.fit(val, components=max(COMPONENTS, pairs), seed=seed)


def share_in_top(
    values: NDArray[np.float64], labels: NDArray[np.int64], inside: NDArray[np.bool_], ks: Sequence[int]
) -> dict[int, float]:
    """Return for each K the share of ``inside`` among the K hardest of a class, averaged over classes."""
    order = hardest(values, labels, max(ks)).reshape(-1, max(ks))  # a row a class
    return {k: float(inside[order[:, :k]].mean()) for k in ks}


def minority_in_top(
    measure: str, rankings: Mapping[str, Ranking], judged: Examples, minority: Tensor, ks: Sequence[int]
) -> list[Figure]:
    """Return the minority's share among the K hardest, by each ranking."""
    figures = []
    for name, ranking in rankings.items():
        shares = share_in_top(ranking.hardness(judged), judged.labels, minority.numpy(), ks)
        figures += [Figure(measure, name, share, k) for k, share in shares.items()]
    return figures
