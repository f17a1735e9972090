"""What is read back: nearly all of pictures that show what was asked for, little of those that show another thing."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from fdgpu.decoding import Decoder
from fdgpu.decoding.decoder import FOLDER, WEIGHTS
from fdgpu.demo.world import ATTRIBUTES, Attributes, draw_scene, load_photographs, render
from fdgpu.embedding import ClipEmbedder
from tools.decoder_quality import (
    JUDGED,
    READ,
    REQUIRED,
    Pictures,
    Quality,
    held_out_pictures,
    read_captions,
    read_images,
    table,
)
from tools.world_captions import Caption, all_captions


class Draws:
    """Stands in for a decoder: draws what it was given beforehand, for any vectors."""

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = torch.nn.functional.avg_pool2d(pictures.float() / 255, 2)

    def sample(self, vectors: Tensor, *_: Any, **__: Any) -> Tensor:
        assert len(vectors) == len(self.pictures)
        return self.pictures


@pytest.fixture(scope="module")
def clip() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu")


@pytest.fixture(scope="module")
def captions() -> list[Caption]:
    rows = torch.randperm(len(all_captions()), generator=torch.Generator().manual_seed(0))[:150]
    return [all_captions()[i] for i in rows.tolist()]


def rendered(captions: list[Caption]) -> Tensor:
    """One picture of which each caption is true."""
    pixels, kinds = load_photographs("test")
    codes = {name: torch.zeros(len(captions), dtype=torch.long) for name in ATTRIBUTES}
    for row, caption in enumerate(captions):
        for phrase in (caption.adjective, caption.preposition):
            if phrase.attribute:
                codes[phrase.attribute][row] = phrase.code
    labels = torch.tensor([caption.noun for caption in captions])
    first = torch.stack([(kinds == noun).nonzero()[i % 50, 0] for i, noun in enumerate(labels)])
    return render(pixels[first], draw_scene(Attributes(**codes), labels, torch.Generator().manual_seed(1)))


def test_captions_are_read_in_pictures_of_them(clip: ClipEmbedder, captions: list[Caption]) -> None:
    pictures = rendered(captions)
    readings = read_captions(Draws(pictures), clip, captions, 0)  # type: ignore[arg-type]
    assert set(readings) == set(READ)
    assert min(readings["colour"], readings["background"], readings["size"]) > 0.9
    assert readings["noun"] > 0.7
    others = read_captions(Draws(pictures.flip(0)), clip, captions, 0)  # type: ignore[arg-type]
    assert others["noun"] < 0.3
    assert others["colour"] < 0.5


def test_vectors_of_pictures_are_read_likewise(clip: ClipEmbedder) -> None:
    held_out = held_out_pictures("test", 120, 0)
    readings = read_images(Draws(held_out.pixels), clip, held_out, 0)  # type: ignore[arg-type]
    assert min(readings["colour"], readings["background"], readings["size"]) > 0.9
    assert readings["noun"] > 0.7
    turned = Pictures(held_out.pixels.flip(0), held_out.attributes, held_out.labels)
    assert read_images(Draws(turned.pixels), clip, turned, 0)["noun"] < 0.3  # type: ignore[arg-type]


def test_the_table_names_every_reading() -> None:
    one, two, three = ({name: start + i / 100 for i, name in enumerate((*READ, JUDGED))} for start in (0.1, 0.2, 0.3))
    written = table(Quality(one, two, three, 25, 2.0))
    assert "| colour | 0.80 | 0.110 | 0.210 | 0.310 |" in written
    assert f"| {JUDGED} |  | 0.140 | 0.240 | 0.340 |" in written
    assert "in 25 steps with guidance 2." in written


def test_the_bundled_weights_read_as_their_table_says(clip: ClipEmbedder, captions: list[Caption]) -> None:
    """A part of the captions, so within what the choice of the part may do."""
    readings = read_captions(Decoder.bundled("cpu"), clip, captions[:100], seed=0)
    written = dict(re.findall(r"^\| (\w+) \| 0\.80 \| (\d\.\d+) \|", (FOLDER / "QUALITY.md").read_text(), re.MULTILINE))
    assert set(written) == set(READ)
    assert min(map(float, written.values())) >= REQUIRED
    for name, reading in readings.items():
        expected = float(written[name])
        assert reading == pytest.approx(expected, abs=3 * (expected * (1 - expected) / 40) ** 0.5 + 0.03), name


def test_the_bundled_weights_are_small() -> None:
    assert (FOLDER / WEIGHTS).stat().st_size <= 16 * 2**20
