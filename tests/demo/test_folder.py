"""The demo's folder: what is of its world and what of its audit, through a second demo and an audit of one's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fdgpu import ClipEmbedder, FailureDirections, audit
from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.demo import mending, world
from fdgpu.demo.run import demo

FEW = 200  # of the photographs, one is taken


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small part of the world."""
    load = world.load_photographs

    def few(split: str, *further: Any) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, labels = load(split, *further)
        return pixels[::FEW], labels[::FEW]

    monkeypatch.setattr(world, "load_photographs", few)


def _bundled() -> ClipEmbedder:
    embedder = ClipEmbedder.bundled("cpu")
    embedder.doubts = ()
    return embedder


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def files_but_the_store(out: Path) -> set[str]:
    """Audits keep a store of embeddings in their folder, which grows and is never replaced."""
    return {name for name in files_of(out) if not name.startswith("embeddings/")}


def listed(folder: Path, name: str) -> set[str]:
    return set(json.loads((folder / name).read_text())["files"])


@pytest.mark.usefixtures("small")
def test_the_world_stays_while_it_is_audited_and_goes_with_the_next(tmp_path: Path) -> None:
    out, plain = tmp_path / "out", FailureDirections()
    demo(out, 1, directions=plain, device="cpu")
    (out / "notes.txt").write_text("mine")
    first = listed(out, "truth.json")
    assert files_of(out) == first | listed(out, "audit.json") | {"notes.txt"}
    assert len(first) == 2 + 2 * 5000 // FEW
    truth = (out / "truth.json").read_bytes()

    demo(out, 2, directions=plain, device="cpu")
    assert files_of(out) == listed(out, "truth.json") | listed(out, "audit.json") | {"notes.txt"}
    assert (out / "truth.json").read_bytes() != truth

    table = read_predictions(out / "predictions.csv")
    assert table.confidence is not None
    assert table.true_probability is not None
    answers = zip(table.labels, table.predictions or (), table.confidence, table.true_probability, strict=True)
    assert all((true == sure) if label == said else (true <= sure) for label, said, sure, true in answers)
    kept = {name: (out / name).read_bytes() for name in listed(out, "truth.json")}
    result = audit(out / "images", table, directions=plain, out=out, embedder=_bundled())
    assert result.out == out
    assert {name: (out / name).read_bytes() for name in listed(out, "truth.json")} == kept
    assert files_but_the_store(out) == listed(out, "truth.json") | listed(out, "audit.json") | {"notes.txt"}

    elsewhere = torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8)
    audit(elsewhere, [0, 1] * 4, [0] * 8, directions=plain, out=out, embedder=_bundled())
    assert files_but_the_store(out) == listed(out, "audit.json") | {"notes.txt"}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.slow
def test_a_mended_demo_leaves_what_it_chose_and_how_much_better_each_way_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = world.load_photographs
    monkeypatch.setattr(world, "load_photographs", lambda *own: tuple(one[::2] for one in load(*own)))
    monkeypatch.setattr(mending, "K", 20)
    monkeypatch.setattr(mending, "STEPS", 4)
    monkeypatch.setattr(mending, "RECIPE", replace(mending.RECIPE, epochs=4))  # of every way's further training
    out = tmp_path / "out"
    demo(out, directions=FailureDirections(n_permutations=99, n_resamples=20), repair=True, device="cpu")
    assert files_of(out) == listed(out, "truth.json") | listed(out, "audit.json")
    ways = {one["way"]: one for one in json.loads((out / "mended.json").read_text())["ways"]}
    assert list(ways)[:4] == ["further training alone", "random choice", "hardest of a pool", "up-weighting"]
    pool = ways["hardest of a pool"]["minority"]
    assert pool["right_after"] > ways["random choice"]["minority"]["right_after"]
    assert pool["q_value"] < 0.05
    for one in ways.values():  # what is added is scaled as what was there: a model that sees other numbers forgets all
        assert one["overall"]["right_after"] > 0.9 * one["overall"]["right_before"]
    page = (out / "mended.html").read_text()
    for one in ways.values():
        assert one["page"] in page
        assert "<img" in (out / one["page"]).read_text()
    assert (out / "mended" / "hardest-of-a-pool" / "pool.csv").is_file()
