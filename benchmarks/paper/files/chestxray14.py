"""ChestX-ray14's files: X-rays, the conditions found in each, and the official lists of its splits.

FOLDER/Data_Entry_2017.csv                    (or Data_Entry_2017_v2020.csv)
FOLDER/train_val_list.txt, FOLDER/test_list.txt
FOLDER/images/00000001_000.png …              (or FOLDER/images_001/images/ …, as the archives unpack)

FOLDER may hold all of it in ``chestxray14``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.paper.files.malformed import bad_line
from benchmarks.paper.files.missing import get_it, need_file, need_images, own_folder
from benchmarks.paper.sets import Marked
from fdgpu.errors import InputError

CONDITIONS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
TABLES, LISTS = ("Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"), ("train_val_list.txt", "test_list.txt")
HEALTHY = "No Finding"
VIEWS = {"PA": 0, "AP": 1}  # from the back, standing; from the front, mostly in bed
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")


@dataclass(frozen=True)
class Xray:
    """One row of the table."""

    conditions: tuple[int, ...]
    patient: str
    view: int


def chestxray14(folder: Path, val_share: float = 0.1, seed: int = 0) -> dict[str, Marked]:
    """Read train, val and test.

    Labels are (n, 14) of 0 and 1 in the order of :data:`CONDITIONS`; kinds are 1 for AP and 0 for PA; AP is the
    minority. The official lists have no validation set: ``val_share`` of the patients of the first list are drawn.

    Raises:
        InputError: for a missing file or image, or a row that does not hold what it should.
    """
    root = own_folder(folder, ["chestxray14"], [*TABLES, *LISTS]) or folder
    table = need_file("chestxray14", *(root / name for name in TABLES))
    lists = [need_file("chestxray14", root / name) for name in LISTS]
    xrays = _table(table)
    train_val, test = (_listed(path, xrays) for path in lists)
    for name, line in test.items():
        if name in train_val:
            raise bad_line(lists[1], line, f"an image that {lists[0].name} does not name", name)
    folders = _folders(root)
    paths: dict[str, Path] = {}
    for names_of_list, path in zip((train_val, test), lists, strict=True):
        paths |= need_images(names_of_list, folders, path, "chestxray14")
    held = _drawn((xrays[name].patient for name in train_val), val_share, seed)
    splits = {
        "train": [name for name in train_val if xrays[name].patient not in held],
        "val": [name for name in train_val if xrays[name].patient in held],
        "test": list(test),
    }
    return {split: _marked(own, xrays, paths) for split, own in splits.items()}


def _marked(names: Sequence[str], xrays: dict[str, Xray], paths: dict[str, Path]) -> Marked:
    labels = torch.zeros(len(names), len(CONDITIONS), dtype=torch.long)
    for row, name in enumerate(names):
        labels[row, list(xrays[name].conditions)] = 1
    views = torch.tensor([xrays[name].view for name in names], dtype=torch.long)
    return Marked([paths[name] for name in names], labels, views, views == VIEWS["AP"])


def _table(path: Path) -> dict[str, Xray]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        rows = csv.reader(lines)
        header = next(rows, [])
        for column in COLUMNS:
            if column not in header:
                raise bad_line(path, 1, f"a column {column!r}", ",".join(header))
        indices = [header.index(column) for column in COLUMNS]
        xrays = {}
        for row in rows:
            if not row:
                continue
            if len(row) <= max(indices):
                raise bad_line(path, rows.line_num, f"{len(header)} columns", ",".join(row))
            name, findings, patient, view = (row[index] for index in indices)
            if view not in VIEWS:
                raise bad_line(path, rows.line_num, "view position AP or PA", view)
            xrays[name] = Xray(_conditions(findings, path, rows.line_num), patient, VIEWS[view])
    return xrays


def _conditions(findings: str, path: Path, line: int) -> tuple[int, ...]:
    if findings == HEALTHY:
        return ()
    for condition in findings.split("|"):
        if condition not in CONDITIONS:
            raise bad_line(path, line, f"{HEALTHY!r}, or conditions among {', '.join(CONDITIONS)}", condition)
    return tuple(CONDITIONS.index(condition) for condition in findings.split("|"))


def _listed(path: Path, xrays: dict[str, Xray]) -> dict[str, int]:
    """Return the images of a list, each with its line."""
    names = {}
    for line, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if name := text.strip():
            if name not in xrays:
                raise bad_line(path, line, "an image that the table has a row of", name)
            names[name] = line
    return names


def _folders(folder: Path) -> list[Path]:
    found = [path for path in [folder / "images", *sorted(folder.glob("images_*/images"))] if path.is_dir()]
    if not found:
        raise InputError(f"{folder / 'images'} is missing, and so is images_001/images: {get_it('chestxray14')}")
    return found


def _drawn(patients: Iterable[str], share: float, seed: int) -> set[str]:
    everyone = sorted(set(patients))
    order = torch.randperm(len(everyone), generator=torch.Generator().manual_seed(seed)).tolist()
    return {everyone[index] for index in order[: round(share * len(everyone))]}
