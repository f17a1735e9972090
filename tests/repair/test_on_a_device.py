"""Training and a model's scores on a pretended device: nothing is waited for but a flag an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fdgpu.arrays import counted_crossings
from fdgpu.errors import InputError
from fdgpu.networks import class_scores, penultimate
from fdgpu.repair import TrainingRecipe, fine_tune, train
from fdgpu.repair.augmentation import augmented, flip_and_shift
from tests.pretend_cuda import OnCuda, inner, pretend_cuda

RECIPE = TrainingRecipe(epochs=2, batch=4, peak_lr=0.1, peak_epoch=1, resolution=8)
FLAG = "whether the loss is finite"


def pictures(n: int) -> torch.Tensor:
    return torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
        )


@pytest.fixture(autouse=True)
def on_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with pretend_cuda(monkeypatch):
        yield


@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize("as_dataset", [False, True])
def test_training_waits_once_an_epoch(n: int, as_dataset: bool) -> None:
    labels, weights = torch.arange(n) % 3, 1 + torch.arange(n) % 2
    given = (TensorDataset(pictures(n), labels),) if as_dataset else (pictures(n), labels)
    settings = {"recipe": RECIPE, "weights": weights, "augment": flip_and_shift}
    expected = train(network(), *given, device="cpu", **settings)
    with counted_crossings() as crossings:
        model = train(network(), *given, device="cuda", amp=False, **settings)
    assert [(one.why, one.bytes) for one in crossings] == [(FLAG, 1)] * RECIPE.epochs
    for own, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(inner(own.data), other.data, atol=1e-5, rtol=1e-4)


def test_half_precision_does_not_wait_for_infinite_gradients() -> None:
    with counted_crossings() as crossings:
        train(network(), pictures(10), torch.arange(10) % 3, recipe=RECIPE, device="cuda")
    assert [one.why for one in crossings] == [FLAG] * RECIPE.epochs


@pytest.mark.parametrize("n", [10, 40])
def test_the_last_layer_is_tuned_from_features_that_stay(n: int) -> None:
    model, labels = network(), (torch.arange(n) % 3).to("cuda")
    with counted_crossings() as crossings:
        tuned = fine_tune(model, pictures(n).to("cuda"), labels, recipe=RECIPE, device="cuda")
    assert Counter(one.why for one in crossings) == {
        FLAG: RECIPE.epochs,
        "labels to train on": 1,
        "whether a layer's output is the model's": 2,
    }
    expected = fine_tune(model, pictures(n), torch.arange(n) % 3, recipe=RECIPE, device="cpu")
    torch.testing.assert_close(inner(tuned[-1].weight.data), expected[-1].weight.data, atol=1e-5, rtol=1e-4)


def test_scores_and_features_stay() -> None:
    model, expected = network().to("cuda"), class_scores(network(), pictures(10))
    with counted_crossings() as crossings:
        scores = class_scores(model, TensorDataset(pictures(10), torch.arange(10)), batch=4)
    assert not crossings
    torch.testing.assert_close(inner(scores), expected)
    assert isinstance(penultimate(model, pictures(10).to("cuda"), batch=4), OnCuda)


def test_images_to_add_come_down_once() -> None:
    base = TensorDataset(pictures(3) / 255, torch.arange(3))
    with counted_crossings() as crossings:
        added = augmented(base, (pictures(5) / 255).to("cuda"), torch.arange(5).to("cuda"))
        listed = [added[i] for i in range(len(added))]
    assert [one.why for one in crossings] == ["labels to train on", "added images, for a DataLoader"]
    assert [label for _, label in listed] == [0, 1, 2, 0, 1, 2, 3, 4]
    assert not any(isinstance(image, OnCuda) for image, _ in listed)


def test_weights_and_labels_are_refused_on_the_host() -> None:
    for weights, labels, message in (
        (torch.full((6,), -1.0), torch.arange(6) % 3, "weights holds a number"),
        (torch.zeros(6), torch.arange(6) % 3, "weights sum to zero"),
        (torch.ones(6), torch.arange(6), "labels holds 0 to 5, the model has 3 classes"),
        (torch.ones(6), torch.arange(6) / 2, "labels holds a number that is not whole"),
    ):
        with pytest.raises(InputError, match=message):
            train(network(), pictures(6), labels.to("cuda"), recipe=RECIPE, weights=weights.to("cuda"), device="cuda")
