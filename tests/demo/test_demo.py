"""The demo runs without any extra, finds what it planted, and leaves its world and the truth about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from fdgpu.auditing import read_predictions
from tests.bare import BareEnvironment


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory, bare: BareEnvironment) -> tuple[Path, float]:
    """The folder that ``fdgpu demo`` has written, and the accuracy that it printed."""
    out = tmp_path_factory.mktemp("demo")
    done = bare.fdgpu("demo", "--out", out, "--permutations", 0, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    (accuracy,) = re.findall(r"The base model is right on ([\d.]+)%", done.stdout)
    return out, float(accuracy)


@pytest.mark.slow
def test_the_demo_finds_what_it_planted(full: tuple[Path, float]) -> None:
    out, accuracy = full
    document = json.loads((out / "audit.json").read_text())
    planted = [one["planted"] for one in document["classes"] if one["planted"]]
    assert len(planted) == 6
    assert accuracy >= 70
    assert sum(p["named_at"] == 1 for p in planted) >= 5
    assert all(p["named_at"] is not None and p["named_at"] <= 3 for p in planted)
    assert sum(p["share_by_decision"] for p in planted) / 6 >= 0.90
    assert sum(p["share_by_decision"] for p in planted) > sum(p["share_by_confidence"] for p in planted)


@pytest.mark.slow
def test_the_demo_leaves_its_world_and_the_truth(full: tuple[Path, float]) -> None:
    out, _ = full
    names = {path.name for path in out.iterdir()}
    assert names == {
        "report.html", "audit.json", "directions.safetensors", "examples.parquet", "captions.parquet",
        "effects.parquet", "causes.csv", "truth.json", "images", "predictions.csv",
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
