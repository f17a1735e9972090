"""A model beside the embedder: from a data set and a classifier to a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

import fdgpu
from fdgpu import ClipEmbedder
from fdgpu.auditing import AuditResult
from fdgpu.auditing.columns.inputs import check_inputs
from fdgpu.auditing.columns.pairing import check_agreement
from fdgpu.embedding.classifier import Classifier
from fdgpu.embedding.sources import IterableSource
from fdgpu.errors import FdgpuWarning, InputError, ModelError
from tests.auditing.conftest import CLASSES

TRANSFORM = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)])


class Lookup(nn.Module):
    """A model that knows the pictures' answers by what it sees of them: normalised floats, and no others."""

    def __init__(self, pictures: Tensor, answers: list[str]) -> None:
        super().__init__()
        self.register_buffer("sums", (pictures.float() / 127.5 - 1).flatten(1).sum(1))
        self.register_buffer("scores", torch.zeros(len(answers), len(CLASSES)))
        for row, answer in enumerate(answers):
            self.scores[row, CLASSES.index(answer)] = 1 + row % 7

    def forward(self, images: Tensor) -> Tensor:
        distance = (images.flatten(1).sum(1)[:, None] - self.sums[None]).abs()
        assert float(distance.min(dim=1).values.max()) < 1, "the pictures are not what the model was trained on"
        return self.scores[distance.argmin(dim=1)]


@pytest.fixture(scope="module")
def lookup(world: dict) -> Lookup:
    return Lookup(world["pictures"], world["predictions"])


@pytest.fixture(scope="module")
def folder(world: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a folder for each class, in folders of splits."""
    root = tmp_path_factory.mktemp("photos")
    for row, picture in enumerate(world["pictures"]):
        path = root / world["splits"][row] / world["labels"][row] / f"{row:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.movedim(0, -1).numpy()).save(path)
    return root


class Pictures(Dataset):
    """A Dataset of one's own, of arrays, with torchvision's habit of a transform."""

    def __init__(self, world: dict, transform: Callable | None = None) -> None:
        self.world, self.transform = world, transform

    def __len__(self) -> int:
        return len(self.world["pictures"])

    def __getitem__(self, row: int) -> tuple[object, str]:
        image = Image.fromarray(self.world["pictures"][row].movedim(0, -1).numpy())
        return self.transform(image) if self.transform else image, self.world["labels"][row]


class Hidden(Pictures):
    """One that keeps its transform to itself."""

    def __init__(self, world: dict, transform: Callable) -> None:
        super().__init__(world)
        self._own = transform

    def __getitem__(self, row: int) -> tuple[object, str]:
        image, label = super().__getitem__(row)
        return self._own(image), label


def same_report(one: AuditResult, other: AuditResult) -> None:
    """The classes' findings are the same, whatever the images are called; by the SVM, which knows no probability."""
    for a, b in zip(one.findings.classes, other.findings.classes, strict=True):
        assert (a.name, a.status, a.n, a.n_errors) == (b.name, b.status, b.n, b.n_errors)
        np.testing.assert_allclose(a.cv_score, b.cv_score)
        assert [c.caption for c in a.strongest.hard_captions] == [c.caption for c in b.strongest.hard_captions]


@pytest.fixture(scope="module")
def by_hand(world: dict, clip: ClipEmbedder) -> AuditResult:
    return fdgpu.audit(
        world["pictures"], world["labels"], world["predictions"], class_names=CLASSES, splits=world["splits"],
        embedder=clip,
    )  # fmt: skip


@pytest.fixture(scope="module")
def all_val(world: dict, clip: ClipEmbedder) -> AuditResult:
    return fdgpu.audit(
        world["pictures"], world["labels"], world["predictions"], class_names=CLASSES, embedder=clip
    )  # fmt: skip


def test_a_folder_of_class_folders_in_folders_of_splits(
    folder: Path, lookup: Lookup, clip: ClipEmbedder, by_hand: AuditResult
) -> None:
    result = fdgpu.audit(folder, model=lookup, preprocess=TRANSFORM, class_names=CLASSES, embedder=clip, method="svm")
    same_report(result, by_hand)
    assert result.findings.classes[0].hard_examples[0].path.split("/")[:2] == ["test", "boot"]


def test_an_image_folder_with_its_transform(folder: Path, lookup: Lookup, clip: ClipEmbedder) -> None:
    """The classifier sees the transformed image, CLIP the original; ids are paths, subsets keep them."""
    model = Classifier.from_model(lookup, TRANSFORM, CLASSES)
    parts = {name: ImageFolder(folder / name, TRANSFORM) for name in ("val", "test")}
    plain = fdgpu.audit({name: ImageFolder(folder / name) for name in parts}, model=model, embedder=clip)
    assert plain.findings.classes[0].hard_examples[0].path.startswith("test/boot/")
    with_transform = fdgpu.audit(parts, model=model, embedder=clip)
    same_report(plain, with_transform)


@pytest.mark.parametrize("make", [
    lambda world: Pictures(world, TRANSFORM),
    lambda world: DataLoader(Pictures(world, TRANSFORM), batch_size=7, shuffle=True),
    lambda world: Subset(Pictures(world, TRANSFORM), range(len(world["pictures"]))),
])  # fmt: skip
def test_a_dataset_with_a_transform(
    make: Callable, world: dict, lookup: Lookup, clip: ClipEmbedder, all_val: AuditResult
) -> None:
    result = fdgpu.audit(make(world), model=lookup, class_names=CLASSES, embedder=clip, method="svm")
    same_report(result, all_val)


@pytest.mark.parametrize("loads", [False, True])
def test_what_gives_transformed_images_only_says_what_clip_sees(
    loads: bool, world: dict, lookup: Lookup, clip: ClipEmbedder, all_val: AuditResult
) -> None:
    halved = transforms.Compose([transforms.ToTensor()])
    images: object = Hidden(world, halved)

    class Scaled(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            return lookup(pixels * 2 - 1)

    if loads:
        images = DataLoader(images, batch_size=7, collate_fn=lambda items: tuple(zip(*items, strict=True)))
    with pytest.warns(FdgpuWarning, match="gives its images with its transform only"):
        result = fdgpu.audit(images, model=Scaled(), class_names=CLASSES, embedder=clip, method="svm")
    same_report(result, all_val)
    assert any("with its transform only" in note for note in result.findings.notes)


def test_probabilities_beside_a_model_are_refused(folder: Path, lookup: Lookup) -> None:
    for name in ("confidence", "true_probability"):
        with pytest.raises(InputError, match=f"{name} is given, and a model too, which says it: leave it out"):
            fdgpu.audit(folder, model=lookup, preprocess=TRANSFORM, **{name: [0.5] * 10})


@pytest.mark.parametrize(
    ("names", "labels", "message"),
    [
        (("cat", "dog"), ["cat", "dog", "cat"], None),
        (("cat", "dog"), [0, 1, 0], None),
        (None, ["kitten", "puppy", "kitten"], None),  # other names for the same
        (
            ("cat", "dog"),
            ["dog", "cat", "dog"],
            r"labels says 'dog' of the image 0, and its source says 'cat' \(3 of 3 differ",
        ),
        (
            None,
            ["kitten", "kitten", "puppy"],
            r"labels says 'kitten' of the image 1, and its source says '1' \(2 of 3 differ",
        ),
        (
            ("cat", "dog"),
            ["kitten", "kitten", "kitten"],
            r"says 'kitten' of the image 1, and its source says 'dog' \(1 of 3",
        ),
    ],
)
def test_labels_that_contradict_the_images_own(names: tuple | None, labels: list, message: str | None) -> None:
    source = IterableSource([])
    source.class_names = names
    inputs = check_inputs(labels, labels, names if isinstance(labels[0], int) else None)
    if message is None:
        check_agreement(inputs, source, [0, 1, torch.tensor(0)], ["0", "1", "2"])
        return
    with pytest.raises(InputError, match=message):
        check_agreement(inputs, source, [0, 1, torch.tensor(0)], ["0", "1", "2"])


def test_what_a_model_raises_is_said_with_what_it_was_given(folder: Path, clip: ClipEmbedder) -> None:
    small = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 3))
    with pytest.raises(
        ModelError, match=r"Sequential raises RuntimeError \(mat1 and mat2.*images \(\d+, 3, 8, 8\) of .*Resize"
    ):
        fdgpu.audit(ImageFolder(folder / "val", small), model=model, embedder=clip)


