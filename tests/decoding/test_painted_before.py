"""A folder that an earlier version painted is read, and a repeated call paints only what it lacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fdgpu import SyntheticImages, text_to_image
from fdgpu.errors import InputError

BEFORE = Path(__file__).parent / "files" / "painted"
CAPTIONS = {"cat": {"hard": "a white cat", "reference": "a cat"}, "sea/gull": {"hard": "a gull"}}


class Drawn:
    """A pipeline whose weights and settings no library's version changes; it draws a generator's noise."""

    name_or_path = "drawn"

    def __init__(self) -> None:
        net = nn.Linear(3, 2)
        with torch.no_grad():
            net.weight.copy_(torch.arange(6.0).view(2, 3))
            net.bias.zero_()
        scheduler = SimpleNamespace(config={"steps": 10, "_version": "1", "betas": [0.1, 0.2]})
        self.components = {"net": net, "scheduler": scheduler, "tokenizer": None}
        self.asked: list[str] = []

    def __call__(self, prompt: list[str], generator: Any, output_type: str = "np", strength: float = 1.0) -> Any:
        assert output_type == "np"
        self.asked += prompt
        noise = [
            torch.rand(4, 6, 3, generator=own) * strength / len(text)
            for own, text in zip(generator, prompt, strict=True)
        ]
        return SimpleNamespace(images=torch.stack(noise).numpy())


def paint(out: Path, pipeline: Drawn, captions: Any = CAPTIONS, **arguments: Any) -> SyntheticImages:
    return text_to_image(captions, pipeline, out, **{"per_caption": 1, "seed": 3, "strength": 0.5} | arguments)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "painted"))


def test_is_read() -> None:
    images = SyntheticImages.load(BEFORE)
    assert images.class_names == ["cat", "cat", "sea/gull"]
    assert [row.path for row in images.rows] == [
        "cat/hard/0000.png",
        "cat/reference/0000.png",
        "sea-gull/hard/0000.png",
    ]
    assert {row.seed for row in images.rows} == {6233904063939786893}
    assert images.of("hard").pictures().shape == (2, 3, 4, 6)


def test_is_painted_in_the_same_way(folder: Path, tmp_path: Path) -> None:
    paint(tmp_path / "again", Drawn())
    pictures = [SyntheticImages.load(one).pictures() for one in (folder, tmp_path / "again")]
    assert torch.equal(*pictures)
    before, again = (json.loads((one / "manifest.json").read_text()) for one in (folder, tmp_path / "again"))
    assert before | {"fdgpu": None} == again | {"fdgpu": None}


def test_is_continued(folder: Path) -> None:
    pipeline = Drawn()
    paint(folder, pipeline)
    assert pipeline.asked == []
    grown = paint(folder, pipeline, CAPTIONS | {"dog": {"hard": "a dog"}}, per_caption=2)
    assert pipeline.asked == ["a white cat", "a cat", "a gull", "a dog", "a dog"]
    assert SyntheticImages.load(folder).rows == grown.rows
    with pytest.raises(InputError, match="its arguments"):
        paint(folder, pipeline, CAPTIONS | {"dog": {"hard": "a dog"}}, per_caption=2, strength=1.0)
