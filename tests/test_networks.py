"""A user's model: scores, the last linear layer, and what goes into it; the model comes back as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from fdgpu.errors import InputError
from fdgpu.networks import as_input, class_scores, evaluating, in_order, last_linear, open_batches, penultimate


class Branching(nn.Module):
    """A linear layer that is declared last and used first, a head, and one that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 4)
        self.unused = nn.Linear(6, 4)
        self.dropout = nn.Dropout(0.5)
        self.body = nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.body(x.flatten(1)).relu())).view(-1, 4)


@pytest.fixture
def model() -> Iterator[Branching]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield Branching()


IMAGES = torch.randint(256, (9, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_scores_do_not_depend_on_the_batch_and_the_mode_is_restored(model: Branching) -> None:
    model.train()
    model.body.eval()
    scores = class_scores(model, IMAGES, batch=4)
    torch.testing.assert_close(scores, class_scores(model, IMAGES.float() / 255))
    torch.testing.assert_close(scores, class_scores(model, TensorDataset(IMAGES, torch.arange(9))))
    assert (model.training, model.dropout.training, model.body.training) == (True, True, False)
    with evaluating(model):
        assert not model.dropout.training


def test_the_last_linear_layer_is_the_one_that_makes_the_output(model: Branching) -> None:
    assert last_linear(model, as_input(IMAGES[:1])) is model.head
    features = penultimate(model, IMAGES, batch=4)
    expected = model.body(IMAGES.float().flatten(1) / 255).relu()
    torch.testing.assert_close(features, expected.detach())
    torch.testing.assert_close(model.head(features), class_scores(model, IMAGES))
    assert not model.head._forward_pre_hooks
    assert not model.head._forward_hooks


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.BatchNorm1d(4)),
        nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU()),
        nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(inplace=True)),
    ],
)
def test_a_model_without_a_last_linear_layer(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, nn.Linear):  # positive scores, which a ReLU leaves as they are
            nn.init.constant_(layer.bias, 5.0)
    with pytest.raises(InputError, match="does not come straight from a linear layer"):
        penultimate(network, IMAGES)


def test_scores_come_in_the_models_precision_and_from_images_without_labels(model: Branching) -> None:
    expected = class_scores(model, IMAGES)
    assert torch.equal(class_scores(model, IMAGES.double() / 255), expected)
    torch.testing.assert_close(class_scores(model.double(), IMAGES), expected)
    half = class_scores(model.half(), IMAGES)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, rtol=1e-2, atol=1e-2)
    assert penultimate(model, IMAGES).dtype == torch.float32
    for labels in ([], [[-1] * 9], [["?"] * 9]):  # nobody asks for them
        pairs = list(zip(IMAGES, *labels, strict=True)) if labels else list(IMAGES)
        assert torch.equal(class_scores(model, Listed(pairs)), half)


class Listed:
    def __init__(self, items: list[object]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> object:
        return self.items[i]


def test_an_output_that_is_no_tensor() -> None:
    class Output(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": x.flatten(1)}

    for ask in (class_scores, penultimate):
        with pytest.raises(InputError, match=r"Output gives a dict, not a tensor of scores.*model\(x\).logits"):
            ask(Output(), IMAGES)


def test_scores_that_are_none() -> None:
    with pytest.raises(InputError, match="has to give"):
        class_scores(nn.Conv2d(3, 2, 1), IMAGES)
    with pytest.raises(InputError, match="images is empty"):
        class_scores(nn.Flatten(), IMAGES[:0])


def test_memory_that_runs_out_halves_the_batch() -> None:
    sizes = []

    class Small(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            if len(x) > 3:
                raise torch.OutOfMemoryError
            return x.flatten(1)

    assert torch.equal(class_scores(Small(), IMAGES), as_input(IMAGES).flatten(1))
    assert max(sizes[1:]) <= 4


def test_batches_in_any_order_from_a_tensor_or_a_dataset() -> None:
    labels = torch.arange(9)
    groups = [torch.tensor([3, 1]), torch.tensor([8])]
    tensors = open_batches(IMAGES, labels, torch.device("cpu"))
    dataset = open_batches(TensorDataset(IMAGES, labels), None, torch.device("cpu"))
    assert len(tensors) == len(dataset) == 9
    for (one, own), (other, theirs), rows in zip(tensors.over(groups), dataset.over(groups), groups, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, IMAGES[rows].float() / 255)
        assert own.tolist() == theirs.tolist() == rows.tolist()
        assert one.is_contiguous(memory_format=torch.channels_last)
    assert [len(rows) for rows in in_order(9, 4)] == [4, 4, 1]


class Uneven(Listed):
    """Images of two shapes."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(3, 2, 2 + index % 2), 0


class Pictures(Listed):
    """Images that are no tensors."""

    def __getitem__(self, index: int) -> tuple[object, int]:
        return object(), index


def test_images_that_make_no_batch(model: Branching) -> None:
    with pytest.raises(InputError, match=r"different shapes, \(3, 2, 2\) and \(3, 2, 3\): resize them all to one size"):
        class_scores(model, Uneven([0, 1]))
    with pytest.raises(InputError, match="an item of the Dataset holds an object for an image: give pairs"):
        class_scores(model, Pictures([0, 1]))
    with pytest.raises(InputError, match="labels that cannot be stacked"):
        class_scores(model, Ragged([0, 1]))


class Ragged(Listed):
    """Labels of several shapes."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros(3, 2, 2), torch.zeros(1 + index)


def test_outputs_that_change_from_batch_to_batch() -> None:
    class Squeezing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, : len(x)]

    with pytest.raises(InputError, match=r"Squeezing gives another shape from batch to batch, \(4, 4\) and \(1, 1\)"):
        class_scores(Squeezing(), IMAGES, batch=4)

    class Whole(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.float().mean()

    with pytest.raises(InputError, match="it has to give one row an image"):
        class_scores(Whole(), IMAGES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"batch": 0}, "batch is 0"), ({"batch": "4"}, "batch is '4'"), ({"workers": -1}, "workers is -1")],
)
def test_settings_that_cannot_be(settings: dict[str, int], message: str, model: Branching) -> None:
    with pytest.raises(InputError, match=message):
        class_scores(model, TensorDataset(IMAGES, torch.arange(9)), **settings)
