"""Training learns, weighs, breaks off, freezes, and says what it cannot take."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from fdgpu.errors import InputError
from fdgpu.networks import class_scores
from fdgpu.repair import TrainingRecipe, binary_cross_entropy, cross_entropy, flip_and_shift, train, triangular

RECIPE = TrainingRecipe(epochs=6, peak_lr=0.1, peak_epoch=2, batch=16, resolution=8)


def stripes(n: int = 96, seed: int = 0) -> tuple[Tensor, Tensor]:
    """uint8 pictures (n, 3, 8, 8): light on the left (class 0) or on the right."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    pictures = torch.randint(120, (n, 3, 8, 8), dtype=torch.uint8, generator=generator)
    for label, columns in ((0, slice(0, 4)), (1, slice(4, 8))):
        pictures[labels == label, :, :, columns] += 90
    return pictures, labels


def net(classes: int = 2, seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = [nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
        return nn.Sequential(*body, nn.Linear(256, classes))


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def accuracy(model: nn.Module, pictures: Tensor, labels: Tensor) -> float:
    return float((class_scores(model, pictures).argmax(1) == labels).float().mean())


def test_it_learns_and_the_seed_decides() -> None:
    pictures, labels = stripes()
    model = train(net(), pictures, labels, recipe=RECIPE, device="cpu")
    assert not model.training
    assert accuracy(model, *stripes(seed=1)) > 0.95
    assert same(model, train(net(), pictures, labels, recipe=RECIPE, device="cpu"))
    assert not same(model, train(net(), pictures, labels, recipe=RECIPE, device="cpu", seed=1))


def test_a_dataset_trains_as_its_tensors_do() -> None:
    pictures, labels = stripes()
    dataset = TensorDataset(pictures, labels)
    one = train(net(), dataset, recipe=RECIPE, device="cpu", weights=labels + 1)
    assert same(one, train(net(), pictures.numpy(), labels.numpy(), recipe=RECIPE, device="cpu", weights=labels + 1))


def test_one_step_is_sgd_by_hand() -> None:
    """One batch, the weighted mean of the losses, momentum and weight decay, at the triangle's rates."""
    pictures, labels = stripes(16)
    weights = torch.rand(16, generator=torch.Generator().manual_seed(0))
    recipe = TrainingRecipe(epochs=3, peak_lr=0.05, peak_epoch=2, batch=16, resolution=8)
    expected = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    model = copy.deepcopy(expected)
    train(model, pictures, labels, recipe=recipe, weights=weights, device="cpu")
    momentum = [torch.zeros_like(p) for p in expected.parameters()]
    for step in range(3):
        scores = expected(pictures.float() / 255)
        loss = (weights * nn.functional.cross_entropy(scores, labels, reduction="none")).sum() / 16
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for p, m, g in zip(expected.parameters(), momentum, gradients, strict=True):
                m.mul_(0.9).add_(g + 5e-4 * p)
                p.sub_(0.05 * triangular(step + 1, 4, 2) * m)
    for own, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


def test_a_sample_without_weight_is_not_learned_from() -> None:
    pictures, labels = stripes(32)
    recipe = TrainingRecipe(epochs=2, peak_lr=0.05, peak_epoch=1, batch=32, resolution=8)
    weights = torch.ones(32)
    weights[::3] = 0
    swapped = torch.where(weights == 0, 1 - labels, labels)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    one = train(copy.deepcopy(plain), pictures, labels, recipe=recipe, weights=weights, device="cpu")
    other = train(copy.deepcopy(plain), pictures, swapped, recipe=recipe, weights=weights, device="cpu")
    assert same(one, other)


def test_it_is_broken_off_in_the_middle_of_the_schedule() -> None:
    pictures, labels = stripes()
    kept: dict[int, nn.Module] = {}
    train(
        net(), pictures, labels, recipe=RECIPE, device="cpu",
        after_epoch=lambda epoch, model: kept.update({epoch: copy.deepcopy(model)}),
    )  # fmt: skip
    assert sorted(kept) == [1, 2, 3, 4, 5, 6]
    early = train(net(), pictures, labels, recipe=RECIPE, device="cpu", stop_after=2)
    assert same(early, kept[2])


def test_only_a_part_is_trained_and_the_rest_stays_statistics_included() -> None:
    pictures, labels = stripes()
    model = net()
    before = copy.deepcopy(model)
    train(model, pictures, labels, recipe=RECIPE, device="cpu", only=model[-1])
    assert same(model[:-1], before[:-1])
    assert not same(model[-1], before[-1])
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_several_labels_an_image_and_mixed_precision() -> None:
    pictures, labels = stripes()
    targets = torch.stack([labels == 0, labels == 1, torch.ones_like(labels)], 1)
    model = train(net(3), pictures, targets, recipe=RECIPE, loss=binary_cross_entropy, device="cpu", amp=True)
    predicted = class_scores(model, pictures) > 0
    assert (predicted == targets.bool()).float().mean() > 0.95
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_progress_and_augmentation() -> None:
    pictures, labels = stripes(20)
    reported: list[Any] = []
    seen: list[Tensor] = []

    def shift(inputs: Tensor, generator: torch.Generator) -> Tensor:
        seen.append(inputs)
        return flip_and_shift(inputs, generator, pixels=1)

    train(net(), pictures, labels, recipe=RECIPE, device="cpu", augment=shift, progress=lambda *a: reported.append(a))
    assert reported == [("train", epoch + 1, 6) for epoch in range(6)]
    assert [len(batch) for batch in seen] == [16, 4] * 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": torch.zeros(96)}, "sum to zero"),
        ({"weights": torch.full((96,), -1.0)}, "negative"),
        ({"weights": torch.full((96,), torch.nan)}, "NaN"),
        ({"weights": torch.ones(95)}, r"weights has shape \(95,\), there are 96"),
        ({"stop_after": 7}, "from 1 to 6, the recipe's epochs"),
        ({"stop_after": 1.5}, "stop_after is 1.5"),
        ({"labels": torch.zeros(95, dtype=torch.long)}, "labels has 95 entries, images has 96"),
        ({"labels": None}, "labels is missing"),
        ({"labels": torch.zeros(96, 2, 2)}, "labels has shape"),
    ],
)
def test_what_cannot_be_trained_on(changed: dict[str, Any], message: str) -> None:
    pictures, labels = stripes()
    arguments = {"labels": labels, "recipe": RECIPE, "device": "cpu", **changed}
    with pytest.raises(InputError, match=message):
        train(net(), pictures, **arguments)


