"""What has to be there is a file or a folder, and a data set's own folder may be given itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.paper.files.celeba import celeba
from benchmarks.paper.files.chestxray14 import chestxray14
from benchmarks.paper.files.cifar import cifar10, cifar100
from benchmarks.paper.files.imagenet import imagenet
from benchmarks.paper.files.mnist import mnist
from fdgpu.errors import InputError
from tests.benchmarks.paper.files import test_cifar
from tests.benchmarks.paper.files.tiny import noise, write_celeba, write_idx, write_image, write_xrays

XRAYS = ["00000001_000.png", "00000002_000.png"]


def faces(folder: Path) -> None:
    write_celeba(folder, [(0, 0, 0), (1, 1, 1), (0, 1, 2)])


def digits(folder: Path) -> None:
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for part in ("train", "t10k"):
        write_idx(folder / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", torch.zeros(1, 28, 28))
        write_idx(folder / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", torch.zeros(1))


def natural(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / "imagenet" / split / "n01").mkdir(parents=True)
        write_image(folder / "imagenet" / split / "n01" / "1.JPEG", 1)


def xrays(folder: Path) -> None:
    (folder / "chestxray14").mkdir()
    rows = [f"{name},No Finding,0,{number},50,M,PA,20,20,0.1,0.1," for number, name in enumerate(XRAYS)]
    write_xrays(folder / "chestxray14", rows, XRAYS[:1], XRAYS[1:])


def cifar(write: Callable[[Path, torch.Tensor], None]) -> Callable[[Path], None]:
    return lambda folder: write(folder, noise(12))


DATA_SETS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object], str]] = {
    "CelebA": (faces, celeba, "celeba"),
    "MNIST": (digits, mnist, "MNIST"),
    "MNIST, raw": (digits, mnist, "MNIST/raw"),
    "ImageNet": (natural, imagenet, "imagenet"),
    "ChestX-ray14": (xrays, chestxray14, "chestxray14"),
    "CIFAR-10": (cifar(test_cifar.python10), cifar10, "cifar-10-batches-py"),
    "CIFAR-10, binary": (cifar(test_cifar.binary10), cifar10, "cifar-10-batches-bin"),
    "CIFAR-100": (cifar(test_cifar.python100), cifar100, "cifar-100-python"),
    "CIFAR-100, binary": (cifar(test_cifar.binary100), cifar100, "cifar-100-binary"),
}


@pytest.mark.parametrize("name", DATA_SETS)
def test_the_data_sets_own_folder_will_do_under_any_name(name: str, tmp_path: Path) -> None:
    write, read, own = DATA_SETS[name]
    write(tmp_path)
    read(tmp_path)
    read(tmp_path / own)
    read((tmp_path / own).rename(tmp_path / "renamed"))


@pytest.mark.parametrize("name", [name for name in DATA_SETS if name.startswith(("CIFAR", "CelebA"))])
def test_of_its_own_folder_what_is_missing_is_named_within_it(name: str, tmp_path: Path) -> None:
    _, read, own = DATA_SETS[name]
    (tmp_path / own).mkdir()
    with pytest.raises(InputError, match=rf"^{tmp_path / own}/[a-z_1]+(\.txt|\.bin)? is missing: get it from http"):
        read(tmp_path / own)


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("CelebA", "celeba/img_align_celeba", "folder"),
        ("CelebA", "celeba/list_eval_partition.txt", "file"),
        ("MNIST", "MNIST/raw/t10k-labels-idx1-ubyte", "file"),
        ("ImageNet", "imagenet/val", "folder"),
        ("ImageNet", "imagenet/val/n01", "folder"),
        ("ChestX-ray14", "chestxray14/test_list.txt", "file"),
        ("CIFAR-10", "cifar-10-batches-py", "folder"),
        ("CIFAR-10", "cifar-10-batches-py/data_batch_2", "file"),
        ("CIFAR-100, binary", "cifar-100-binary/train.bin", "file"),
    ],
)
def test_a_file_is_no_folder_and_a_folder_no_file(name: str, path: str, kind: str, tmp_path: Path) -> None:
    write, read, _ = DATA_SETS[name]
    write(tmp_path)
    (tmp_path / path).rename(tmp_path / "elsewhere")
    if kind == "folder":
        (tmp_path / path).write_text("")
        if path == "imagenet/val/n01":
            (tmp_path / "imagenet" / "val" / "n02").mkdir()  # of a class at least there is a folder
            (tmp_path / "imagenet" / "train" / "n02").mkdir()
            write_image(tmp_path / "imagenet" / "train" / "n02" / "1.JPEG", 1)
    else:
        (tmp_path / path).mkdir()
    with pytest.raises(InputError, match=rf"^{tmp_path / path} is there, but is no {kind}: get it from http"):
        read(tmp_path)
