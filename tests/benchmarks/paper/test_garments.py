"""Sets hold what was planted, and nothing else changes with its strength."""

from __future__ import annotations

import pytest
import torch

from benchmarks.paper.offline.garments import Pair, Part, spurious_pair, superclasses
from fdgpu.demo.world import world_settings

PAIR = Pair(("trouser", "dress"), "colour", ("red", "blue"), {"framing": "normal", "blurry": "sharp"})
GROUPS = {"one": ["t-shirt", "boot"], "two": ["coat", "bag", "sandal"]}


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_pair_has_its_share_of_the_minority(share: float) -> None:
    garments = spurious_pair(PAIR, Part("val", 0, 20), (share, share), seed=0, renderings=2)
    assert garments.images.shape == (80, 3, 64, 64)
    for label in (0, 1):
        assert garments.minority[garments.labels == label].sum() == 40 - round(share * 40)
    middle = garments.images[:, :, 28:36, 28:36].float().mean((2, 3))
    red = middle[:, 0] > middle[:, 2]
    assert (red == ((garments.labels == 0) ^ garments.minority)).float().mean() > 0.9


def test_each_garment_has_a_share_of_its_own() -> None:
    garments = spurious_pair(PAIR, Part("val", 0, 20), (0.6, 0.9), seed=0)
    assert [int(garments.minority[garments.labels == label].sum()) for label in (0, 1)] == [8, 2]


def test_only_those_that_change_sides_look_different_at_another_strength() -> None:
    one, other = (spurious_pair(PAIR, Part("val", 0, 20), (share, share), seed=1) for share in (0.5, 0.9))
    same = (one.images == other.images).flatten(1).all(1)
    assert torch.equal(same, one.minority == other.minority)
    assert not one.minority[other.minority].logical_not().any()
    again = spurious_pair(PAIR, Part("val", 0, 20), (0.5, 0.5), seed=1)
    assert torch.equal(one.images, again.images)


def test_a_rare_garment_is_cut_and_is_the_minority_of_its_superclass() -> None:
    garments = superclasses(GROUPS, Part("val", 0, 20), {"boot": 0.25, "bag": 0.25}, seed=0)
    names = world_settings().class_names
    count = {name: int((garments.kinds == names.index(name)).sum()) for name in names}
    assert count == {**dict.fromkeys(names, 0), "t-shirt": 20, "boot": 5, "coat": 20, "bag": 5, "sandal": 20}
    assert garments.labels.bincount().tolist() == [25, 45]
    assert garments.minority.sum() == 10
    assert set(garments.kinds[garments.minority].tolist()) == {names.index("boot"), names.index("bag")}
