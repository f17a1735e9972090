"""What ships: the splits that the demo reads, and their licence."""

from __future__ import annotations

from importlib import resources

import pytest

from fdgpu.demo.world import load_photographs
from fdgpu.errors import InputError


def test_the_splits_of_the_demo_ship_and_no_others() -> None:
    folder = resources.files("fdgpu.demo") / "photographs"
    assert {part.name for part in folder.iterdir()} == {"base", "val", "test", "LICENSE"}
    pixels, labels = load_photographs("val")
    assert pixels.shape == (5000, 28, 28)
    assert labels.bincount().tolist() == [500] * 10


def test_the_licence_is_with_the_photographs() -> None:
    text = (resources.files("fdgpu.demo") / "photographs" / "LICENSE").read_text()
    assert "Zalando SE" in text
    assert "Permission is hereby granted" in text


@pytest.mark.parametrize("split", ["train", "clip", "", ".."])
def test_a_split_that_is_none(split: str) -> None:
    with pytest.raises(InputError, match="use one of base, test, val"):
        load_photographs(split)
