"""Figure 8b: accuracies are the model's on each rotation; the least gap and the least rise are what is claimed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.paper.experiments import decoding
from benchmarks.paper.experiments.decoding import CLASSES_OF, DEMO, EASY, FREE, HARD, PLANTED, SHOWS, Audited
from benchmarks.paper.files.images import at_resolution
from benchmarks.paper.results import Figure
from fdgpu import Decoder, FailureDirections
from fdgpu.demo.world import world_settings
from fdgpu.embedding import ClipEmbedder
from tests.conftest import make_class
from tests.decoding.tiny import random_net
from tools.world_captions import compose


class Bright(nn.Module):
    """Calls a picture class 1 where it is bright."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        bright = pictures.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], dim=1)


@dataclass(frozen=True)
class Ready:
    unplanted: Audited
    taught: Audited | None
    net: Decoder
    clip: ClipEmbedder
    settings: dict[str, Any]
    seed: int = 0

    def free(self) -> Audited:
        return self.unplanted

    def planted(self) -> Audited | None:
        return self.taught

    def decoder(self) -> Decoder:
        return self.net


def test_accuracy_is_the_models_on_each_rotation(tmp_path: Path) -> None:
    part = make_class(60, 128, 0.3, 3.0, 0)
    fit = FailureDirections(whiten=False).fit(part.x, torch.ones(60, dtype=torch.long), part.right)
    references = F.normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(1)), dim=1)
    decoder, clip = Decoder(random_net(tmp_path)), ClipEmbedder.bundled("cpu")
    settings = {"alphas": [0.1], "pictures": 3, "steps": 2}
    (plant, *_) = world_settings().plants
    taught = Audited(Bright(), fit, references, {1: plant})
    figures = decoding.run(Ready(Audited(Bright(), fit, references), taught, decoder, clip, settings))
    found = {figure.key: figure.value for figure in figures}
    neutral = decoder.sample(references.repeat(3, 1), 2, [0, 1, 2])
    expected = float((neutral.mean(dim=(1, 2, 3)) > 0.5).float().mean())
    for measure in (FREE, DEMO, PLANTED):
        assert found[measure, EASY, 0.0] == found[measure, HARD, 0.0] == pytest.approx(expected)
        assert {side for own, side, at in found if at == 0.1 and own == measure} == {EASY, HARD}
    colours, noun = world_settings().names("colour"), world_settings().class_names[1]
    vectors = clip.images(neutral.mul(255).round().to(torch.uint8))
    nearest = (vectors @ clip.texts([compose(noun, colour) for colour in colours]).T).argmax(1)
    for side in (EASY, HARD):
        share = float((nearest == colours.index(getattr(plant, side))).float().mean())
        assert plant.attribute == "colour"
        assert found[SHOWS[side], EASY, 0.0] == pytest.approx(share)


@pytest.mark.parametrize("at_once", [1, 2])
def test_some_noises_at_a_time_are_the_same_pictures_at_the_size_that_the_model_takes(
    at_once: int, tmp_path: Path
) -> None:
    part = make_class(60, 128, 0.3, 3.0, 0)
    fit = FailureDirections(whiten=False).fit(part.x, torch.ones(60, dtype=torch.long), part.right)
    references = F.normalize(torch.randn(1, 128, generator=torch.Generator().manual_seed(1)), dim=1)
    sides: list[int] = []

    class Seeing(Bright):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            sides.append(pictures.shape[-1])
            return super().forward(pictures)

    settings, decoder = {"alphas": [0.1], "pictures": 3, "steps": 2}, Decoder(random_net(tmp_path))
    whole = decoding._decoded(settings, decoder, Audited(Seeing(), fit, references)).grid
    audited = Audited(Seeing(), fit, references, resolution=16)
    parts = decoding._decoded(settings | {"at_once": at_once}, decoder, audited).grid
    assert (parts.seeds, parts.rotations) == (whole.seeds, whole.rotations) == ((0, 1, 2), parts.rotations)
    assert (whole.pictures.shape[2:], parts.pictures.shape[2:]) == ((3, 3, 32, 32), (3, 3, 16, 16))
    torch.testing.assert_close(parts.pictures, at_resolution(whole.pictures, 16), atol=1e-5, rtol=0)
    world = Ready(audited, None, decoder, ClipEmbedder.bundled("cpu"), settings | {"at_once": at_once})
    assert {figure.measure for figure in decoding.run(world)} == {FREE}
    assert set(sides) == {16}


def concluded(values: dict[tuple[str, float], float], measures: Collection[str] = CLASSES_OF) -> dict[str, float]:
    figures = [Figure(measure, side, value, at) for measure in measures for (side, at), value in values.items()]
    return {figure.measure: figure.value for figure in decoding.conclude(figures)}


RISING = {(HARD, 0.2): 0.2, (HARD, 0.1): 0.5, (HARD, 0.0): 0.6, (EASY, 0.0): 0.6, (EASY, 0.1): 0.75, (EASY, 0.2): 0.8}


@pytest.mark.parametrize(
    ("changed", "gap", "rise"),
    [
        ({}, 0.1, 0.05),
        ({(EASY, 0.1): 0.57}, -0.03, -0.03),  # easy pictures that are harder than neutral ones
        ({(HARD, 0.1): 0.65}, -0.05, -0.05),
        ({(EASY, 0.2): 0.70}, 0.1, -0.05),  # further, and yet no easier
        ({(HARD, 0.2): 0.55}, 0.05, -0.05),
    ],
)
def test_the_least_gap_and_the_least_rise_are_over_every_rotation(
    changed: dict[tuple[str, float], float], gap: float, rise: float
) -> None:
    found = concluded(RISING | changed)
    for classes in CLASSES_OF.values():
        assert found[f"least gap, {classes}"] == pytest.approx(gap)
        assert found[f"least rise towards easy, {classes}"] == pytest.approx(rise)


def test_of_files_nothing_is_concluded_of_what_is_planted() -> None:
    assert set(concluded(RISING, [FREE])) == {"least gap, nothing planted", "least rise towards easy, nothing planted"}
