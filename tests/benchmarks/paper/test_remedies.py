"""What every steered training is given: the added pictures and the weights, read where the training would start."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.baselines import Chance, Examples
from benchmarks.paper import remedies
from benchmarks.paper.lab import Accuracies, Lab
from benchmarks.paper.sets import Marked, Seen
from fdgpu.repair import TrainingRecipe

LAB = Lab.offline(None, TrainingRecipe(2, 0.1, 1, 8, 32))


class Given:
    """A ranking that knows its numbers."""

    def __init__(self, values: list[float]) -> None:
        self.values = np.array(values)

    def hardness(self, examples: Examples) -> np.ndarray:
        assert len(examples.labels) == len(self.values)
        return self.values


def seen(labels: list[int], minority: list[int], first: int) -> Seen:
    """Pictures that are one number each."""
    n = len(labels)
    marked = Marked(torch.zeros(n), torch.tensor(labels), torch.zeros(n), torch.tensor(minority).bool())
    return Seen(marked, torch.arange(first, first + n, dtype=torch.float32), np.zeros((n, 2), np.float32))


def test_filtering_adds_the_hardest_of_each_class_and_the_oracle_minorities() -> None:
    train, pool = seen([0, 1], [0, 0], 0), seen([0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 0], 10)
    judged = Examples(pool.labels.numpy())
    sets = remedies.filtered(train, pool, judged, {"fdgpu": Given([3, 2, 1, 1, 2, 3])}, 1, seed=5)
    given = {name: (own.inputs.tolist(), own.labels.tolist()) for name, own in sets.items()}
    assert given == {
        "base": ([0, 1], [0, 1]),
        "fdgpu": ([0, 1, 12, 13], [0, 1, 0, 1]),
        "oracle": ([0, 1, 11, 13], [0, 1, 0, 1]),
    }


def test_up_weighting_flags_ours_below_zero_and_as_many_by_every_other() -> None:
    train = seen([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], 0)
    rankings = {"fdgpu": Given([-1, -2, 1, 1, -1]), "other": Given([5, 4, 3, 1, 2]), "random": Chance(0)}
    sets = remedies.up_weighted(train, Examples(train.labels.numpy()), rankings, 3.0)
    weights = {name: None if own.weights is None else own.weights.tolist() for name, own in sets.items()}
    assert weights["base"] is None
    assert weights["fdgpu"] == [3, 3, 1, 1, 3]
    assert weights["other"] == [1, 3, 3, 3, 1]
    assert weights["oracle"] == [1, 1, 3, 1, 3]
    assert sorted(weights["random"][:3]) == [1, 3, 3]
    assert sorted(weights["random"][3:]) == [1, 3]


def test_outcomes_are_means_over_trainings_from_different_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "train", lambda *arguments: arguments[3])
    monkeypatch.setattr(Lab, "accuracies", lambda _, model, __: Accuracies(model / 10_000, model / 5000))
    train = seen([0, 1], [0, 0], 0)
    sets = {"base": remedies.TrainingSet.of(train)}
    figures = remedies.outcomes(LAB, "trial", sets, train, seed=1, trainings=3)
    assert {figure.measure: figure.value for figure in figures} == {
        "trial: minority": pytest.approx(1001 / 5000),
        "trial: overall": pytest.approx(1001 / 10_000),
    }