def test_ids_that_occur_twice_are_refused(clip: ClipEmbedder) -> None:
    class Twice(fdgpu.ImageSource):
        def samples(self) -> Iterator[fdgpu.Sample]:
            for row in range(6):
                yield fdgpu.Sample(f"scan {row % 5}", np.full((8, 8, 3), 40 * row, np.uint8), row % 2)

    with pytest.raises(InputError, match="gave 2 images the id 'scan 0': give every image an id of its own"):
        fdgpu.audit(Twice(), predictions=[0] * 6, embedder=clip)


def test_each_split_keeps_its_own_transform(folder: Path, clip: ClipEmbedder) -> None:
    """That of training augments; the model's answers to val are of val's."""
    black = transforms.Compose([TRANSFORM, lambda pixels: pixels * 0 - 1])
    parts = {"train": ImageFolder(folder / "test", black), "val": ImageFolder(folder / "val", TRANSFORM)}
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            seen.extend(pixels)
            return torch.eye(3)[torch.zeros(len(pixels), dtype=torch.long)]

    fdgpu.audit(parts, model=Watching(), embedder=clip)
    rows = len(parts["train"])
    assert all(bool((one == -1).all()) for one in seen[:rows])
    assert torch.equal(torch.stack(seen[rows:]), torch.stack([image for image, _ in parts["val"]]))
    parts["train"].transform = parts["train"].transforms = None  # of one split it is not known
    with pytest.raises(InputError, match="it is not known how the model's images are preprocessed"):
        fdgpu.audit(parts, model=Watching(), embedder=clip)
