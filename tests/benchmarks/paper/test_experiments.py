"""Both experiments run from end to end on a few photographs, and every figure that is plotted or compared is there.

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
from fdgpu import ClipEmbedder, Decoder
from fdgpu.errors import ModelError

FEW: dict[str, dict[str, Any]] = {
    "celeba": {
        "strengths": [2, 6], "strength": 6, "train": [0, 30], "pool": [1000, 1020], "held_out": 30, "top": [5, 10],
        "added": 5, "synthetic": 3, "another": {"photographs": 2, "seed": 0},
    },
    "cifar100": {
        "groups": {"one": ["t-shirt", "boot"], "two": ["dress", "bag"]},
        "train": {"split": "base", "start": 0, "stop": 20}, "pool": {"split": "base", "start": 1000, "stop": 1010},
        "whole": {"split": "base", "start": 0, "stop": 30}, "removed": [0.5, 0.75],
        "val": {"split": "val", "start": 0, "stop": 20}, "test": {"split": "test", "start": 0, "stop": 20},
        "top": [5, 10], "added": 5,
    },
}  # fmt: skip


PAINTED: dict[str, set[str]] = {
    "celeba": {"base", "reference caption", "fdgpu", "hard caption", "oracle"},
    "cifar100": set(),
}


class Lottery(nn.Module):
    """Scores that swing with the mean of a picture's pixels, each lottery at its own rate."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.rate = 1e4 + 1e3 * number
        self.scores = nn.Linear(2, 2)
        self.scores.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        self.scores.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        swing = self.rate * x.mean(dim=(1, 2, 3))
        return self.scores(torch.stack([swing.sin(), swing.cos()], dim=1))


class Noise:
    """Decodes every vector to noise."""

    def sample(self, vectors: Tensor, *, steps: int, seed: int) -> Tensor:
        assert steps > 0
        return torch.rand(len(vectors), 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_gives_the_figures_that_its_plot_and_the_paper_have(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = count()
    monkeypatch.setattr(Lab, "train", lambda *_, **__: Lottery(next(numbers)))
    monkeypatch.setattr(Decoder, "bundled", Noise)
    experiment = EXPERIMENTS[name]
    settings = copy.deepcopy(experiment.document["offline"]) | FEW[name]
    settings["recipe"]["epochs"] = 2
    figures = experiment.run(experiment.offline(ClipEmbedder.bundled("cpu"), settings)(0))
    assert len({figure.key for figure in figures}) == len(figures)
    measures = {figure.measure for figure in figures}
    assert {measure for panel in experiment.panels for measure in panel.measures} <= measures
    named = {(figure.measure, figure.method) for figure in figures}
    assert {(measure, method) for measure, method, _ in experiment.paper} <= named
    methods = {figure.method for figure in figures if figure.measure == "filtering: minority"}
    assert methods == {"base", "fdgpu", "confidence", "random", "oracle"}
    painted = {figure.method for figure in figures if figure.measure == "synthetic: minority"}
    assert painted == PAINTED[name]
    shares = [figure for figure in figures if not figure.measure.startswith("Pearson")]
    assert [figure for figure in shares if not 0 <= figure.value <= 1] == []
    tops = [figure for figure in shares if figure.measure == "minority in top K" and figure.at == 10]
    assert [figure for figure in tops if figure.value in (0, 1)] == []  # nobody can know a lottery's minority


def test_without_a_decoder_that_is_said_and_nothing_is_painted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise ModelError("there are no weights")

    monkeypatch.setattr(Decoder, "bundled", missing)
    celeba = EXPERIMENTS["celeba"]
    world = celeba.offline(None, celeba.document["offline"])(0)
    assert world.painter() is None
    assert "there are no weights" in capsys.readouterr().out
