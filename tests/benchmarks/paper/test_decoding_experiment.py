"""Figure 8b: accuracies are the model's on each rotation, and the least rise from hard to easy is what is reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.paper.experiments import decoding
from benchmarks.paper.experiments.decoding import ALL, EASY, HARD, PLANTED, Audited
from benchmarks.paper.results import Figure
from fdgpu import Decoder, FailureDirections
from tests.conftest import make_class
from tests.decoding.test_decoder import random_net


class Bright(nn.Module):
    """Calls a picture class 1 where it is bright."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        bright = pictures.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], dim=1)


@dataclass(frozen=True)
class Ready:
    made: Audited
    net: Decoder
    settings: dict[str, Any]
    seed: int = 0

    def audited(self) -> Audited:
        return self.made

    def decoder(self) -> Decoder:
        return self.net


def test_accuracy_is_the_models_on_each_rotation(tmp_path: Path) -> None:
    part = make_class(60, 128, 0.3, 3.0, 0)
    fit = FailureDirections(whiten=False).fit(part.x, torch.ones(60, dtype=torch.long), part.right)
    references = F.normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(1)), dim=1)
    decoder = Decoder.of(random_net(tmp_path))
    settings = {"alphas": [0.1], "pictures": 3, "steps": 2}
    figures = decoding.run(Ready(Audited(Bright(), fit, references, [1]), decoder, settings))
    found = {figure.key: figure.value for figure in figures}
    assert list(found)[:2] == [(ALL, EASY, 0.1), (PLANTED, EASY, 0.1)]
    neutral = decoder.sample(references.repeat(3, 1), 2, [0, 1, 2])
    expected = float((neutral.mean(dim=(1, 2, 3)) > 0.5).float().mean())
    assert found[ALL, EASY, 0.0] == found[ALL, HARD, 0.0] == pytest.approx(expected)
    assert {end for measure, end, at in found if at == 0.1 and measure == ALL} == {EASY, HARD}


def test_the_least_rise_is_over_all_rotations_from_the_hardest_on() -> None:
    values = {
        (HARD, 0.2): 0.2,
        (HARD, 0.1): 0.5,
        (HARD, 0.0): 0.6,
        (EASY, 0.0): 0.6,
        (EASY, 0.1): 0.57,
        (EASY, 0.2): 0.8,
    }
    figures = [Figure(measure, end, value, at) for measure in (ALL, PLANTED) for (end, at), value in values.items()]
    assert [figure.value for figure in decoding.conclude(figures)] == [pytest.approx(-0.03)] * 2
