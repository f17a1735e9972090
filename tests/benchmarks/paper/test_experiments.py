"""The experiments run from end to end on a few photographs, and every figure that is plotted or compared is there.

The base model is stood in for by one whose answers are a lottery over pictures, so that every class has its errors.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.lab import Lab
from fdgpu import ClipEmbedder

FEW: dict[str, dict[str, Any]] = {
    "celeba": {
        "strengths": [2, 6], "strength": 6, "train": [0, 30], "pool": [1000, 1020], "held_out": 30, "top": [5, 10],
        "added": 5,
    },
    "cifar100": {
        "groups": {"one": ["t-shirt", "boot"], "two": ["dress", "bag"]},
        "train": {"split": "base", "start": 0, "stop": 20}, "pool": {"split": "base", "start": 1000, "stop": 1010},
        "val": {"split": "val", "start": 0, "stop": 20}, "test": {"split": "test", "start": 0, "stop": 20},
        "top": [5, 10], "added": 5,
    },
    "coloured_mnist": {
        "shares": [0.6, 0.9], "top": [5, 10], "train": {"split": "base", "start": 0, "stop": 10},
        "val": {"split": "val", "start": 0, "stop": 10}, "test": {"split": "test", "start": 0, "stop": 10},
    },
    "imagenet_c": {
        "garments": ["trouser", "bag"], "top": [5, 10], "train": {"split": "base", "start": 0, "stop": 20},
        "val": {"split": "val", "start": 0, "stop": 30}, "test": {"split": "test", "start": 0, "stop": 30},
    },
    "chestxray14": {
        "conditions": ["shirt", "boot"], "others": ["t-shirt", "sneaker"], "top": [5, 10],
        "train": {"pictures": 60, "part": {"split": "base", "start": 0, "stop": 20}},
        "val": {"pictures": 100, "part": {"split": "val", "start": 0, "stop": 20}},
        "test": {"pictures": 100, "part": {"split": "test", "start": 0, "stop": 20}},
    },
}  # fmt: skip


class Lottery(nn.Module):
    """Scores that swing with the mean of a picture's pixels, each lottery at its own rate."""

    def __init__(self, number: int, classes: int = 2) -> None:
        super().__init__()
        self.rate = 1e4 + 1e3 * number
        self.phases = torch.arange(classes) * 2 * torch.pi / classes

    @classmethod
    def of(cls, number: int, labels: Tensor) -> Lottery:
        return cls(number, labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.rate * x.mean(dim=(1, 2, 3))[:, None] + self.phases).sin()


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", FEW)
def test_an_experiment_gives_the_figures_that_its_plot_and_the_paper_have(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = count()
    monkeypatch.setattr(Lab, "train", lambda _, __, labels, *___, **____: Lottery.of(next(numbers), labels))
    # the threshold of the best F1 of a lottery is that at which everything is positive
    monkeypatch.setattr("benchmarks.paper.experiments.chestxray14.best_f1_threshold", lambda *_: 0.5)
    experiment = EXPERIMENTS[name]
    settings = copy.deepcopy(experiment.document["offline"]) | FEW[name]
    settings["recipe"]["epochs"] = 2
    figures = experiment.run(experiment.offline(ClipEmbedder.bundled("cpu"), settings)(0))
    assert len({figure.key for figure in figures}) == len(figures)
    measures = {figure.measure for figure in figures}
    assert {measure for panel in experiment.panels for measure in panel.measures} <= measures
    named = {(figure.measure, figure.method) for figure in figures}
    assert {(measure, method) for measure, method, _ in experiment.paper} <= named
    for remedy in ("filtering", "up-weighting"):
        methods = {figure.method for figure in figures if figure.measure == f"{remedy}: minority"}
        assert methods in (set(), {"base", "fdgpu", "confidence", "random", "oracle"})
    shares = [figure for figure in figures if not figure.measure.startswith("Pearson")]
    assert [figure for figure in shares if not 0 <= figure.value <= 1] == []
    tops = [figure for figure in shares if figure.measure == "minority in top K" and figure.at == 10]
    assert [figure for figure in tops if figure.value in (0, 1)] == []  # nobody can know a lottery's minority
