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
from benchmarks.paper.files.images import for_training
from benchmarks.paper.lab import LATENT, Lab, find_directions
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from fdgpu import FailureDirections
from fdgpu.repair import hardest

BASE, OURS, OUR_LATENT, RANDOM, CONFIDENCE, ORACLE = (
    "base", "fdgpu", "fdgpu, latent", "random", "confidence", "oracle",
)  # fmt: skip
Fits = Mapping[str, FailureDirections]  # ours, by the name of their method


@dataclass(frozen=True)
class Directions:
    """fdgpu: the decision value of the class's failure direction; by the latent method of the model's loss, too."""

    fit: FailureDirections

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) decision values."""
        loss = examples.loss("the latent method") if self.fit.method == LATENT else None
        return np.asarray(self.fit.decision_function(examples.embeddings, examples.labels, loss=loss), np.float64)


def both_methods(val: Examples, train_embeddings: NDArray[np.float32] | None, whiten: bool = True) -> Fits:
    """Fit the paper's SVM and the latent method."""
    return {
        name: find_directions(val, train_embeddings, method, whiten)
        for name, method in ((OURS, "svm"), (OUR_LATENT, LATENT))
    }


def ours_and_confidence(fits: Fits) -> dict[str, Ranking]:
    """Where the paper compares these alone."""
    return {**{name: Directions(fit) for name, fit in fits.items()}, CONFIDENCE: Confidence()}


def cheap_rankings(fits: Fits, seed: int) -> dict[str, Ranking]:
    """Those that train no further model."""
    return {**ours_and_confidence(fits), RANDOM: Chance(seed)}


def all_rankings(lab: Lab, fits: Fits, train: Seen, val: Examples, seed: int) -> dict[str, Ranking]:
    """The paper's (B.1.5): ours, and each of its baselines, trained on the base model's own training set."""
    inputs = for_training(train.inputs, lab.recipe)
    labels = train.labels if isinstance(inputs, torch.Tensor) else None
    classes = int(train.labels.max()) + 1
    settings: dict[str, Any] = {"recipe": lab.recipe, "seed": seed, "augment": lab.augment, "workers": lab.workers}
    return {
        **cheap_rankings(fits, seed),
        "early-stopped confidence": early_stopped(lab.network(classes, seed), inputs, labels, **settings),
        "Learning from Failure": learning_from_failure(lab.network(classes, seed), inputs, labels, **settings),
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
