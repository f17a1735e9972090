"""What training cannot take is reported before or at the first epoch, and what it can take in another form it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from fdgpu.errors import InputError, ModelError
from fdgpu.repair import TrainingRecipe, binary_cross_entropy, fine_tune, train
from fdgpu.repair.training_loop import _groups
from tests.repair.test_training_loop import RECIPE, net, same, stripes

PICTURES, LABELS = stripes()
TWO = torch.stack([LABELS == 0, LABELS == 1], 1).float()


@pytest.mark.parametrize(
    ("labels", "loss", "message"),
    [
        (LABELS + 1, None, "labels holds 1 to 2, the model has 2 classes: pass class ids from 0 to 1"),
        (2 * LABELS - 1, None, "labels holds -1 to 1"),
        (torch.where(LABELS == 0, -100, LABELS), None, "labels holds -100 to 1"),
        (0.9 * LABELS, None, "not whole"),
        (torch.full((96,), torch.nan), None, "not whole"),
        (TWO, None, "several labels an image use binary_cross_entropy"),
        (LABELS, binary_cross_entropy, "for one class an image use cross_entropy"),
        (TWO[:, :1], binary_cross_entropy, "a 0 or 1 for each score"),
        (2 * TWO, binary_cross_entropy, r"outside \[0, 1\]"),
        (["light"] * 96, None, "labels"),
    ],
)
@pytest.mark.parametrize("as_dataset", [False, True])
def test_labels_that_are_not_the_models(labels: Any, loss: Any, message: str, as_dataset: bool) -> None:
    pairs = Pairs(list(zip(PICTURES, labels, strict=True)))
    data = (pairs,) if as_dataset else (PICTURES, labels)
    given_loss = {} if loss is None else {"loss": loss}
    with pytest.raises(InputError, match=message):
        train(net(), *data, recipe=RECIPE, device="cpu", **given_loss)
    with pytest.raises(InputError, match=message):
        fine_tune(net(), *data, recipe=RECIPE, device="cpu", **given_loss)


class Pairs(Dataset[Any]):
    def __init__(self, items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Duck:
    """A Dataset in all but name."""

    __len__, __getitem__ = Pairs.__len__, Pairs.__getitem__

    def __init__(self, items: Any) -> None:
        self.items = items


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(PICTURES, LABELS, strict=True))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Stream(), "Stream has no length.*map-style Dataset"),
        (TensorDataset(PICTURES, LABELS, LABELS), "an item of TensorDataset is 3 parts"),
        (Pairs([{"image": picture} for picture in PICTURES]), "an item of Pairs is a dict"),
        (Pairs(list(PICTURES)), "labels is missing"),
    ],
)
def test_datasets_of_other_things(dataset: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        train(net(), dataset, recipe=RECIPE, device="cpu")


@pytest.mark.parametrize("labels", [LABELS.int(), LABELS.double(), LABELS.numpy().astype(np.uint8)])
def test_a_dataset_may_hold_labels_of_any_type_and_need_not_inherit(labels: Any) -> None:
    expected = train(net(), PICTURES, LABELS, recipe=RECIPE, device="cpu")
    for kind in (Pairs, Duck):
        data = kind(list(zip(PICTURES, labels, strict=True)))
        assert same(expected, train(net(), data, recipe=RECIPE, device="cpu"))


def test_several_labels_an_image_from_a_dataset_as_from_tensors() -> None:
    arguments: dict[str, Any] = {"recipe": RECIPE, "device": "cpu", "loss": binary_cross_entropy}
    expected = train(net(), PICTURES, TWO, **arguments)
    assert same(expected, train(net(), TensorDataset(PICTURES, TWO.long()), **arguments))


@pytest.mark.parametrize("layers", ["last", "all"])
def test_images_of_another_precision_are_brought_to_the_models(layers: Any) -> None:
    images = PICTURES.float() / 256  # exact in half precision
    expected = fine_tune(net(), images, LABELS, recipe=RECIPE, layers=layers, device="cpu")
    for other in (images.double().numpy(), images.half()):
        assert same(expected, fine_tune(net(), other, LABELS, recipe=RECIPE, layers=layers, device="cpu"))
    with pytest.raises(InputError, match=r"images is of type torch.int64: pass uint8 from 0 to 255, or floats"):
        train(net(), PICTURES.long(), LABELS, recipe=RECIPE, device="cpu")


def test_a_model_of_half_precision() -> None:
    with pytest.raises(InputError, match=r"is of torch.float16.*model.float\(\)"):
        train(net().half(), PICTURES, LABELS, recipe=RECIPE, device="cpu")


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.net(x),)


def test_a_model_that_gives_no_tensor() -> None:
    for layers in ("last", "all"):
        with pytest.raises(InputError, match="Wrapped gives a tuple, not a tensor of scores"):
            fine_tune(Wrapped(), PICTURES, LABELS, recipe=RECIPE, layers=layers, device="cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", ["last", "all"])
def test_a_loss_that_is_no_longer_finite_says_after_which_epoch(layers: Any) -> None:
    images = PICTURES.float()
    images[50, 0, 0, 0] = torch.nan
    with pytest.raises(ModelError, match="no longer finite after epoch 1 of 6: look for images that hold NaN"):
        fine_tune(net(), images, LABELS, recipe=RECIPE, layers=layers, device="cpu")


def test_a_name_is_a_recipe() -> None:
    short = {"stop_after": 1, "device": "cpu"}
    named = fine_tune(net(), PICTURES, LABELS, recipe="cifar_last_layer", **short)
    assert same(named, fine_tune(net(), PICTURES, LABELS, recipe=TrainingRecipe.named("cifar_last_layer"), **short))
    with pytest.raises(InputError, match="there is no recipe 'cifar11'"):
        train(net(), PICTURES, LABELS, recipe="cifar11")


def test_a_last_batch_of_one_joins_the_one_before() -> None:
    normalised = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    sizes: list[int] = []

    def count(inputs: Tensor, _: torch.Generator) -> Tensor:
        sizes.append(len(inputs))
        return inputs

    train(normalised, PICTURES[:33], LABELS[:33], recipe=RECIPE, augment=count, device="cpu")
    assert sizes == [16, 17] * 6


@given(st.integers(1, 200), st.integers(1, 50))
def test_batches_hold_every_row_once_and_none_but_the_only_one_is_single(n: int, size: int) -> None:
    groups = _groups(torch.arange(n), size)
    assert torch.cat(groups).tolist() == list(range(n))
    assert all(len(group) == size for group in groups[:-1])
    assert len(groups[-1]) <= size + 1
    assert size == 1 or n == 1 or len(groups[-1]) > 1


def test_a_dataset_that_changes_its_images_is_asked_in_every_epoch() -> None:
    asked: list[int] = []

    class Random(Pairs):
        def __getitem__(self, i: int) -> Any:
            asked.append(i)
            return super().__getitem__(i)

    data = Random(list(zip(PICTURES, LABELS, strict=True)))
    fine_tune(net(), data, recipe=RECIPE, device="cpu")
    every_epoch = len(asked)
    fine_tune(net(), data, recipe=RECIPE, device="cpu", features_once=True)
    assert every_epoch - 1 == 6 * 96  # and one to find the last layer
    assert len(asked) - every_epoch - 1 == 96
