"""CelebA's files: faces, forty attributes of each, and which split it belongs to.

FOLDER/celeba/img_align_celeba/000001.jpg …     (FOLDER itself will do as well)
FOLDER/celeba/list_attr_celeba.txt
FOLDER/celeba/list_eval_partition.txt
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.paper.files.malformed import bad_file, bad_line
from benchmarks.paper.files.missing import need_file, need_folder, need_images, own_folder
from benchmarks.paper.sets import Marked

SPLITS = ("train", "val", "test")  # by their number in list_eval_partition.txt
ATTRIBUTES, PARTITION, PICTURES = "list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba"
SIGNS = {"1": 1, "-1": 0}


@dataclass(frozen=True)
class Face:
    """What the experiments ask of one image."""

    line: int
    young: int
    male: int


def celeba(folder: Path) -> dict[str, Marked]:
    """Read train, val and test.

    Labels are 0 old and 1 young, kinds 0 female and 1 male; the minorities are old women and young men.

    Raises:
        InputError: for a missing file, or one that does not hold what it should.
    """
    root = own_folder(folder, ["celeba"], [ATTRIBUTES, PARTITION, PICTURES]) or folder / "celeba"
    attributes, partition = (need_file("celeba", root / name) for name in (ATTRIBUTES, PARTITION))
    pictures = need_folder("celeba", root / PICTURES)
    faces = _faces(attributes)
    splits = _splits(partition, faces)
    paths = need_images({name: face.line for name, face in faces.items()}, [pictures], attributes, "celeba")
    return {
        split: _marked([paths[name] for name in names], [faces[name] for name in names])
        for split, names in splits.items()
    }


def _marked(paths: list[Path], faces: list[Face]) -> Marked:
    young = torch.tensor([face.young for face in faces], dtype=torch.long)
    male = torch.tensor([face.male for face in faces], dtype=torch.long)
    return Marked(paths, young, male, young == male)


def _faces(path: Path) -> dict[str, Face]:
    """Read ``list_attr_celeba.txt``: the number of images, the names of the attributes, and a row an image."""
    rows = _rows(path)
    _, first = next(rows, (1, []))
    if len(first) != 1 or not first[0].isdigit():
        raise bad_line(path, 1, "the number of images", " ".join(first))
    _, names = next(rows, (2, []))
    for name in ("Young", "Male"):
        if name not in names:
            raise bad_line(path, 2, f"the names of the attributes, {name} among them", " ".join(names))
    young, male = names.index("Young") + 1, names.index("Male") + 1
    faces = {}
    for line, row in rows:
        if len(row) != len(names) + 1 or not set(row[1:]) <= SIGNS.keys():
            raise bad_line(path, line, f"a file name and {len(names)} attributes of 1 or -1", " ".join(row))
        faces[row[0]] = Face(line, SIGNS[row[young]], SIGNS[row[male]])
    if len(faces) != int(first[0]):
        raise bad_file(path, f"{first[0]} images, as its first line says", str(len(faces)))
    return faces


def _splits(path: Path, faces: dict[str, Face]) -> dict[str, list[str]]:
    """Read ``list_eval_partition.txt``: a file name and 0, 1 or 2 in each row."""
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    numbers = {str(number): names for number, names in enumerate(splits.values())}
    seen = set()
    for line, row in _rows(path):
        if len(row) != 2 or row[1] not in numbers:
            raise bad_line(path, line, "a file name and 0, 1 or 2", " ".join(row))
        if row[0] not in faces or row[0] in seen:
            raise bad_line(path, line, f"an image that {ATTRIBUTES} names, each once", row[0])
        numbers[row[1]].append(row[0])
        seen.add(row[0])
    if len(seen) != len(faces):
        raise bad_file(path, f"{len(faces)} images, as in {ATTRIBUTES}", str(len(seen)))
    return splits


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield line number and words of every line that holds some."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if words := line.split():
                yield number, words
