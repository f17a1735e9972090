"""Idx files are read exactly, plain and gzipped; a wrong or shortened one is named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch

from benchmarks.paper.files.mnist import mnist
from fdgpu.errors import InputError
from tests.benchmarks.paper.files.tiny import write_idx

IMAGES = torch.randint(256, (5, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
DIGITS = torch.tensor([7, 0, 9, 1, 1])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    root = tmp_path / "MNIST" / "raw"
    root.mkdir(parents=True)
    for part, rows in (("train", slice(0, 3)), ("t10k", slice(3, 5))):
        write_idx(root / f"{part}-images-idx3-ubyte", IMAGES[rows])
        write_idx(root / f"{part}-labels-idx1-ubyte", DIGITS[rows])
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_images_are_grey_in_three_channels(zipped: bool, raw: Path, tmp_path: Path) -> None:
    if zipped:
        for path in list(raw.iterdir()):
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    for folder in (tmp_path, raw):
        splits = mnist(folder)
        assert torch.equal(splits["train"].images, IMAGES[:3, None].expand(3, 3, 28, 28))
        assert torch.equal(splits["test"].images[:, 2], IMAGES[3:])
        assert splits["train"].labels.tolist() == splits["train"].kinds.tolist() == [7, 0, 9]
        assert splits["test"].labels.tolist() == [1, 1]
        assert splits["train"].labels.dtype == torch.int64
        assert not splits["train"].minority.any()


def test_a_missing_file_is_named_with_the_place_to_get_it(raw: Path, tmp_path: Path) -> None:
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=r"raw/t10k-labels-idx1-ubyte\.gz is missing: get it from http"):
        mnist(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte", struct.pack(">4B3I", 0, 0, 8, 3, 3, 28, 28) + bytes(2351), "2352 bytes of"),
        ("train-images-idx3-ubyte", bytes([0, 0, 8, 3, 0, 0]), "an idx file of unsigned bytes in 3 dimensions"),
        ("train-images-idx3-ubyte", b"", "an idx file of unsigned bytes in 3 dimensions"),
        ("train-labels-idx1-ubyte", struct.pack(">4BI", 0, 0, 9, 1, 3) + bytes(3), "an idx file of unsigned bytes"),
        ("train-labels-idx1-ubyte", struct.pack(">4BI", 0, 0, 8, 1, 2) + bytes(2), "3 labels, one for each of train-"),
        ("train-labels-idx1-ubyte", struct.pack(">4BI", 0, 0, 8, 1, 3) + b"\x01\x0a\x02", "digits from 0 to 9"),
    ],
)
def test_a_wrong_file_is_named(name: str, content: bytes, message: str, raw: Path, tmp_path: Path) -> None:
    (raw / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: expected {message}"):
        mnist(tmp_path)


def test_a_gzipped_file_that_is_cut_off_is_named(raw: Path, tmp_path: Path) -> None:
    path = raw / "train-labels-idx1-ubyte"
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-10])
    path.unlink()
    with pytest.raises(InputError, match=r"train-labels-idx1-ubyte\.gz: expected a gzipped file"):
        mnist(tmp_path)
