"""The paper's figures by name, and the shape of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.errors import InputError
from fdgpu.repair import TrainingRecipe, recipe_names, triangular


def test_the_papers_figures() -> None:
    assert TrainingRecipe.named("cifar") == TrainingRecipe(
        epochs=35, peak_lr=0.5, peak_epoch=5, batch=512, resolution=32
    )
    assert TrainingRecipe.named("celeba") == TrainingRecipe(
        epochs=30, peak_lr=0.02, peak_epoch=2, batch=512, resolution=75
    )
    assert (
        TrainingRecipe.named("imagenet") == TrainingRecipe.named("chestxray14") == TrainingRecipe(16, 0.5, 2, 1024, 224)
    )
    assert TrainingRecipe.named("coloured_mnist") == TrainingRecipe(15, 0.1, 2, 512, 28)
    assert TrainingRecipe.named("cifar_last_layer") == TrainingRecipe(15, 0.1, 5, 512, 32)
    assert {TrainingRecipe.named(name).momentum for name in recipe_names()} == {0.9}
    assert {TrainingRecipe.named(name).weight_decay for name in recipe_names()} == {5e-4}


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
    ],
)
def test_figures_that_cannot_be(change: dict[str, float], message: str) -> None:
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
