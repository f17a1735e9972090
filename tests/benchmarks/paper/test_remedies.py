"""What every steered training is given: the added pictures and the weights, read where the training would start."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.paper import remedies
from benchmarks.paper.garments import Garments
from benchmarks.paper.models import Seen
from fdgpu.baselines import Chance, Examples
from fdgpu.training import Recipe

RECIPE = Recipe(2, 0.1, 1, 8, 32)


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
    garments = Garments(torch.zeros(n), torch.tensor(labels), torch.zeros(n), torch.tensor(minority).bool())
    return Seen(garments, torch.arange(first, first + n, dtype=torch.float32), np.zeros((n, 2), np.float32))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    calls: list[Any] = []
    monkeypatch.setattr(remedies, "train_on", lambda *arguments: calls.append(arguments) or len(calls))
    return calls


def test_filtering_adds_the_hardest_of_each_class_and_the_oracle_minorities(trained: list[Any]) -> None:
    train, pool = seen([0, 1], [0, 0], 0), seen([0, 0, 0, 1, 1, 1], [0, 1, 0, 1, 0, 0], 10)
    judged = Examples(pool.garments.labels.numpy())
    models = remedies.filtered(train, pool, judged, {"ours": Given([3, 2, 1, 1, 2, 3])}, 1, RECIPE, seed=5)
    assert models == {"ours": 1, "oracle": 2}
    (ours, own, *rest), (oracle, other, *_) = trained
    assert rest == [RECIPE, 5]
    assert (ours.tolist(), own.tolist()) == ([0, 1, 12, 13], [0, 1, 0, 1])
    assert (oracle.tolist(), other.tolist()) == ([0, 1, 11, 13], [0, 1, 0, 1])


def test_up_weighting_flags_ours_below_zero_and_as_many_by_every_other(trained: list[Any]) -> None:
    train = seen([0, 0, 0, 1, 1], [0, 0, 1, 0, 1], 0)
    rankings = {"ours": Given([-1, -2, 1, 1, -1]), "other": Given([5, 4, 3, 1, 2]), "random": Chance(0)}
    models = remedies.up_weighted(train, Examples(train.garments.labels.numpy()), rankings, "ours", 3.0, RECIPE, seed=0)
    weights = dict(zip(models, (call[-1].tolist() for call in trained), strict=True))
    assert weights["ours"] == [3, 3, 1, 1, 3]
    assert weights["other"] == [1, 3, 3, 3, 1]
    assert weights["oracle"] == [1, 1, 3, 1, 3]
    assert sorted(weights["random"][:3]) == [1, 3, 3]
    assert sorted(weights["random"][3:]) == [1, 3]
