"""A training set with further images is a plain Dataset; random changes move whole images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fdgpu.errors import InputError
from fdgpu.repair import augmented, flip_and_shift
from fdgpu.repair.augmentation import randomly_changed

BASE = TensorDataset(torch.arange(5 * 12, dtype=torch.float32).reshape(5, 3, 2, 2), torch.arange(5))


def test_further_images_follow_and_go_through_the_transform() -> None:
    images = np.full((2, 3, 2, 2), 4, np.uint8)
    whole = augmented(BASE, images, np.array([7, 8]), transform=lambda image: image.float() / 2)
    assert (len(whole), whole.n_base, whole.n_added) == (7, 5, 2)
    assert torch.equal(whole[3][0], BASE[3][0])
    assert [whole[i][1] for i in range(7)] == [0, 1, 2, 3, 4, 7, 8]
    assert torch.equal(whole[-1][0], torch.full((3, 2, 2), 2.0))
    pictures, labels = next(iter(DataLoader(whole, batch_size=7)))
    assert pictures.shape == (7, 3, 2, 2)
    assert labels.tolist() == [0, 1, 2, 3, 4, 7, 8]
    for outside in (7, -8):
        with pytest.raises(IndexError):
            whole[outside]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), [0, 1], r"shape \(3, 2, 2\), the added ones \(3, 4, 4\): pass a transform"),
        (torch.zeros(2, 3, 2, 2, dtype=torch.uint8), [0, 1], r"dtype torch.float32, the added ones torch.uint8"),
        (torch.zeros(2, 3, 2, 2), [0], "labels has 1 entries, images has 2: pass one label"),
        (torch.zeros(2, 3, 2, 2), [0.5, 1.0], "not whole: pass class ids"),
        (torch.zeros(3, 2, 2), [0, 1, 2], r"\(m, 3, h, w\)"),
        (
            torch.zeros(2, 3, 2, 2),
            [[1, 0], [0, 1]],
            r"labels have shape \(\), the added ones \(2,\): pass \(m,\) class",
        ),
        (torch.zeros(2, 3, 2, 2), [[1, 0], [0, 2]], r"labels \(m, k\) holds something else than 0 and 1"),
        (torch.zeros(2, 3, 2, 2), [["a"], ["b"]], "labels is of type <U1"),
        (torch.zeros(2, 3, 2, 2), [[[0]], [[1]]], r"labels has shape \(2, 1, 1\)"),
    ],
)
def test_what_cannot_be_added(images: torch.Tensor, labels: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        augmented(BASE, images, np.array(labels))


ADDED = torch.full((2, 3, 2, 2), 4.0)


@pytest.mark.parametrize("kind", [torch.int64, torch.uint8, torch.float32])
def test_several_labels_an_image_are_floats_on_both_sides(kind: torch.dtype) -> None:
    own = torch.tensor([[1, 0], [0, 0], [1, 1], [0, 1], [0, 0]], dtype=kind)
    whole = augmented(TensorDataset(BASE.tensors[0], own), ADDED, np.array([[1, 1], [0, 1]]))
    _, labels = next(iter(DataLoader(whole, batch_size=7)))
    assert labels.dtype == torch.float32
    assert torch.equal(labels, torch.cat([own.float(), torch.tensor([[1.0, 1.0], [0.0, 1.0]])]))
    with pytest.raises(InputError, match=r"labels have shape \(2,\), the added ones \(\): .* \(m, k\) of 0 and 1"):
        augmented(TensorDataset(BASE.tensors[0], own), ADDED, [0, 1])


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        yield ADDED[0], 0


class Unmeasured(Dataset[Any]):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return ADDED[0], 0


class Items(Dataset[Any]):
    """Gives one thing again and again."""

    def __init__(self, item: Any) -> None:
        self.item = item

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        return self.item


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Endless(), "Endless has no length: pass a map-style Dataset"),
        (Unmeasured(), "Unmeasured has no length"),
        (Items((ADDED[0], 0, 7)), "an item of Items is 3 parts: it has to be a pair"),
        (Items(ADDED[0]), "an item of Items is a Tensor: it has to be a pair"),
        (Items({"image": ADDED[0], "label": 0}), "an item of Items is a dict"),
        (Items((ADDED[0], 0.7)), r"the Dataset's label is 0.7: it has to be a whole class id"),
        (Items((ADDED[0], torch.tensor(torch.nan))), r"the Dataset's label is tensor\(nan\)"),
        (Items((ADDED[0], "cat")), r"the Dataset's label is of type <U3"),
        (Items((ADDED[0], torch.zeros(1, 2))), r"it has to be a whole class id, or \(k,\)"),
    ],
)
def test_a_dataset_that_nothing_can_be_added_to(dataset: Dataset[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        augmented(dataset, ADDED, [0, 1])


@pytest.mark.parametrize("label", [3, 3.0, np.int32(3), np.array(3), torch.tensor(3), torch.tensor(3.0)])
def test_a_class_id_of_every_kind_is_a_whole_number(label: Any) -> None:
    own = augmented(Items((ADDED[0], label)), ADDED, [0, 1])[0][1]
    assert (own, type(own)) == (3, int)


def test_what_is_wrong_with_a_later_item_is_said_when_it_is_asked_for() -> None:
    whole = augmented(TensorDataset(BASE.tensors[0], torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0])), ADDED, [0, 1])
    assert whole[1][1] == 1
    with pytest.raises(InputError, match="whole class id"):
        whole[2]


def test_added_images_come_to_the_cpu() -> None:
    """With a stand-in for a picture on a device; ``-m gpu`` runs a real one."""

    class Away(Tensor):
        def cpu(self, *_: Any) -> Tensor:
            return self.as_subclass(Tensor)

    whole = augmented(BASE, ADDED.as_subclass(Away), [0, 1])
    assert type(whole[5][0]) is Tensor


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pictures_of_a_decoder_on_a_device_go_into_one_batch_with_the_datasets() -> None:
    whole = augmented(BASE, ADDED.cuda(), torch.tensor([0, 1], device="cuda"))
    pictures, labels = next(iter(DataLoader(whole, batch_size=7, num_workers=1)))
    assert torch.equal(pictures, torch.cat([BASE.tensors[0], ADDED]))
    assert labels.tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_flip_and_shift_moves_whole_images() -> None:
    inputs = torch.rand(64, 2, 6, 5) + 1
    generator = torch.Generator().manual_seed(0)
    changed = flip_and_shift(inputs, generator, pixels=2)
    padded = nn.functional.pad(inputs, (2, 2, 2, 2))
    kinds = set()
    for image, own in zip(changed, padded, strict=True):
        matches = [
            (flip, dy, dx)
            for flip in (False, True)
            for dy in range(5)
            for dx in range(5)
            if torch.equal(image, (own.flip(-1) if flip else own)[:, dy : dy + 6, dx : dx + 5])
        ]
        assert len(matches) == 1
        kinds.add(matches[0])
    assert {flip for flip, _, _ in kinds} == {False, True}
    assert {dy for _, dy, _ in kinds} == {dx for _, _, dx in kinds} == set(range(5))


def test_what_comes_in_and_a_square_of_each_image_have_the_colour_that_fills() -> None:
    """Shifts up to 2 and squares of 4, wholly inside and anywhere; the rest is the image, mirrored or not."""
    inputs = torch.rand(200, 3, 10, 12) / 2
    fill = (0.9, 0.8, 0.7)
    batch = randomly_changed(inputs, torch.Generator().manual_seed(1), shift=2, cutout=4, fill=fill)
    colour = torch.tensor(fill)[:, None, None]
    corners = set()
    for image, own in zip(batch, inputs, strict=True):
        padded = colour.repeat(1, 14, 16)
        fitting = []
        for flip in (False, True):
            padded[:, 2:12, 2:14] = own.flip(-1) if flip else own
            for dy, dx in np.ndindex(5, 5):
                differs = (image != padded[:, dy : dy + 10, dx : dx + 12]).any(dim=0)
                rows, columns = differs.any(dim=1).nonzero()[:, 0], differs.any(dim=0).nonzero()[:, 0]
                # a square over a strip that came in covers what has its colour already
                if len(rows) and int(rows[-1] - rows[0]) < 4 and int(columns[-1] - columns[0]) < 4:
                    fitting.append((int(rows[0]), int(columns[0])))
                    assert torch.equal(image[:, differs], colour[:, 0].expand(3, int(differs.sum())))
        assert len(fitting) == 1
        corners.add(fitting[0])
    assert {row for row, _ in corners} == set(range(7))
    assert {column for _, column in corners} == set(range(9))


def test_nothing_is_asked_for_and_nothing_changes() -> None:
    inputs = torch.rand(4, 3, 5, 5)
    assert torch.equal(randomly_changed(inputs, torch.Generator(), flip=False), inputs)
