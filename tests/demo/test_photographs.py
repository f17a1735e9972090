from __future__ import annotations

import csv
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.demo.photographs import cut_sheet, load_photographs, paste_sheet
from fdgpu.demo.settings import SPLITS, world_settings
from fdgpu.errors import InputError


@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_its_photographs(split: str) -> None:
    photographs = load_photographs(split)
    per_class = world_settings().per_class[split]
    assert photographs.pixels.shape == (10 * per_class, 28, 28)
    assert photographs.labels.bincount().tolist() == [per_class] * 10
    assert (photographs.pixels.flatten(1).float().std(1) > 0).all()


def test_the_recorded_split_is_disjoint_and_the_sheets_keep_to_it() -> None:
    path = resources.files("fdgpu.demo") / "photographs" / "split.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == len(SPLITS) * 10
    for name in world_settings().class_names:
        ranges = sorted((int(r["start"]), int(r["stop"])) for r in rows if r["class"] == name)
        assert all(stop <= start for (_, stop), (start, _) in pairwise(ranges))
        for row in (r for r in rows if r["class"] == name):
            assert int(row["stop"]) - int(row["start"]) == world_settings().per_class[row["split"]]


def test_no_photograph_of_val_or_test_is_in_a_training_split() -> None:
    def keys(split: str) -> set[bytes]:
        return {image.numpy().tobytes() for image in load_photographs(split).pixels}

    shared = (keys("clip") | keys("base")) & (keys("val") | keys("test"))
    assert len(shared) <= 5  # Fashion-MNIST itself holds a few photographs twice


def test_the_licence_is_with_the_photographs() -> None:
    text = (resources.files("fdgpu.demo") / "photographs" / "LICENSE").read_text()
    assert "Zalando SE" in text
    assert "Permission is hereby granted" in text


def test_a_split_that_is_none() -> None:
    with pytest.raises(InputError, match="use one of clip, base, val, test"):
        load_photographs("train")


@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 5))
def test_cutting_undoes_pasting(n: int, columns: int, tile: int) -> None:
    tiles = np.random.default_rng(n).integers(0, 256, (n, tile, tile), dtype=np.uint8)
    assert np.array_equal(cut_sheet(paste_sheet(tiles, columns), tile)[:n], tiles)
