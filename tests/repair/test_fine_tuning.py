"""Fine-tuning leaves the model alone; the last layer from features that are computed once, or batch by batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fdgpu.errors import InputError
from fdgpu.networks import class_scores
from fdgpu.repair import TrainingRecipe, fine_tune, resnet18, train
from tests.repair.test_training_loop import RECIPE, accuracy, net, same, stripes

FURTHER = TrainingRecipe(epochs=4, peak_lr=0.05, peak_epoch=1, batch=32, resolution=8)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    pictures, labels = stripes()
    return train(net(), pictures, labels, recipe=RECIPE, stop_after=1, device="cpu")


@pytest.mark.parametrize("as_dataset", [False, True])
def test_features_computed_once_are_those_of_every_batch(trained: nn.Module, as_dataset: bool) -> None:
    pictures, labels = stripes(seed=2)
    data = (TensorDataset(pictures, labels),) if as_dataset else (pictures, labels)
    weights = 1 + labels
    once = fine_tune(trained, *data, recipe=FURTHER, weights=weights, features_once=True, device="cpu")
    plain = fine_tune(trained, *data, recipe=FURTHER, weights=weights, features_once=False, device="cpu")
    assert not same(once[-1], trained[-1])
    assert same(once[:-1], trained[:-1])
    assert same(plain[:-1], trained[:-1])
    for own, other in zip(once[-1].parameters(), plain[-1].parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layers", ["last", "all"])
def test_it_improves_a_copy_and_not_the_model(trained: nn.Module, layers: str) -> None:
    pictures, labels = stripes(seed=3)
    before = copy.deepcopy(trained)
    tuned = fine_tune(trained, pictures, 1 - labels, recipe=FURTHER, layers=layers, device="cpu")
    assert same(trained, before)
    assert accuracy(tuned, pictures, 1 - labels) > 0.9
    assert same(tuned[:-1], trained[:-1]) == (layers == "last")


def test_augmentation_goes_through_the_whole_model(trained: nn.Module) -> None:
    pictures, labels = stripes(seed=2)
    dark = fine_tune(trained, pictures, labels, recipe=FURTHER, augment=lambda x, _: 0 * x, device="cpu")
    assert not same(dark[-1], fine_tune(trained, pictures, labels, recipe=FURTHER, device="cpu")[-1])


class Ending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 2)
        self.last = nn.Softmax(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.linear(x.flatten(1)))


def test_a_model_without_a_last_linear_layer() -> None:
    pictures, labels = stripes()
    with pytest.raises(InputError, match=r"Ending does not come straight .* last module is Softmax.*layers='all'"):
        fine_tune(Ending(), pictures, labels, recipe=FURTHER, device="cpu")
    assert not same(Ending(), fine_tune(Ending(), pictures, labels, recipe=FURTHER, layers="all", device="cpu"))
    with pytest.raises(InputError, match="layers is 'first': use one of last, all"):
        fine_tune(net(), pictures, labels, recipe=FURTHER, layers="first")


@pytest.mark.parametrize(("resolution", "before_pooling"), [(32, (4, 4)), (75, (3, 3)), (224, (7, 7))])
def test_resnet_for_small_and_for_large_images(resolution: int, before_pooling: tuple[int, int]) -> None:
    model = resnet18(5, resolution)
    sizes = []
    model.layer4.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[-2:])))
    assert class_scores(model, torch.zeros(1, 3, resolution, resolution)).shape == (1, 5)
    assert sizes == [before_pooling]
