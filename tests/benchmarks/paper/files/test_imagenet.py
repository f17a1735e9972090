"""ImageNet's folders give labels in the order of their names, and a missing folder is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.paper.files.imagenet import imagenet, wnids
from fdgpu.errors import InputError
from tests.benchmarks.paper.files.tiny import write_image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("train/n02", "train/n01", "val/n01", "val/n02"):
        root = tmp_path / part
        root.mkdir(parents=True)
        for number in (2, 1):
            write_image(root / f"{root.name}_{number}.JPEG", number)
        (root / "notes.txt").write_text("no image")
    return tmp_path


def test_labels_are_places_in_the_sorted_wnids(folder: Path) -> None:
    splits = imagenet(folder)
    assert wnids(folder) == ["n01", "n02"]
    for split in ("train", "val"):
        names = [path.relative_to(folder / split).as_posix() for path in splits[split].images]
        assert names == ["n01/n01_1.JPEG", "n01/n01_2.JPEG", "n02/n02_1.JPEG", "n02/n02_2.JPEG"]
        assert splits[split].labels.tolist() == splits[split].kinds.tolist() == [0, 0, 1, 1]
        assert not splits[split].minority.any()


@pytest.mark.parametrize("name", ["train", "val", "val/n02"])
def test_a_missing_folder_is_named_with_the_place_to_get_it(name: str, folder: Path) -> None:
    shutil.rmtree(folder / name)
    with pytest.raises(InputError, match=rf"{name} is missing: get it from https://www\.image-net\.org"):
        imagenet(folder)


def test_a_class_of_val_that_train_lacks_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "n01")
    with pytest.raises(InputError, match=r"val/n01 is a class that .*train lacks: get it from"):
        imagenet(folder)


def test_a_class_without_images_is_named(folder: Path) -> None:
    for path in (folder / "train" / "n02").glob("*.JPEG"):
        path.unlink()
    with pytest.raises(InputError, match=r"train/n02 holds no \.JPEG: get it from"):
        imagenet(folder)


def test_validation_as_it_unpacks_has_to_be_sorted_into_classes(folder: Path) -> None:
    shutil.rmtree(folder / "val")
    (folder / "val").mkdir()
    write_image(folder / "val" / "ILSVRC2012_val_00000001.JPEG", 1)
    with pytest.raises(InputError, match=r"val holds no folder of a class: sort its images into val/<wnid>/"):
        imagenet(folder)


def test_a_train_folder_without_classes_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "train")
    (folder / "train").mkdir()
    with pytest.raises(InputError, match=r"train holds no folder"):
        wnids(folder)
