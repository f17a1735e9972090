"""Sprite sheets hold the photographs that their splits name, and are read back as they were."""

from __future__ import annotations

import csv
import gzip
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.demo.world import cut_sheet, load_photographs, world_settings
from tools import make_photographs
from tools.make_photographs import PER_CLASS, PHOTOGRAPHS, paste_sheet


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_splits_follow_one_another_and_are_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"clip": 6, "base": 4, "val": 2, "test": 2}
    monkeypatch.setattr(make_photographs, "PER_CLASS", counts)
    monkeypatch.setattr(make_photographs, "COLUMNS", 2)
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(10, dtype=np.uint8), 14))
    images = rng.integers(0, 256, (140, 28, 28), dtype=np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    make_photographs.main(tmp_path, tmp_path / "shipped", tmp_path / "kept")
    start = 0
    for split, count in counts.items():
        folder = tmp_path / ("kept" if split == "clip" else "shipped")
        pixels, classes = load_photographs(split, folder)
        assert classes.tolist() == np.repeat(np.arange(10), count).tolist()
        own = [images[np.flatnonzero(labels == label)[start : start + count]] for label in range(10)]
        assert torch.equal(pixels, torch.from_numpy(np.concatenate(own)))
        start += count
    rows = list(csv.DictReader((tmp_path / "kept" / "split.csv").read_text().splitlines()))
    assert [(row["split"], row["class"]) for row in rows[:2]] == [("clip", "t-shirt"), ("base", "t-shirt")]


@pytest.mark.parametrize("split", PER_CLASS)
def test_every_split_has_its_photographs(split: str) -> None:
    pixels, labels = load_photographs(split, PHOTOGRAPHS if split == "clip" else None)
    assert pixels.shape == (10 * PER_CLASS[split], 28, 28)
    assert labels.bincount().tolist() == [PER_CLASS[split]] * 10
    assert (pixels.flatten(1).float().std(1) > 0).all()


def test_the_recorded_split_is_disjoint() -> None:
    rows = list(csv.DictReader((PHOTOGRAPHS / "split.csv").read_text().splitlines()))
    assert len(rows) == len(PER_CLASS) * 10
    for name in world_settings().class_names:
        ranges = sorted((int(r["start"]), int(r["stop"])) for r in rows if r["class"] == name)
        assert all(stop <= start for (_, stop), (start, _) in pairwise(ranges))
        for row in (r for r in rows if r["class"] == name):
            assert int(row["stop"]) - int(row["start"]) == PER_CLASS[row["split"]]


def test_no_photograph_of_val_or_test_is_in_a_training_split() -> None:
    def keys(split: str, folder: Path | None = None) -> set[bytes]:
        return {image.numpy().tobytes() for image in load_photographs(split, folder)[0]}

    shared = (keys("clip", PHOTOGRAPHS) | keys("base")) & (keys("val") | keys("test"))
    assert len(shared) <= 5  # Fashion-MNIST itself holds a few photographs twice


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 5))
@settings(deadline=None)
def test_cutting_undoes_pasting(n: int, columns: int, tile: int) -> None:
    tiles = np.random.default_rng(n).integers(0, 256, (n, tile, tile), dtype=np.uint8)
    assert np.array_equal(cut_sheet(paste_sheet(tiles, columns), tile)[:n], tiles)
