"""MNIST's files: FOLDER/MNIST/raw/train-images-idx3-ubyte and its three fellows, each plain or as .gz.

FOLDER may be ``MNIST`` or ``raw`` itself.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.paper.files.idx import read_idx
from benchmarks.paper.files.malformed import bad_file
from benchmarks.paper.files.missing import need_file, own_folder
from benchmarks.paper.sets import Marked

DIGITS = 10


def mnist(folder: Path) -> dict[str, Marked]:
    """Read train and test: (n, 3, 28, 28) grey images in three channels; labels and kinds are the digits.

    Raises:
        InputError: for a missing file, or one that does not hold what it should.
    """
    root = own_folder(folder, ["MNIST/raw", "raw"], ["*-ubyte*"]) or folder / "MNIST" / "raw"
    return {"train": _read(root, "train"), "test": _read(root, "t10k")}


def _read(root: Path, part: str) -> Marked:
    images, labels = (_file(root, f"{part}-{what}-ubyte") for what in ("images-idx3", "labels-idx1"))
    grey, digits = read_idx(images, 3), read_idx(labels, 1).long()
    if len(digits) != len(grey):
        raise bad_file(labels, f"{len(grey)} labels, one for each of {images.name}", str(len(digits)))
    if len(digits) and int(digits.max()) >= DIGITS:
        raise bad_file(labels, "digits from 0 to 9", str(int(digits.max())))
    return Marked(grey[:, None].repeat(1, 3, 1, 1), digits, digits, digits != digits)


def _file(root: Path, name: str) -> Path:
    return need_file("mnist", root / name, root / f"{name}.gz")
