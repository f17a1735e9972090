"""The paper's figures by name, and the shape of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.errors import InputError
from fdgpu.repair import TrainingRecipe, recipe_names, triangular

FIGURES = {  # epochs, peak learning rate and its epoch, batch, resolution
    "cifar": (35, 0.5, 5, 512, 32),
    "cifar_last_layer": (15, 0.1, 5, 512, 32),
    "celeba": (30, 0.02, 2, 512, 75),
    "coloured_mnist": (15, 0.1, 2, 512, 28),
    "imagenet": (16, 0.5, 2, 1024, 224),
    "imagenet_c": (16, 0.5, 2, 1024, 224),
    "chestxray14": (16, 0.5, 2, 1024, 224),
}
# Of 255, as the published configurations give them.
OF_CIFAR = (125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)
OF_IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
STATISTICS = {"cifar": OF_CIFAR, "celeba": OF_IMAGENET, "imagenet": OF_IMAGENET, "imagenet_c": OF_IMAGENET}
STATISTICS |= {"chestxray14": OF_IMAGENET, "coloured_mnist": ((), ()), "cifar_last_layer": ((), ())}
IMAGES = {  # centre, random_crop, flip, shift, cutout
    "cifar": (1.0, False, True, 2, 4),
    "cifar_last_layer": (1.0, False, False, 0, 0),
    "celeba": (1.0, False, True, 0, 0),
    "coloured_mnist": (1.0, False, False, 0, 0),
    "imagenet": (224 / 256, True, True, 0, 0),
    "imagenet_c": (224 / 256, False, True, 0, 0),
    "chestxray14": (224 / 256, False, True, 0, 0),
}


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_the_papers_figures(name: str) -> None:
    recipe = TrainingRecipe.named(name)
    assert (recipe.epochs, recipe.peak_lr, recipe.peak_epoch, recipe.batch, recipe.resolution) == FIGURES[name]
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-4)
    assert (recipe.centre, recipe.random_crop, recipe.flip, recipe.shift, recipe.cutout) == IMAGES[name]
    for own, published in zip((recipe.mean, recipe.deviation), STATISTICS[name], strict=True):
        assert [255 * value for value in own] == pytest.approx(published, abs=0.01)
    assert (recipe.augment is None) == (not recipe.flip)


def test_every_bundled_recipe_is_the_papers_but_the_demos() -> None:
    assert {*FIGURES, "demo"} == set(recipe_names())


def test_what_a_recipe_does_to_images() -> None:
    """A network of images in [0, 1] is given them less the mean, over the deviation; what is covered has the mean."""
    recipe = TrainingRecipe.named("cifar")
    network = recipe.normalised(torch.nn.Identity())
    colour = torch.tensor(recipe.mean)[None, :, None, None].expand(1, 3, 32, 32)
    deviation = torch.tensor(recipe.deviation)[None, :, None, None]
    assert torch.allclose(network(colour), torch.zeros(1))
    assert torch.allclose(network(colour + deviation), torch.ones(1))
    batch = recipe.augment(torch.ones(64, 3, 32, 32), torch.Generator().manual_seed(0))
    covered = batch[(batch != 1).any(dim=1, keepdim=True).expand_as(batch)].unique()
    assert (255 * covered).tolist() == pytest.approx([113, 122, 125], abs=1e-3)
    plain = TrainingRecipe.named("coloured_mnist")
    assert plain.normalised(identity := torch.nn.Identity()) is identity


def test_a_name_that_is_none_lists_those_there_are() -> None:
    with pytest.raises(InputError, match="use one of celeba, chestxray14, cifar, "):
        TrainingRecipe.named("cifar10")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch": 1.5}, "batch is 1.5"),
        ({"batch": 4.0}, "batch is 4.0"),
        ({"epochs": float("nan")}, "epochs is nan"),
        ({"resolution": float("inf")}, "resolution is inf"),
        ({"peak_epoch": 4}, "after the last of 3 epochs"),
        ({"peak_lr": 0.0}, "peak_lr is 0.0"),
        ({"peak_lr": float("nan")}, "peak_lr is nan"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"mean": (0.5,)}, "mean has 1 numbers, deviation 0"),
        ({"mean": (125.0,), "deviation": (0.2,)}, "mean is 125"),
        ({"mean": (0.5,), "deviation": (0.0,)}, "deviation is 0"),
        ({"cutout": 33}, "cutout is 33"),
        ({"shift": -1}, "shift is -1"),
        ({"flip": 1}, "flip is 1"),
        ({"centre": 0.0}, "centre is 0"),
    ],
)
def test_figures_that_cannot_be(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingRecipe(**{"epochs": 3, "peak_lr": 0.1, "peak_epoch": 1, "batch": 8, "resolution": 32, **change})


@given(st.integers(2, 500), st.data())
def test_the_learning_rate_is_a_triangle(steps: int, data: st.DataObject) -> None:
    peak = data.draw(st.integers(1, steps - 1))
    values = [triangular(step, steps, peak) for step in range(steps + 1)]
    assert values[0] == values[steps] == 0
    assert values[peak] == max(values) == 1
    rises = [b - a for a, b in pairwise(values)]
    assert all(abs(r - 1 / peak) < 1e-9 for r in rises[:peak])
    assert all(abs(r + 1 / (steps - peak)) < 1e-9 for r in rises[peak:])
