"""Data sets of a few images, written in exactly the formats of the real ones."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ATTRIBUTES = ["5_o_Clock_Shadow", "Male", "Smiling", "Young"]  # four of the forty, in their order
SIZE = (36, 44)  # width and height; the aspect of CelebA's 178 x 218

Face = tuple[int, int, int]  # young, male, number of the split


def write_image(path: Path, number: int, size: tuple[int, int] = SIZE) -> None:
    """Write noise that another number does not repeat."""
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_celeba(folder: Path, faces: Sequence[Face]) -> Path:
    """Write ``folder/celeba`` and return it."""
    root = folder / "celeba"
    (root / "img_align_celeba").mkdir(parents=True)
    attributes, partition = [str(len(faces)), " ".join(ATTRIBUTES) + " "], []
    for number, (young, male, split) in enumerate(faces, 1):
        name = f"{number:06d}.jpg"
        write_image(root / "img_align_celeba" / name, number)
        signs = ["-1" if number % 2 else " 1", " 1" if male else "-1", "-1", " 1" if young else "-1"]
        attributes.append(" ".join([name, *signs]))
        partition.append(f"{name} {split}")
    (root / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")
    (root / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    return root


def noise(n: int, seed: int = 0) -> Tensor:
    """Draw images of CIFAR's size."""
    return torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def write_pickled(path: Path, images: Tensor, **columns: list[int]) -> None:
    """Write one batch as Python 3 does by protocol 2, with keys that are bytes."""
    content = {b"data": images.numpy().reshape(len(images), -1), b"filenames": ["a.png"] * len(images)}
    content |= {key.encode(): labels for key, labels in columns.items()}
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content, 2))


def write_as_python_2(path: Path, images: Tensor, key: str, labels: list[int]) -> None:
    """Write one batch operation by operation as Python 2 and its numpy did, as the real batches are written."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    n, values = len(images), images.numpy().tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    shape = b"K" + bytes([n]) + b"M" + struct.pack("<H", len(values) // n) + b"\x86"
    array = empty + b"(K\x01" + shape + kind + b"I00\nT" + struct.pack("<i", len(values)) + values + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    body = text(b"data") + array + text(key.encode()) + numbers
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x80\x02}(" + body + b"u.")


def write_binary(path: Path, images: Tensor, *columns: list[int]) -> None:
    """Write one batch of the binary version."""
    labels = torch.tensor(columns, dtype=torch.uint8).T
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(torch.cat([labels, images.flatten(1)], dim=1).numpy().tobytes())


def write_idx(path: Path, values: Tensor) -> None:
    """Write an idx file of unsigned bytes."""
    header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(header + values.to(torch.uint8).numpy().tobytes())


def write_xrays(folder: Path, rows: Sequence[str], train_val: Sequence[str], test: Sequence[str]) -> None:
    """Write the table of 2017, as it is with its two headings that hold a comma, the lists, and the images."""
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    (folder / "Data_Entry_2017.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "train_val_list.txt").write_text("\n".join(train_val) + "\n")
    (folder / "test_list.txt").write_text("\n".join(test))
    for number, name in enumerate([*train_val, *test]):
        root = folder / f"images_{1 + number % 2:03d}" / "images"
        root.mkdir(parents=True, exist_ok=True)
        Image.new("L", (20, 20), number).save(root / name)
