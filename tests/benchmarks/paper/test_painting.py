"""Pictures of captions come with the class of their caption, and join a training set as its network takes images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.paper.experiments import cifar10
from benchmarks.paper.painting import paint, with_pictures
from benchmarks.paper.sets import Inputs, Marked, Seen
from fdgpu import Decoder
from fdgpu.captions import CaptionRecipe
from fdgpu.errors import ModelError
from tests.benchmarks.paper.grey_pipeline import GreyPipeline

CLASSES = CaptionRecipe.resolve("demo", ["bag", "coat", "boot"])


def train(inputs: Inputs) -> Seen:
    labels = torch.tensor([2, 0])
    return Seen(Marked(torch.zeros(2), labels, labels, labels < 0), inputs, np.zeros((2, 2), np.float32))


def test_every_kind_of_caption_is_painted_of_every_class_that_has_it() -> None:
    captions = {"boot": {"hard": "red", "easy": "yellow"}, "bag": {"hard": "plain"}}
    painted = paint(captions, GreyPipeline(), None, CLASSES, per_caption=2, seed=0)
    assert {kind: (pictures[:, 0, 0, 0].tolist(), ids.tolist()) for kind, (pictures, ids) in painted.items()} == {
        "hard": ([3, 3, 5, 5], [2, 2, 0, 0]),
        "easy": ([6, 6], [2, 2]),
    }


@pytest.mark.parametrize("kind", ["floats", "bytes", "files"])
def test_pictures_join_a_training_set(kind: str) -> None:
    images = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)
    given: dict[str, Inputs] = {
        "floats": images / 255, "bytes": images, "files": TensorDataset(images, torch.tensor([2, 0])),
    }  # fmt: skip
    pictures = torch.full((1, 3, 16, 16), 102, dtype=torch.uint8)
    both = with_pictures(train(given[kind]), pictures, torch.tensor([1]), side=8)
    assert both.labels.tolist() == [2, 0, 1]
    if kind == "files":
        inputs, labels = next(iter(DataLoader(both.inputs, batch_size=3)))
        assert labels.tolist() == [2, 0, 1]
    else:
        inputs = both.inputs
    assert inputs.shape == (3, 3, 8, 8)
    assert inputs.dtype == (torch.float32 if kind == "floats" else torch.uint8)
    assert inputs[:, 0, 0, 0].float().tolist() == pytest.approx([0.2, 0.2, 0.4] if kind == "floats" else [51, 51, 102])


def test_pictures_are_left_out_with_a_word_where_nothing_paints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object) -> Decoder:
        raise ModelError("the weights are not there")

    monkeypatch.setattr(Decoder, "bundled", missing)
    assert cifar10.Garments(None, {}, 0).painter() is None
    assert "pictures of captions are left out: the weights are not there" in capsys.readouterr().out
