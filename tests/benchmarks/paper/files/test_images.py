"""What a base model is given of files: the right size, the right label, and an error that names a broken file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.paper.files.images import ImageFiles, as_inputs, at_resolution
from benchmarks.paper.lab import Lab
from fdgpu.errors import InputError
from fdgpu.repair import TrainingRecipe, flip_and_shift
from tests.benchmarks.paper.files.tiny import noise


def two_colours(path: Path) -> Path:
    """Write a tall picture, its upper and lower quarter black."""
    picture = Image.new("RGB", (20, 40), "black")
    picture.paste((200, 100, 50), (0, 10, 20, 30))
    picture.save(path)
    return path


def test_a_file_is_scaled_by_its_shorter_side_and_cut_to_its_centre(tmp_path: Path) -> None:
    files = ImageFiles([two_colours(tmp_path / "one.png")], torch.tensor([3]), resolution=10)
    image, label = files[0]
    assert len(files) == 1
    assert (image.shape, image.dtype) == ((3, 10, 10), torch.uint8)
    assert image[:, 5, 5].tolist() == [200, 100, 50]
    assert image[0, 1:9].min() == 200
    assert (label.dtype, int(label)) == (torch.int64, 3)


def test_several_labels_become_floats_as_binary_cross_entropy_needs_them(tmp_path: Path) -> None:
    _, label = ImageFiles([two_colours(tmp_path / "one.png")], torch.tensor([[0, 1, 1]]), 10)[0]
    assert (label.dtype, label.tolist()) == (torch.float32, [0, 1, 1])


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    files = ImageFiles([tmp_path / "broken.jpg", tmp_path / "none.jpg"], torch.tensor([0, 0]), 10)
    for row, reason in enumerate((r"broken\.jpg is not an image", r"none\.jpg does not exist")):
        with pytest.raises(InputError, match=f"{reason}: get this image again"):
            files[row]
    with pytest.raises(InputError, match="labels has 1 entries, there are 2 files"):
        ImageFiles(files.paths, torch.tensor([0]), 10)


def test_tensors_of_the_right_size_are_taken_as_they_are() -> None:
    images = noise(3)
    assert torch.equal(as_inputs(images, torch.zeros(3), 32), images)
    assert as_inputs(images, torch.zeros(3), 20).shape == (3, 3, 20, 20)
    flat = torch.full((2, 3, 30, 50), 7, dtype=torch.uint8)
    assert torch.equal(at_resolution(flat, 20), flat[:, :, :20, :20])


def test_a_lab_for_files_follows_the_recipe(tmp_path: Path) -> None:
    lab = Lab.on_files(None, TrainingRecipe.named("cifar"))
    assert lab.augment is flip_and_shift
    assert lab.workers >= 1
    one, other, third = (lab.network(5, seed) for seed in (0, 0, 1))
    assert torch.equal(one.conv1.weight, other.conv1.weight)
    assert not torch.equal(one.conv1.weight, third.conv1.weight)
    assert one.fc.out_features == 5
    assert one.conv1.kernel_size == (3, 3)
    larger = Lab.on_files(None, TrainingRecipe.named("celeba"), workers=0)
    assert (larger.augment, larger.workers) == (None, 0)
    assert larger.network(2, 0).conv1.kernel_size == (7, 7)
    inputs = larger.prepare([two_colours(tmp_path / "one.png")], torch.tensor([1]))
    assert isinstance(inputs, Dataset)
    assert inputs[0][0].shape == (3, 75, 75)
