"""The experiments run from end to end on a few photographs, and every figure that is plotted or compared is there.

The base model is stood in for by one whose answers are a lottery over pictures, so that every class has its errors.
"""

from __future__ import annotations

import copy
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.experiments import cifar10
from benchmarks.paper.lab import Lab
from fdgpu import ClipEmbedder, Decoder
from fdgpu.errors import ModelError
from tests.benchmarks.paper.grey_pipeline import GreyPipeline
from tests.benchmarks.paper.lottery import Lottery

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
    "cifar10": {
        "garments": ["t-shirt", "boot"], "train": {"split": "base", "start": 0, "stop": 20},
        "pool": {"split": "base", "start": 20, "stop": 40}, "val": {"split": "val", "start": 0, "stop": 20},
        "test": {"split": "test", "start": 0, "stop": 20}, "top": [5, 10], "added": 5, "pictures": 2, "painting": {},
    },
    "imagenet": {
        "garments": ["t-shirt", "boot"], "train": {"split": "base", "start": 0, "stop": 20},
        "pool": {"split": "base", "start": 20, "stop": 40}, "val": {"split": "val", "start": 0, "stop": 20},
        "test": {"split": "test", "start": 0, "stop": 20}, "top": [5, 10], "bars_at": 5,
    },
    "coloured_mnist": {
        "shares": [0.6, 0.8, 0.9], "top": [5, 10], "train": {"split": "base", "start": 0, "stop": 10},
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


STEERED = {"base", "fdgpu", "fdgpu, latent", "confidence", "random"}
WITH_ORACLE = STEERED | {"oracle"}
PAINTED = {"base", "reference caption", "fdgpu", "fdgpu, latent", "confidence", "random", "hard caption", "oracle"}
TRIALS = {
    "celeba": {"filtering": WITH_ORACLE, "up-weighting": WITH_ORACLE, "synthetic": PAINTED},
    "cifar100": {"filtering": WITH_ORACLE},
    "cifar10": {"filtering": STEERED},  # nobody knows who is hard there
    "coloured_mnist": {"up-weighting": WITH_ORACLE},
    "imagenet": {},
    "imagenet_c": {},
    "chestxray14": {},
}


class Noise:
    """Decodes every vector to noise."""

    def sample(self, vectors: Tensor, *, steps: int, seed: int) -> Tensor:
        assert steps > 0
        return torch.rand(len(vectors), 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", FEW)
def test_an_experiment_gives_the_figures_that_its_plot_and_the_paper_have(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = count()
    for training in ("train", "fine_tune"):
        monkeypatch.setattr(Lab, training, lambda _, __, labels, *___, **____: Lottery.of(next(numbers), labels))
    # the threshold of the best F1 of a lottery is that at which everything is positive
    monkeypatch.setattr("benchmarks.paper.experiments.chestxray14.best_f1_threshold", lambda *_: 0.5)
    monkeypatch.setattr(Decoder, "bundled", Noise)
    monkeypatch.setattr(cifar10.Garments, "painter", lambda _: GreyPipeline())
    experiment = EXPERIMENTS[name]
    settings = copy.deepcopy(experiment.document["offline"]) | FEW[name]
    settings["recipe"]["epochs"] = 2
    figures = experiment.run(experiment.offline(ClipEmbedder.bundled("cpu"), settings)(0))
    assert len({figure.key for figure in figures}) == len(figures)
    measures = {figure.measure for figure in figures}
    assert {measure for panel in experiment.panels for measure in panel.measures} <= measures
    named = {(figure.measure, figure.method) for figure in figures}
    assert {(measure, method) for measure, method, _ in experiment.paper} <= named
    for trial, methods in TRIALS[name].items():
        assert {figure.method for figure in figures if figure.measure == f"{trial}: overall"} == methods
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
