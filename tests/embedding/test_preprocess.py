"""Pixels: every layout becomes channels first, and every shape the model's size, as open_clip does it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as V

from fdgpu.embedding.picture import as_picture, as_pictures, on_white
from fdgpu.embedding.preprocess import Memory, Preprocess, ResizeMode
from fdgpu.errors import InputError


@pytest.mark.parametrize(
    "shape", [(5, 3, 6, 7), (5, 6, 7, 3), (5, 6, 7), (5, 1, 6, 7), (5, 6, 7, 1), (5, 4, 6, 7), (5, 6, 7, 4)]
)
def test_layouts_of_a_tensor(shape: tuple[int, ...]) -> None:
    pixels = torch.randint(256, shape, dtype=torch.uint8)
    assert on_white(as_pictures(pixels)).shape == (5, 3, 6, 7)
    assert torch.equal(on_white(as_pictures(pixels))[2], as_picture(pixels[2]))


def test_arrays_pil_and_tensors_of_one_picture_are_the_same() -> None:
    array = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    expected = torch.from_numpy(array).permute(2, 0, 1)
    for image in (array, Image.fromarray(array), torch.from_numpy(array), expected):
        assert torch.equal(as_picture(image), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((3, 4, 4), 7.0), "outside"),
        (torch.full((3, 4, 4), float("nan")), "NaN"),
        (torch.zeros(2, 4, 5), "1, 3 or 4 channels"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "uint8, or floats"),
        ("a string", "a str of 8"),
    ],
)
def test_a_picture_that_is_none(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_picture(image)


def test_few_grey_images_are_not_the_channels_of_one() -> None:
    for n in range(1, 7):
        assert as_pictures(torch.zeros(n, 28, 28, dtype=torch.uint8)).shape == (n, 3, 28, 28)


def test_preprocessing_is_open_clips_within_a_level_or_two() -> None:
    config = {"size": 32, "mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 71, 3), dtype=np.uint8))
    theirs = open_clip.image_transform(32, is_train=False, mean=(0.5,) * 3, std=(0.25,) * 3)(image)
    ours = Preprocess.of_model(config)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    mine = ours.normalise(ours.resize(tensor)[None], torch.float32)[0]
    assert (mine - theirs).abs().max() <= 2.5 / 255 / 0.25


def test_a_very_long_image_stays_small() -> None:
    config = {"size": 32, "mean": (0.5,) * 3, "std": (1.0,) * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    preprocess = Preprocess.of_model(config)
    assert preprocess.resize(torch.zeros(3, 1, 200_000, dtype=torch.uint8)).shape == (3, 32, 32)
    line = torch.arange(400, dtype=torch.uint8).repeat(3, 40, 1)
    expected = V.center_crop(V.resize(line, [32, 320], antialias=True), [32, 32])
    bilinear = Preprocess.of_model({**config, "interpolation": "bilinear"})
    assert (bilinear.resize(line).int() - expected.int()).abs().max() <= 2


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("shape", [(64, 64), (20, 90), (90, 20), (1, 1), (31, 33)])
def test_every_shape_comes_out_in_the_models_size(mode: str, shape: tuple[int, int]) -> None:
    config = {"size": (32, 32), "mean": (0.5,) * 3, "std": (1.0,) * 3, "interpolation": "bilinear", "resize_mode": mode}
    ours = Preprocess.of_model(config)
    for one in (ours, replace(ours, scaled=(40, 40))):
        assert one.resize(torch.zeros(3, *shape, dtype=torch.uint8)).shape == (3, 32, 32)


def test_an_image_in_the_models_size_is_scaled_too_where_the_centre_is_cropped() -> None:
    ours = Preprocess((4, 4), (0.5,) * 3, (1.0,) * 3, InterpolationMode.BILINEAR, ResizeMode.SHORTEST, (8, 8))
    whole = torch.arange(16, dtype=torch.float32).reshape(1, 4, 4).repeat(3, 1, 1) / 16
    expected = V.center_crop(V.resize(whole, [8], antialias=True), [4])
    torch.testing.assert_close(ours.resize(whole), expected)
    assert not torch.equal(ours.resize(whole), whole)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
@pytest.mark.parametrize("order", ["channels first", "channels last", "part of larger images"])
def test_normalising_is_its_plain_formula_in_any_order_and_memory(dtype: torch.dtype, order: str) -> None:
    config = {"size": 6, "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "interpolation": "bicubic"}
    ours = Preprocess.of_model({**config, "resize_mode": "shortest"})
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8)
    if dtype.is_floating_point:
        images = images.to(dtype) / 255
    if order == "channels last":
        images = images.contiguous(memory_format=torch.channels_last)
    elif order == "part of larger images":
        images = images[:, :, 1:5, :3]
    before = images.clone()
    whole = images.double() / (255 if dtype == torch.uint8 else 1)
    mean, std = (torch.tensor(config[name], dtype=torch.float64)[:, None, None] for name in ("mean", "std"))
    expected = ((whole - mean) / std).float()
    memory = Memory()
    for out in (None, memory.of(images), memory.of(images)):
        found = ours.normalise(images, torch.float32, out)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert out is None or found.data_ptr() == out.data_ptr()
        assert torch.equal(images, before)
    assert (memory.of(images) is None) == (order == "part of larger images")
    assert ours.normalise(images, torch.float16).dtype == torch.float16
