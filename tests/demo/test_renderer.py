"""Pictures are a function of their scene, and show what their attributes say."""

from __future__ import annotations

import pytest
import torch

from fdgpu.demo.world import Attributes, draw_attributes, draw_scene, load_photographs, render, world_settings

N = 60
Photographs = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def photographs() -> Photographs:
    return load_photographs("val")


def drawn(photographs: Photographs, seed: int = 0, **fixed: int) -> tuple[Attributes, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels, labels = photographs
    labels = labels[:N]
    attributes = draw_attributes(N, generator)
    for name, code in fixed.items():
        getattr(attributes, name)[:] = code
    return attributes, render(pixels, draw_scene(attributes, labels, generator))


def test_the_same_seed_gives_the_same_pictures_and_another_seed_others(photographs: Photographs) -> None:
    assert torch.equal(drawn(photographs, 1)[1], drawn(photographs, 1)[1])
    assert not torch.equal(drawn(photographs, 1)[1], drawn(photographs, 2)[1])


def test_a_picture_does_not_depend_on_its_batch(photographs: Photographs) -> None:
    pixels, labels = photographs
    generator = torch.Generator().manual_seed(3)
    scene = draw_scene(draw_attributes(N, generator), labels[:N], generator)
    whole = render(pixels, scene)
    assert torch.equal(render(pixels, scene, batch=7), whole)
    assert torch.equal(render(pixels, scene[10:12]), whole[10:12])


@pytest.mark.parametrize("size", [32, 48, 64, 96])
def test_any_size(photographs: Photographs, size: int) -> None:
    pixels, labels = photographs
    generator = torch.Generator().manual_seed(0)
    scene = draw_scene(draw_attributes(4, generator), labels[:4], generator)
    assert render(pixels, scene, size=size).shape == (4, 3, size, size)


@pytest.mark.parametrize("wall", world_settings().names("background"))
def test_the_corners_show_the_background(photographs: Photographs, wall: str) -> None:
    _, pictures = drawn(photographs, background=world_settings().code("background", wall), framing=2, blurry=0)
    colour = torch.tensor(world_settings().palette["background"][wall])
    corners = pictures[:, :, :3, :3].float().mean((0, 2, 3)) / 255
    assert (corners - colour).abs().max() < 0.08


@pytest.mark.parametrize("name", world_settings().names("colour"))
def test_the_middle_shows_the_colour(photographs: Photographs, name: str) -> None:
    settings = world_settings()
    fixed = {"colour": settings.code("colour", name), "framing": settings.code("framing", "close-up")}
    _, pictures = drawn(photographs, **fixed, background=0, blurry=0)
    middle = pictures[:, :, 28:36, 28:36].float().mean((2, 3)) / 255
    palette = torch.tensor(list(settings.palette["colour"].values()))
    nearest = torch.cdist(middle / middle.norm(dim=1, keepdim=True), palette / palette.norm(dim=1, keepdim=True))
    grey = {"white", "black"}
    named = [settings.names("colour")[i] for i in nearest.argmin(1).tolist()]
    same_hue = [n == name or {n, name} <= grey or {n, name} <= {"orange", "brown", "yellow"} for n in named]
    assert sum(same_hue) / N > 0.9


def test_far_away_is_small_and_close_up_fills_the_picture(photographs: Photographs) -> None:
    code = world_settings().code

    def covered(framing: str) -> float:
        _, with_garment = drawn(photographs, colour=4, background=2, framing=code("framing", framing), blurry=0)
        return float((with_garment.float().mean(1) < 128).float().mean())

    assert covered("far away") < 0.5 * covered("normal") < covered("normal") < covered("close-up")


def test_a_group_shows_two_or_three(photographs: Photographs) -> None:
    _, labels = photographs
    generator = torch.Generator().manual_seed(0)
    attributes = draw_attributes(N, generator)
    scene = draw_scene(attributes, labels[:N], generator)
    is_group = attributes.framing == world_settings().code("framing", "group of")
    assert set(scene.count[is_group].tolist()) == {2, 3}
    assert set(scene.count[~is_group].tolist()) == {1}
    assert (labels[scene.garments] == labels[:N, None]).all()


def test_blur_removes_detail(photographs: Photographs) -> None:
    def detail(blurry: int) -> float:
        pictures = drawn(photographs, blurry=blurry)[1].float()
        return float((pictures[..., 1:] - pictures[..., :-1]).abs().mean())

    assert detail(1) < 0.8 * detail(0)
