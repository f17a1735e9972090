from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler, TensorDataset
from torchvision import transforms
from torchvision.datasets import CIFAR10, FakeData, ImageFolder

from fdgpu.embedding.loading import ImageBatch, View
from fdgpu.embedding.opening import image_source
from fdgpu.embedding.sources import ImageSource
from fdgpu.errors import InputError

NORMALISE = transforms.Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.25])
TRANSFORM = transforms.Compose([transforms.Resize(12), transforms.CenterCrop(8), transforms.ToTensor(), NORMALISE])


def corner(pixels: Tensor) -> Tensor:
    return pixels[:, :8, :8]


def seen(source: ImageSource, size: int = 3) -> list[ImageBatch]:
    """Batches of a corner of the image, and of what the classifier takes."""
    views: list[View] = []
    if source.transform is not None:
        views = [View(source.transform, takes_image=True)]
    elif source.transformed:
        views = [View(None)]
    return list(source.batches(size, corner, *views))


def both(source: ImageSource) -> tuple[Tensor, Tensor]:
    batches = seen(source)
    return torch.cat([batch.views[0] for batch in batches]), torch.cat([batch.views[1] for batch in batches])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("animals")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


def originals(folder: Path) -> list[Image.Image]:
    return [image for image, _ in ImageFolder(folder)]


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, batch_size=3, shuffle=True)])
def test_an_image_folder_gives_the_original_and_what_its_transform_makes_of_it(folder: Path, wrap: Callable) -> None:
    plain = image_source(wrap(ImageFolder(folder)))
    source = image_source(wrap(ImageFolder(folder, TRANSFORM)))
    for one in (plain, source):
        assert one.ids == [f"{name}/{i}.png" for name in ("cat", "dog") for i in range(4)]
        assert (one.labels, one.class_names, one.doubts) == ([0] * 4 + [1] * 4, ("cat", "dog"), ())
    assert plain.transform is None
    images, inputs = both(source)
    expected = torch.stack([corner(torch.from_numpy(np.array(image)).movedim(-1, 0)) for image in originals(folder)])
    assert torch.equal(images, expected)
    assert torch.equal(torch.cat([batch.pixels for batch in seen(plain)]), expected)
    assert torch.equal(inputs, torch.stack([item for item, _ in ImageFolder(folder, TRANSFORM)]))


def test_a_part_of_a_data_set_keeps_its_ids(folder: Path) -> None:
    part = Subset(Subset(ImageFolder(folder, TRANSFORM), [7, 5, 0]), [2, 0])
    source = image_source(part)
    assert source.ids == ["cat/0.png", "dog/3.png"]
    assert source.labels == [0, 1]
    sampled = image_source(DataLoader(ImageFolder(folder), 2, sampler=SubsetRandomSampler([6, 1, 6])))
    assert sampled.ids == ["cat/1.png", "dog/2.png"]
    assert torch.equal(both(source)[1], torch.stack([part[0][0], part[1][0]]))


def test_torchvisions_own_data_sets(tmp_path: Path) -> None:
    """CIFAR-10 in its own files, with labels known beforehand; FakeData, whose labels come with the images."""
    cifar = CIFAR10.__new__(CIFAR10)
    cifar.data = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    cifar.targets, cifar.classes, cifar.root = [3, 1, 2, 0, 3], ["plane", "car", "bird", "cat"], str(tmp_path)
    cifar.transform, cifar.target_transform = TRANSFORM, None
    source = image_source(cifar)
    assert (source.labels, source.class_names) == ([3, 1, 2, 0, 3], ("plane", "car", "bird", "cat"))
    images, inputs = both(source)
    assert torch.equal(images, torch.from_numpy(cifar.data[:, :8, :8]).movedim(-1, 1))
    assert torch.equal(inputs, torch.stack([cifar[i][0] for i in range(5)]))
    fake = FakeData(5, (3, 20, 20), transform=TRANSFORM)
    assert image_source(fake).labels is None
    assert [label for batch in seen(image_source(fake)) for label in batch.labels] == [fake[i][1] for i in range(5)]


def test_a_targets_transform_is_applied(folder: Path) -> None:
    named = ImageFolder(folder, TRANSFORM, target_transform=lambda k: ("kitten", "puppy")[k])
    source = image_source(named)
    assert source.labels is None  # the listed targets are not what the items give
    assert [label for batch in seen(source) for label in batch.labels] == ["kitten"] * 4 + ["puppy"] * 4


class Plain(Dataset):
    """Items that a list holds."""

    def __init__(self, items: list, transform: object = None) -> None:
        self.items, self.transform = items, transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> object:
        item = self.items[row]
        if isinstance(item, Exception):
            raise item
        return item


def grey(value: float, side: int = 9) -> Tensor:
    return torch.full((3, side, side), value)


def test_images_that_come_transformed_are_taken_back_as_far_as_that_is_known() -> None:
    pixels = torch.rand(6, 3, 10, 10)
    source = image_source(Plain([(NORMALISE(one), i) for i, one in enumerate(pixels)], TRANSFORM))
    assert "Plain gives its images with its transform only" in source.doubts[0]
    assert "3 x 10 x 10" in source.doubts[0]
    images, inputs = both(source)
    torch.testing.assert_close(images, pixels[:, :, :8, :8], atol=1e-6, rtol=0)
    assert torch.equal(inputs, NORMALISE(pixels))
    (batch,) = image_source(DataLoader(TensorDataset(pixels, torch.arange(6)), 4)).batches(9, corner, View(None))
    assert torch.equal(batch.views[1], pixels)
    assert [int(label) for label in batch.labels] == list(range(6))  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"values outside \[0, 1\].*pass the Dataset without the transform"):
        image_source(Plain([(grey(3.0), 0)]))


