"""The bundled CLIP keeps its promise, and its loss is least where truths are nearest."""

from __future__ import annotations

import pytest
import torch

from fdgpu import ClipEmbedder
from fdgpu.demo.world import load_photographs
from tools.train_clip import FOLDER, WEIGHTS, multi_positive_loss, rendered
from tools.world_captions import REQUIRED, zero_shot_accuracy


@pytest.mark.slow
def test_the_bundled_clip_sees_what_its_table_says() -> None:
    pixels, labels = load_photographs("test")
    pictures, attributes = rendered(pixels, labels, torch.Generator().manual_seed(1))
    clip = ClipEmbedder.bundled("cpu")
    table = zero_shot_accuracy(clip.images(pictures), clip.texts, attributes, labels)
    written = (FOLDER / "ZERO_SHOT.md").read_text()
    for name, required in REQUIRED.items():
        assert table[name] >= required, name
        (row,) = [line for line in written.splitlines() if line.startswith(f"| {name} ")]
        assert float(row.split("|")[3]) == pytest.approx(table[name], abs=0.005)


def test_the_weights_are_small() -> None:
    assert (FOLDER / WEIGHTS).stat().st_size <= 16 * 2**20


def test_a_loss_of_many_truths_is_least_where_they_are_nearest() -> None:
    truth = torch.tensor([[True, True, False], [False, True, False]])
    emphasis = torch.tensor([1.0, 1.0, 1.0])
    good = multi_positive_loss(torch.where(truth, 5.0, -5.0), truth, emphasis)
    bad = multi_positive_loss(torch.where(truth, -5.0, 5.0), truth, emphasis)
    assert good < bad
    assert torch.isfinite(multi_positive_loss(torch.zeros(2, 3), truth, emphasis))
