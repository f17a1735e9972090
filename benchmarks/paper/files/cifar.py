"""CIFAR's files, in the python version or the binary one, whichever is there.

FOLDER/cifar-10-batches-py/data_batch_1 … test_batch        FOLDER/cifar-10-batches-bin/data_batch_1.bin …
FOLDER/cifar-100-python/train, test, meta                   FOLDER/cifar-100-binary/train.bin, test.bin, *_names.txt

FOLDER may be any of these four itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.paper.files.malformed import bad_file
from benchmarks.paper.files.missing import need_file, need_folder, own_folder
from benchmarks.paper.files.pickled import read_pickled
from benchmarks.paper.sets import Marked

CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
VALUES = 3 * 32 * 32

Batch = tuple[Tensor, list[Tensor]]  # images, and one or two columns of labels


@dataclass(frozen=True)
class Superclasses:
    """CIFAR-100's names, in the order of their numbers, as the files spell them: ``aquatic_mammals``."""

    coarse: tuple[str, ...]
    fine: tuple[str, ...]


def cifar10(folder: Path) -> dict[str, Marked]:
    """Read train and test; labels and kinds are indices into :data:`CIFAR10_NAMES`.

    Raises:
        InputError: for a missing file, or one that does not hold what it should.
    """
    root = _root(folder, "cifar10", ["cifar-10-batches-py", "cifar-10-batches-bin"], ["data_batch_*", "test_batch*"])
    files = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}
    return {split: _read(root, names, "cifar10", ["labels"], [10]) for split, names in files.items()}


def cifar100(folder: Path) -> dict[str, Marked]:
    """Read train and test; labels are superclasses and kinds subclasses, see :func:`cifar100_names`.

    Raises:
        InputError: for a missing file, or one that does not hold what it should.
    """
    root = _cifar100_folder(folder)
    keys = ["coarse_labels", "fine_labels"]
    return {split: _read(root, [split], "cifar100", keys, [20, 100]) for split in ("train", "test")}


def cifar100_names(folder: Path) -> Superclasses:
    """Read the names of CIFAR-100's superclasses and subclasses.

    Raises:
        InputError: for a missing file, or one that does not hold what it should.
    """
    root = _cifar100_folder(folder)
    keys = {"coarse_label_names": 20, "fine_label_names": 100}
    if _binary(root):
        paths = {key: need_file("cifar100", root / f"{key}.txt") for key in keys}
        found = {key: path.read_text(encoding="utf-8", errors="replace").split() for key, path in paths.items()}
    else:
        path = need_file("cifar100", root / "meta")
        paths, found = dict.fromkeys(keys, path), read_pickled(path)
    for key, count in keys.items():
        listed = found.get(key, [])
        if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed) or len(listed) != count:
            came = str(len(listed)) if isinstance(listed, list) else type(listed).__name__
            raise bad_file(paths[key], f"{count} names in {key}", came)
    return Superclasses(*(tuple(found[key]) for key in keys))


def _cifar100_folder(folder: Path) -> Path:
    content = ["meta", "*_label_names.txt", "train.bin", "test.bin"]
    return _root(folder, "cifar100", ["cifar-100-python", "cifar-100-binary"], content)


def _root(folder: Path, data_set: str, versions: Sequence[str], content: Sequence[str]) -> Path:
    return own_folder(folder, versions, content) or need_folder(data_set, *(folder / name for name in versions))


def _binary(root: Path) -> bool:
    """Whether it is the binary version; by its files, since a folder may have been renamed."""
    return root.name.endswith(("-bin", "-binary")) or any(root.glob("*.bin"))


def _read(root: Path, names: Sequence[str], data_set: str, keys: Sequence[str], classes: Sequence[int]) -> Marked:
    suffix, read = (".bin", _from_binary) if _binary(root) else ("", _from_pickle)
    paths = [need_file(data_set, root / f"{name}{suffix}") for name in names]
    batches = [_checked(path, read(path, keys), classes) for path in paths]
    images = torch.cat([images for images, _ in batches])
    labels, *finer = (torch.cat(columns) for columns in zip(*(columns for _, columns in batches), strict=True))
    return Marked(images, labels, finer[0] if finer else labels, torch.zeros(len(labels), dtype=torch.bool))


def _from_pickle(path: Path, keys: Sequence[str]) -> Batch:
    content = read_pickled(path)
    for key in ("data", *keys):
        if key not in content:
            raise bad_file(path, f"an entry {key!r}", ", ".join(map(str, content)))
    data = content["data"]
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (VALUES,):
        raise bad_file(path, f"data of (n, {VALUES}) bytes", f"{type(data).__name__} {getattr(data, 'shape', '')}")
    return torch.from_numpy(data.reshape(-1, *SHAPE).copy()), [_column(path, key, content[key]) for key in keys]


def _column(path: Path, key: str, values: object) -> Tensor:
    """Return one column of labels, which is listed or an array."""
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    small = range(1 << 16)
    if not isinstance(listed, list) or not all(type(value) is int and value in small for value in listed):
        raise bad_file(path, f"whole numbers in {key}", type(values).__name__)
    return torch.tensor(listed, dtype=torch.long)


def _from_binary(path: Path, keys: Sequence[str]) -> Batch:
    """Read rows of one label of each kind, a byte each, coarse before fine, and the image's bytes."""
    data, width = np.fromfile(path, np.uint8), len(keys) + VALUES
    if len(data) % width:
        raise bad_file(path, f"rows of {width} bytes", f"{len(data)} bytes")
    rows = torch.from_numpy(data.reshape(-1, width))
    return rows[:, len(keys) :].reshape(-1, *SHAPE), [rows[:, column].long() for column in range(len(keys))]


def _checked(path: Path, batch: Batch, classes: Sequence[int]) -> Batch:
    images, columns = batch
    for labels, count in zip(columns, classes, strict=True):
        if labels.shape != (len(images),):
            raise bad_file(path, f"{len(images)} labels, one an image", str(tuple(labels.shape)))
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < count:
            raise bad_file(path, f"labels from 0 to {count - 1}", f"{int(labels.min())} to {int(labels.max())}")
    return batch
