"""The shipped weights keep their promise, and the demo finds what it planted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from fdgpu import ClipEmbedder
from fdgpu.auditing import read_predictions
from fdgpu.demo.photographs import load_photographs
from fdgpu.demo.run import DemoResult, demo
from tools.train_clip import FOLDER, WEIGHTS, multi_positive_loss, rendered
from tools.zero_shot import REQUIRED, zero_shot_accuracy


@pytest.mark.slow
def test_the_bundled_clip_sees_what_its_table_says() -> None:
    photographs = load_photographs("test")
    pictures, attributes = rendered(photographs, torch.Generator().manual_seed(1))
    clip = ClipEmbedder.bundled("cpu")
    table = zero_shot_accuracy(clip.images(pictures), clip.texts, attributes, photographs.labels)
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


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return demo(tmp_path_factory.mktemp("demo"), seed=0, device="cpu")


@pytest.mark.slow
def test_the_demo_finds_what_it_planted(full: DemoResult) -> None:
    planted = [entry.planted for entry in full.audit.findings.classes if entry.planted is not None]
    assert len(planted) == 6
    assert full.accuracy >= 0.70
    assert sum(p.named_at == 1 for p in planted) >= 5
    assert all(p.named_at is not None and p.named_at <= 3 for p in planted)
    assert sum(p.share_by_decision for p in planted) / 6 >= 0.90
    assert sum(p.share_by_decision for p in planted) > sum(p.share_by_confidence for p in planted)


@pytest.mark.slow
def test_the_demo_leaves_its_world_and_the_truth(full: DemoResult) -> None:
    out = full.audit.out
    assert isinstance(out, Path)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "report.html", "audit.json", "directions.safetensors", "examples.parquet", "captions.parquet",
        "effects.parquet", "truth.json", "images", "predictions.csv",
    }  # fmt: skip
    table = read_predictions(out / "predictions.csv")
    assert {split: table.splits.count(split) for split in ("val", "test")} == {"val": 5000, "test": 5000}
    with Image.open(out / "images" / table.paths[-1]) as picture:
        assert picture.size == (64, 64)
    truth = json.loads((out / "truth.json").read_text())
    document = json.loads((out / "audit.json").read_text())
    assert set(truth["test"]) == {
        path for path, split in zip(table.paths, table.splits, strict=True) if split == "test"
    }
    coat = next(entry for entry in document["classes"] if entry["name"] == "coat")
    minority = sum(truth["test"][path]["minority"] for path in coat["hard_examples"])
    assert minority >= 0.8 * len(coat["hard_examples"])
    assert set(document["timings"]) >= {"render pictures", "train base model", "embed images", "fit directions"}
