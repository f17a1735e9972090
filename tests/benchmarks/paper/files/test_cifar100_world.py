"""The split of CIFAR-100 in three, its rare subclasses, and names and groups from the files."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.paper.experiment import FOLDER
from benchmarks.paper.files.cifar import Superclasses
from benchmarks.paper.files.cifar100_world import on_files, rare_subclasses, subclasses_of
from benchmarks.paper.sets import Marked
from fdgpu.errors import InputError
from tests.benchmarks.paper.files.tiny import noise, write_binary

RARE = {f"group {i}": f"kind {5 * i + i % 5}" for i in range(20)}
SETTINGS = {"recipe": "cifar", "workers": 0, "train": 0.4, "pool": 0.4, "kept": 0.25, "rare": RARE}
EACH, TESTED = 20, 2  # images of a subclass


class Pixels:
    """Gives an image's first pixels as its vector, and counts calls."""

    def __init__(self) -> None:
        self.calls = 0

    def images(self, images: Tensor) -> Tensor:
        self.calls += 1
        return images.flatten(1)[:, :8].float()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "cifar-100-binary"
    for split, each in (("train", EACH), ("test", TESTED)):
        fine = [kind for _ in range(each) for kind in range(100)]
        write_binary(root / f"{split}.bin", noise(len(fine), each), [kind // 5 for kind in fine], fine)
    (root / "fine_label_names.txt").write_text("".join(f"kind_{kind}\n" for kind in range(100)))
    (root / "coarse_label_names.txt").write_text("".join(f"group_{label}\n" for label in range(20)))
    return tmp_path


def rows(embeddings: object) -> set[tuple[float, ...]]:
    return {tuple(row) for row in embeddings.tolist()}


def test_forty_forty_twenty_of_every_subclass_and_a_quarter_of_the_rare(folder: Path) -> None:
    clip = Pixels()
    world_of = on_files(clip, SETTINGS, folder)
    world = world_of(0)
    (rare,) = world.turns
    train, pool, val, test = world.train(dict.fromkeys(rare, 0.25)), world.pool(), world.val(), world.test()
    counts = train.kinds.bincount(minlength=100)
    codes = [world.names.index(name) for name in rare]
    assert counts[codes].tolist() == [2] * 20
    assert counts.sum() == 80 * 8 + 20 * 2
    assert set(train.kinds[train.minority].tolist()) == set(codes)
    assert train.minority.sum() == 40
    assert pool.kinds.bincount().tolist() == [8] * 100
    assert val.kinds.bincount().tolist() == [4] * 100
    assert test.kinds.bincount().tolist() == [TESTED] * 100
    whole = world.train({})
    parts = [rows(seen.embeddings) for seen in (whole, pool, val)]
    assert [len(part) for part in parts] == [800, 800, 400]
    assert len(parts[0] | parts[1] | parts[2]) == 2000
    assert rows(train.embeddings) < parts[0]
    assert torch.equal(train.inputs.flatten(1)[:, :8].float(), torch.from_numpy(train.embeddings))
    assert rows(world_of(1).pool().embeddings) != parts[1]
    assert clip.calls == 2


def test_names_are_spelled_as_captions_do_and_groups_are_in_the_order_of_their_labels(folder: Path) -> None:
    world = on_files(Pixels(), SETTINGS, folder)(0)
    assert world.names[7] == "kind 7"
    assert list(world.groups) == [f"group {label}" for label in range(20)]
    assert world.groups["group 1"] == ["kind 5", "kind 6", "kind 7", "kind 8", "kind 9"]
    assert world.turns == [list(RARE.values())]


def test_groups_are_read_from_the_labels_wherever_they_stand() -> None:
    kinds = torch.tensor([3, 0, 2, 1, 0])
    images = Marked(torch.zeros(5), torch.tensor([0, 1, 1, 0, 1]), kinds, kinds < 0)
    groups = subclasses_of(images, Superclasses(("one", "two"), ("a", "b", "c", "d")))
    assert groups == {"one": ["b", "d"], "two": ["a", "c"]}
    assert rare_subclasses(groups, {"two": "c", "one": "b"}) == ["b", "c"]
    with pytest.raises(InputError, match="the rare subclass of 'two' is 'b': choose one of a, c"):
        rare_subclasses(groups, {"two": "b", "one": "b"})
    with pytest.raises(InputError, match="the rare subclass of 'two' is None"):
        rare_subclasses(groups, {"one": "b"})


def test_the_papers_list_has_twenty_superclasses() -> None:
    rare = tomllib.loads((FOLDER / "cifar100.toml").read_text())["on_files"]["rare"]
    assert len(rare) == len(set(rare.values())) == 20
    assert rare["aquatic mammals"] == "beaver"
    assert rare["trees"] == "willow tree"
