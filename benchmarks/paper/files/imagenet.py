"""ImageNet's files: FOLDER/train/<wnid>/*.JPEG and FOLDER/val/<wnid>/*.JPEG; FOLDER may hold them in ``imagenet``."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from benchmarks.paper.files.missing import get_it, need_folder, own_folder
from benchmarks.paper.sets import Marked
from fdgpu.errors import InputError

SUFFIXES = {".jpeg", ".jpg"}


def wnids(folder: Path) -> list[str]:
    """Return the classes in the order of their labels, which is that of their names.

    Raises:
        InputError: if there is no class.
    """
    train = need_folder("imagenet", _root(folder) / "train")
    names = _classes(train)
    if not names:
        raise InputError(f"{train} holds no folder: it has one of each class, such as n01440764; {get_it('imagenet')}")
    return names


def imagenet(folder: Path) -> dict[str, Marked]:
    """Read train and val; labels and kinds are indices into :func:`wnids`.

    Raises:
        InputError: for a missing folder, a class without images, or a class of val that train lacks.
    """
    root, classes = _root(folder), wnids(folder)
    val = need_folder("imagenet", root / "val")
    validated = _classes(val)
    unknown = [name for name in validated if name not in classes]
    if unknown:
        raise InputError(f"{val / unknown[0]} is a class that {root / 'train'} lacks: {get_it('imagenet')}")
    if not validated:
        raise InputError(
            f"{val} holds no folder of a class: sort its images into val/<wnid>/, as torchvision.datasets.ImageNet does"
        )
    return {split: _read(root / split, classes) for split in ("train", "val")}


def _root(folder: Path) -> Path:
    return own_folder(folder, ["imagenet"], ["train/n*", "val/n*"]) or folder


def _classes(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir())


def _read(folder: Path, classes: list[str]) -> Marked:
    paths: list[Path] = []
    labels: list[int] = []
    for label, wnid in enumerate(classes):
        own = _images(need_folder("imagenet", folder / wnid))
        paths += own
        labels += [label] * len(own)
    ids = torch.tensor(labels)
    return Marked(paths, ids, ids, torch.zeros(len(ids), dtype=torch.bool))


def _images(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise InputError(f"{folder} holds no .JPEG: {get_it('imagenet')}")
    return paths
