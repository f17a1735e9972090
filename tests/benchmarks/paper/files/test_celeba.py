"""CelebA's lists are read exactly, and what is missing or wrong is named with its line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.paper.files.celeba import celeba
from fdgpu.errors import InputError
from tests.benchmarks.paper.files.tiny import write_celeba

FACES = [(0, 0, 0), (1, 1, 0), (0, 1, 2), (1, 0, 1), (1, 0, 0), (0, 1, 0)]


def test_age_is_the_label_gender_the_kind_and_old_women_and_young_men_are_minorities(tmp_path: Path) -> None:
    root = write_celeba(tmp_path, FACES)
    for folder in (tmp_path, root):
        splits = celeba(folder)
        assert list(splits) == ["train", "val", "test"]
        train = splits["train"]
        assert [path.name for path in train.images] == ["000001.jpg", "000002.jpg", "000005.jpg", "000006.jpg"]
        assert train.images[0] == root / "img_align_celeba" / "000001.jpg"
        assert train.labels.tolist() == [0, 1, 1, 0]
        assert train.kinds.tolist() == [0, 1, 0, 1]
        assert train.minority.tolist() == [True, True, False, False]
        assert (splits["val"].labels.tolist(), splits["val"].kinds.tolist()) == ([1], [0])
        assert [path.name for path in splits["test"].images] == ["000003.jpg"]
    assert splits["train"][torch.tensor([2, 0])].images == [train.images[2], train.images[0]]


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"])
def test_a_missing_file_is_named_with_the_place_to_get_it(name: str, tmp_path: Path) -> None:
    path = write_celeba(tmp_path, FACES) / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=rf"{re.escape(str(path))} is missing: get it from .*mmlab\.ie\.cuhk\.edu\.hk"):
        celeba(tmp_path)


def test_missing_images_are_counted_and_the_first_is_named_with_its_line(tmp_path: Path) -> None:
    root = write_celeba(tmp_path, FACES)
    for number in (2, 5):
        (root / "img_align_celeba" / f"{number:06d}.jpg").unlink()
    with pytest.raises(InputError, match=r"000002\.jpg is missing from .*line 4, names it; 2 of 6 images are missing"):
        celeba(tmp_path)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("list_attr_celeba.txt", "6\n", "202599\n", "list_attr_celeba.txt: expected 202599 images"),
        ("list_attr_celeba.txt", "6\n", "", "line 1: expected the number of images"),
        ("list_attr_celeba.txt", " Young", " Old", "line 2: expected the names of the attributes, Young"),
        ("list_attr_celeba.txt", "000002.jpg  1", "000002.jpg  2", "line 4: expected a file name and 4 attributes"),
        ("list_attr_celeba.txt", "000003.jpg -1", "000003.jpg", "line 5: expected a file name and 4 attributes"),
        ("list_eval_partition.txt", "000003.jpg 2", "000003.jpg 3", "line 3: expected a file name and 0, 1 or 2"),
        ("list_eval_partition.txt", "000003.jpg 2", "000033.jpg 2", "line 3: expected an image that list_attr"),
        ("list_eval_partition.txt", "000003.jpg 2", "000002.jpg 2", "line 3: expected an image .*each once"),
        ("list_eval_partition.txt", "000006.jpg 0\n", "", "list_eval_partition.txt: expected 6 images"),
    ],
)
def test_a_malformed_list_is_named_with_its_line(name: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write_celeba(tmp_path, FACES) / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        celeba(tmp_path)
