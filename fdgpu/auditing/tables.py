"""A table of predictions: what its columns are called, and what they have to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdgpu.errors import InputError
from fdgpu.findings import Split

REQUIRED = ("path", "label", "prediction", "split")
SYNONYMS = {  # what else a column may be called, in any case, and with spaces or hyphens for "_"
    "path": ("file", "filename", "file_name", "filepath", "file_path", "image_path"),
    "label": ("target", "true_label", "ground_truth", "y_true"),
    "prediction": ("predicted", "predicted_label", "pred", "y_pred"),
    "split": ("subset",),
    "confidence": (),
    "group": ("groups",),
}
SPLITS = {  # in any case; "valid" and "dev" are left out: the one may be a flag, the other a machine
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "val": Split.VAL,
    "validation": Split.VAL,
    "test": Split.TEST,
    "testing": Split.TEST,
}
LONGEST = {"path": 4096, "label": 1000, "prediction": 1000, "group": 1000}  # characters
ROWS = 1 << 14  # that are turned into Python's strings together
SHOWN = 60  # characters of a cell in a message

Columns = Mapping[str, Any]  # of pyarrow: names are dictionary arrays, paths strings, confidences float64
Place = Callable[[int], str]  # where a row stands, for a message


@dataclass(frozen=True)
class Predictions:
    """A checked table of predictions, one row an image.

    Attributes:
        columns: a :class:`pyarrow.Table` with ``path``, ``label``, ``prediction`` and ``split``, and ``confidence`` and
            ``group`` where they were given; an image without a group is null there. The properties are its columns as
            lists, made when they are asked for; None where there is no such column.
    """

    columns: pa.Table

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    def column(self, name: str) -> Any:
        """Return a column as pyarrow has it; None where there is none."""
        return self.columns[name] if name in self.columns.column_names else None

    def _listed(self, name: str) -> Any:
        column = self.column(name)
        return None if column is None else column.to_pylist()

    @property
    def paths(self) -> list[str]:
        """Paths of the images, from the folder of images on."""
        return list(self._listed("path"))

    @property
    def labels(self) -> list[str]:
        """True classes."""
        return list(self._listed("label"))

    @property
    def predictions(self) -> list[str]:
        """Predicted classes."""
        return list(self._listed("prediction"))

    @property
    def splits(self) -> list[str]:
        """Names of :class:`~fdgpu.findings.Split`."""
        return list(self._listed("split"))

    @property
    def confidence(self) -> list[float] | None:
        """Confidences of the model in its predictions, in [0, 1]."""
        return None if self.column("confidence") is None else list(self._listed("confidence"))

    @property
    def groups(self) -> list[str | None] | None:
        """Groups of images that belong together; None for an image that belongs to no other."""
        return None if self.column("group") is None else list(self._listed("group"))


def named_columns(header: Sequence[str]) -> dict[str, list[int]]:
    """Return where each of our columns may be: by its very name, else in another case, else by a synonym."""
    folded = [name.casefold().replace(" ", "_").replace("-", "_") for name in header]
    places = {}
    for name, others in SYNONYMS.items():
        exact = [i for i, own in enumerate(header) if own == name]
        alike = [i for i, own in enumerate(folded) if own == name]
        places[name] = exact or alike or [i for i, own in enumerate(folded) if own in others]
    return {name: own for name, own in places.items() if own}


def checked_columns(columns: Columns, place: Place) -> Columns:
    """Return the columns, their splits by our names.

    Raises:
        InputError: names the first row that is wrong, by its ``place``, and what is.
    """
    faults: list[tuple[int, str]] = []
    for name in REQUIRED:
        faults += [(row, f"{name} is empty") for row in _first(columns[name], lambda values: pc.equal(values, ""))]
    for name, most in LONGEST.items():
        if name in columns:
            faults += _too_long(columns[name], name, most)
    known = pa.array([SPLITS.get(own.casefold()) for own in columns["split"].dictionary.to_pylist()], pa.string())
    for row in _first(columns["split"], lambda _: known.is_null()):
        faults.append((row, f"split is {quoted(columns['split'][row].as_py())}, use one of {', '.join(Split)}"))
    if "confidence" in columns:
        given = columns["confidence"].to_numpy()
        odd = np.flatnonzero(~((given >= 0) & (given <= 1)))
        faults += [(int(row), f"confidence is {given[row]:g}, expected a number from 0 to 1") for row in odd[:1]]
    faults += _twice(columns["path"], place)
    if faults:
        row, what = min(faults, key=lambda fault: fault[0])
        raise InputError(f"{place(row)}: {what}")
    codes = known.dictionary_encode()
    splits = pa.DictionaryArray.from_arrays(codes.indices.take(columns["split"].indices), codes.dictionary)
    checked = {**columns, "split": splits}
    if "group" in columns:
        checked["group"] = _without_empty(columns["group"])
    return checked


def _first(column: Any, is_odd: Callable[[Any], Any]) -> list[int]:
    """Return the first row whose value ``is_odd`` marks, if there is one; names are looked at once each."""
    if not pa.types.is_dictionary(column.type):
        row = int(pc.index(is_odd(column), True).as_py())
        return [row] if row >= 0 else []
    odd = np.asarray(is_odd(column.dictionary).to_pylist(), bool)
    rows = np.flatnonzero(odd[column.indices.to_numpy()]) if odd.any() else ()
    return [int(row) for row in rows[:1]]


def _too_long(column: Any, name: str, most: int) -> list[tuple[int, str]]:
    rows = _first(column, lambda values: pc.greater(pc.utf8_length(values), most))
    return [(row, f"{name} has {len(column[row].as_py())} characters, at most {most} are read") for row in rows]


def _twice(paths: Any, place: Place) -> list[tuple[int, str]]:
    """Find the first path that has occurred before, however it is spelled.

    Hashes are sorted, since a table of a million strings would take more memory than the strings; what hashes alike is
    then compared.
    """

    def spelled() -> Iterator[str]:
        for start in range(0, len(paths), ROWS):
            part = paths.slice(start, ROWS).to_pylist()
            yield from map(normpath, part) if odd else part

    odd = bool(_first(paths, lambda values: pc.match_substring_regex(values, r"(^|/)\.{0,2}(/|$)")))
    hashes = np.fromiter(map(hash, spelled()), np.int64, len(paths))
    in_order = np.sort(hashes)
    alike = in_order[1:][in_order[1:] == in_order[:-1]]
    if not len(alike):
        return []
    seen: dict[str, int] = {}
    suspects = np.isin(hashes, alike)
    for row, name in enumerate(spelled()):
        if suspects[row]:
            first = seen.setdefault(name, row)
            if first != row:
                return [(row, f"{quoted(paths[row].as_py())} is already in {place(first).rpartition(', ')[2]}")]
    return []


def _without_empty(groups: Any) -> Any:
    """An empty cell is no group: null."""
    names = pc.if_else(pc.equal(groups.dictionary, ""), None, groups.dictionary)
    return pa.DictionaryArray.from_arrays(groups.indices, names)


def quoted(text: str, most: int = SHOWN) -> str:
    """Return what a user wrote as a message shows it: cut where it is long."""
    return repr(text if len(text) <= most else text[:most] + "…")
