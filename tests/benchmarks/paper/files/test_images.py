"""What a base model is given of files: the right size, the right label, and an error that names a broken file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Dataset, Subset

from benchmarks.paper.files.images import ImageFiles, as_inputs, at_resolution, for_training
from benchmarks.paper.lab import Lab
from fdgpu.errors import InputError
from fdgpu.repair import TrainingRecipe
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
    recipe = TrainingRecipe.named("cifar")
    assert torch.equal(as_inputs(images, torch.zeros(3), recipe), images)
    assert as_inputs(images, torch.zeros(3), replace(recipe, resolution=20)).shape == (3, 3, 20, 20)
    flat = torch.full((2, 3, 30, 50), 7, dtype=torch.uint8)
    assert torch.equal(at_resolution(flat, 20), flat[:, :, :20, :20])


def test_the_centre_is_a_share_of_the_shorter_side(tmp_path: Path) -> None:
    """Of 40 by 80 pixels with a frame of 5, seven eighths of 40 are cut: the frame's inner 2.5 remain on two sides."""
    picture = Image.new("RGB", (40, 80), "black")
    picture.paste((200, 200, 200), (5, 0, 35, 80))
    picture.save(tmp_path / "framed.png")
    for centre, black in ((1.0, 8), (0.875, 4)):
        image, _ = ImageFiles([tmp_path / "framed.png"], torch.tensor([0]), 64, centre)[0]
        assert image.shape == (3, 64, 64)
        assert int((image[0, 32] < 100).sum()) / 2 == pytest.approx(black, abs=1)


def test_training_sees_random_parts_where_the_recipe_says_so(tmp_path: Path) -> None:
    """Through subsets and joined sets, the same ones by the same seed; what a model is judged on stays as it is."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8))
    picture.save(tmp_path / "noise.png")
    recipe = TrainingRecipe.named("imagenet")
    files = as_inputs([tmp_path / "noise.png"] * 3, torch.arange(3), recipe)
    whole = ConcatDataset([Subset(files, [2, 0]), files])
    assert torch.equal(whole[0][0], whole[1][0])
    cut = for_training(whole, recipe)
    assert [int(label) for _, label in cut] == [2, 0, 0, 1, 2]
    drawn = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            drawn.append([cut[0][0], cut[1][0]])
    assert drawn[0][0].shape == (3, 224, 224)
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert all(torch.equal(one, other) for one, other in zip(*drawn, strict=True))
    assert for_training(files, TrainingRecipe.named("imagenet_c")) is files
    assert for_training(images := noise(2), recipe) is images


def test_a_lab_for_files_follows_the_recipe(tmp_path: Path) -> None:
    lab = Lab.on_files(None, TrainingRecipe.named("cifar"))
    changed = lab.augment(torch.ones(8, 3, 32, 32), torch.Generator().manual_seed(0))
    assert (changed != 1).any(dim=1).sum(dim=(1, 2)).min() >= 16
    assert lab.workers >= 1
    (first, one), (_, other), (_, third) = (lab.network(5, seed) for seed in (0, 0, 1))
    assert (first.mean, first.std) == ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010])
    assert torch.equal(one.conv1.weight, other.conv1.weight)
    assert not torch.equal(one.conv1.weight, third.conv1.weight)
    assert one.fc.out_features == 5
    assert one.conv1.kernel_size == (3, 3)
    larger = Lab.on_files(None, TrainingRecipe.named("celeba"), workers=0)
    assert larger.workers == 0
    assert larger.network(2, 0)[1].conv1.kernel_size == (7, 7)
    inputs = larger.prepare([two_colours(tmp_path / "one.png")], torch.tensor([1]))
    assert isinstance(inputs, Dataset)
    assert inputs[0][0].shape == (3, 75, 75)