def test_no_image_no_parameter_and_labels_twice() -> None:
    pictures, labels = stripes()
    with pytest.raises(InputError, match="images is empty"):
        train(net(), pictures[:0], labels[:0], recipe=RECIPE, device="cpu")
    with pytest.raises(InputError, match="has no parameter"):
        train(net(), pictures, labels, recipe=RECIPE, device="cpu", only=nn.ReLU())
    with pytest.raises(InputError, match="labels were given beside a Dataset"):
        train(net(), TensorDataset(pictures, labels), labels, recipe=RECIPE, device="cpu")


def test_the_default_loss_is_cross_entropy() -> None:
    pictures, labels = stripes()
    one = train(net(), pictures, labels, recipe=RECIPE, device="cpu", loss=cross_entropy)
    assert same(one, train(net(), pictures, labels, recipe=RECIPE, device="cpu"))


def test_losses_are_one_number_a_sample() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = 3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(4, (9,), generator=generator)
    many = F.one_hot(targets, 4).double()
    torch.testing.assert_close(cross_entropy(scores, targets).mean(), F.cross_entropy(scores, targets))
    own = binary_cross_entropy(scores, many)
    assert own.shape == (9,)
    torch.testing.assert_close(own.mean(), F.binary_cross_entropy_with_logits(scores, many))