@pytest.mark.parametrize("drawn", [transforms.RandomCrop(8), transforms.RandomHorizontalFlip()])
def test_a_random_transform_is_doubted(folder: Path, drawn: nn.Module) -> None:
    torch.manual_seed(0)
    random = transforms.Compose([drawn, transforms.ToTensor()])
    source = image_source(ImageFolder(folder, random))
    assert source.transform is random
    assert "another image each time" in source.doubts[0]


class Stream(IterableDataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __iter__(self) -> Iterator[object]:
        return iter(self.items)


@pytest.mark.parametrize("wrap", [Stream, lambda items: DataLoader(Stream(items), batch_size=2)])
def test_an_iterable_data_set_is_read_in_order_and_again(wrap: Callable) -> None:
    items = [(grey(i / 8), i) for i in range(5)]
    source = image_source(wrap(items))
    assert source.count is None
    (batch,) = source.batches(9, corner, View(None))
    assert batch.ids == ["0", "1", "2", "3", "4"]
    assert [int(label) for label in batch.labels] == [0, 1, 2, 3, 4]
    assert torch.equal(batch.views[1], torch.stack([image for image, _ in items]))
    shown = source.pictures([3, 1], 4)
    assert [round(picture.mean() / 32) for picture in shown if picture is not None] == [3, 1]


def test_a_loader_that_makes_batches_in_its_own_way() -> None:
    def collate(items: list) -> dict:
        return {
            "pixel_values": torch.stack([image for image, _ in items]),
            "labels": [str(label) for _, label in items],
        }

    loader = DataLoader(Plain([(grey(i / 8), i) for i in range(5)]), batch_size=2, collate_fn=collate)
    (batch,) = image_source(loader).batches(9, corner, View(None))
    assert batch.labels == ["0", "1", "2", "3", "4"]
    shuffled = DataLoader(Plain([(grey(i / 8), i) for i in range(5)]), batch_size=2, collate_fn=collate, shuffle=True)
    assert image_source(shuffled).pictures([0], 4) == [None]


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, where another test has loaded it
@pytest.mark.parametrize("workers", [0, 2])
def test_an_item_that_cannot_be_had_is_skipped_with_its_reason(workers: int) -> None:
    items = [
        OSError("disk is gone"),
        (np.zeros((9, 9, 3), np.uint8), 1),
        KeyError("row 2"),
        (np.ones((9, 9), np.uint8), 0),
    ]
    source = image_source(DataLoader(Plain(items), batch_size=2, num_workers=workers))
    (batch,) = source.batches(9, corner)
    assert batch.unreadable == {"0": "cannot be loaded (disk is gone)", "2": "cannot be loaded ('row 2')"}
    assert (batch.read, batch.labels) == ([1, 3], [None, 1, None, 0])


class Longer(Plain):
    """One that changes while it is read."""

    def __getitem__(self, row: int) -> object:
        if row == 3:
            self.items = [*self.items, self.items[0]]
        return super().__getitem__(row)


class Shorter(Plain):
    def __len__(self) -> int:
        return len(self.items) + 2


IMAGE = np.zeros((9, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Plain([]), "Plain has no items"),
        (DataLoader(Stream([])), "DataLoader has no items"),
        (Plain([OSError("gone")] * 3), r"Plain has no item that can be had \(gone\): try dataset\[0\]"),
        (Plain([(IMAGE, 0, "path", 3), ("a", "b")]), None),
        (Plain([("a", "b")]), r"an item of Plain is a tuple of 2 \(str, str\): it has to be an image, or a pair"),
        (Plain([{"picture": IMAGE, "class": 0}]), "has the keys 'picture', 'class': call its image 'image'"),
    ],
)
def test_a_data_set_without_images_is_refused(dataset: Dataset, message: str | None) -> None:
    if message is None:
        assert image_source(dataset).ids == ["0", "1"]
        return
    with pytest.raises(InputError, match=message):
        image_source(dataset)


def test_a_data_set_that_changes_is_refused_at_the_end() -> None:
    with pytest.raises(InputError, match="Longer had 5 items and has 6 now"):
        list(image_source(Longer([(IMAGE, 0)] * 5)).batches(9, corner))
    with pytest.raises(InputError, match="Shorter has no item 5, and says that it has 7: correct its __len__"):
        list(image_source(Shorter([(IMAGE, 0)] * 5)).batches(9, corner))


def test_a_transform_that_gives_no_image(folder: Path) -> None:
    source = image_source(ImageFolder(folder))
    for function, said in (
        (lambda _: {"pixels": 1}, "gives a dict for the image cat/0.png"),
        (lambda _: torch.ones(3), r"shape \(3,\)"),
    ):
        with pytest.raises(InputError, match=said):
            list(source.batches(3, View(function, takes_image=True)))
    odd = iter(range(8))
    with pytest.raises(InputError, match=r"images of different shapes, \(3, 4, \d\) and \(3, 4, \d\): let it resize"):
        list(source.batches(8, View(lambda _: torch.ones(3, 4, 4 + next(odd) % 2), takes_image=True)))
