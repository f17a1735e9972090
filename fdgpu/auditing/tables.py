"""A table of predictions and its columns: what they are called, and what they have to hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fdgpu.auditing.one_column import LONGEST_NAME
from fdgpu.checks import shown
from fdgpu.errors import InputError
from fdgpu.findings import Split

REQUIRED = ("path", "label", "prediction", "split")
SYNONYMS = {  # what else a column may be called, in any case, and with spaces or hyphens for "_"
    "path": ("file", "filename", "file_name", "filepath", "file_path", "image_path"),
    "label": ("target", "true_label", "ground_truth", "y_true"),
    "prediction": ("predicted", "predicted_label", "pred", "y_pred"),
    "split": ("subset",),
    "confidence": (),
    "true_probability": ("true_prob",),
    "logits": (),
    "probabilities": ("probs",),
    "group": ("groups",),
}
NUMBERS = ("confidence", "true_probability")  # columns of probabilities
SCORES = ("logits", "probabilities")  # columns of k numbers a row, of a frame or Parquet; either stands for predictions
LONGEST = {"path": 4096, "label": LONGEST_NAME, "prediction": LONGEST_NAME, "group": LONGEST_NAME}  # characters
ROWS = 1 << 14  # that are turned into Python's strings together

FURTHER = "further:"  # begins the name of a column that is none of ours

Columns = Mapping[str, Any]  # of pyarrow: names are dictionary arrays, paths strings, probabilities float64
ColumnNames = Mapping[str, str]  # our name of a column → the table's
Place = Callable[[int], str]  # where a row stands, for a message


@dataclass(frozen=True)
class Predictions:
    """A checked table of predictions, one row an image.

    Attributes:
        columns: a :class:`pyarrow.Table` with ``path`` and ``label``, and where they were given ``split``,
            ``prediction``, ``confidence``, ``true_probability``, ``logits`` or ``probabilities`` (a list of k a row),
            and ``group``; an image without a group is null there. Columns that are none of ours, such as a camera,
            follow as ``further:camera``. The properties are its columns as lists, made when they are asked for; None
            where there is no such column.
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
    def further(self) -> dict[str, Any]:
        """Columns that are none of ours, as pyarrow has them, by name."""
        names = (name for name in self.columns.column_names if name.startswith(FURTHER))
        return {name.removeprefix(FURTHER): self.columns[name] for name in names}

    @property
    def paths(self) -> list[str]:
        """Paths of the images, from the folder of images on."""
        return list(self._listed("path"))

    @property
    def labels(self) -> list[str]:
        """True classes."""
        return list(self._listed("label"))

    @property
    def predictions(self) -> list[str] | None:
        """Predicted classes; None where a model is still to be asked, or there are its scores."""
        return None if self.column("prediction") is None else list(self._listed("prediction"))

    @property
    def answers(self) -> Any:
        """The predictions as pyarrow has them: classes, else scores; None where there are neither."""
        found = (self.column(name) for name in ("prediction", *SCORES))
        return next((one for one in found if one is not None), None)

    @property
    def splits(self) -> list[str]:
        """Names of :class:`~fdgpu.findings.Split`; val where there is no such column."""
        return [str(Split.VAL)] * len(self) if self.column("split") is None else list(self._listed("split"))

    @property
    def confidence(self) -> list[float] | None:
        """Confidences of the model in its predictions, in [0, 1]."""
        return None if self.column("confidence") is None else list(self._listed("confidence"))

    @property
    def true_probability(self) -> list[float] | None:
        """The model's probabilities of the true classes, in [0, 1]."""
        return None if self.column("true_probability") is None else list(self._listed("true_probability"))

    @property
    def groups(self) -> list[str | None] | None:
        """Groups of images that belong together; None for an image that belongs to no other."""
        return None if self.column("group") is None else list(self._listed("group"))


def named_columns(header: Sequence[str], names: ColumnNames | None = None) -> dict[str, list[int]]:
    """Return where each of our columns may be: as ``names`` call it, or by its very name, another case, a synonym.

    Raises:
        InputError: for a key of ``names`` that is no column of ours.
    """
    given = names or {}
    if not isinstance(given, Mapping) or not all(isinstance(one, str) for own in given.items() for one in own):
        raise InputError(f"columns is {shown(given)}: map names of ours to names of the table's columns")
    unknown = next((name for name in given if name not in SYNONYMS), None)
    if unknown is not None:
        raise InputError(f"columns names {shown(unknown)}, which is none of ours: {', '.join(SYNONYMS)}")
    folded = [_folded(name) for name in header]
    places = {}
    for name, others in SYNONYMS.items():
        exact = [i for i, own in enumerate(header) if own == given.get(name, name)]
        alike = [i for i, own in enumerate(folded) if own == name]
        other = [i for i, own in enumerate(folded) if own in others]
        places[name] = exact if name in given else exact or alike or other
    return {name: own for name, own in places.items() if own}


def further_columns(header: Sequence[str], ours: Collection[int]) -> dict[str, int]:
    """Return where columns are that are none of ours; one with a name of ours, beside that column, is left alone."""
    known = {other for name, others in SYNONYMS.items() for other in (name, *others)}
    own = {FURTHER + name: i for i, name in enumerate(header) if name and _folded(name) not in known}
    return {name: i for name, i in own.items() if i not in ours and header.count(header[i]) == 1}


def _folded(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")


def check_there(
    places: Mapping[str, object], needed: Sequence[str], names: ColumnNames | None, where: str, header: str
) -> None:
    """Check that no column is missing; scores stand for predictions.

    Raises:
        InputError: names the column, and what to call it.
    """
    held = f"is missing, the header is {header[:200]!r}"
    for name, own in (names or {}).items():
        if name not in places:
            raise InputError(f"{where}: the column {shown(own)}, the {name} by columns, {held}: correct columns")
    for name in needed:
        if name not in places and not (name == "prediction" and any(one in places for one in SCORES)):
            known = ", ".join((name, *SYNONYMS[name]))
            raise InputError(
                f"{where}: the column {name!r} {held}: call it one of {known}, or say which it is (columns, --columns)"
            )


def checked_columns(columns: Columns, place: Place) -> Columns:
    """Return the columns, their splits by our names.

    Raises:
        InputError: names the first row that is wrong, by its ``place``, and what is.
    """
    faults: list[tuple[int, str]] = []
    of_text = [name for name in (*REQUIRED, "group") if name in columns and _is_text(columns[name])]
    for name in of_text:
        if name != "group":
            faults += [(row, f"{name} is empty") for row in _first(columns[name], lambda values: pc.equal(values, ""))]
        if name in LONGEST:
            faults += _too_long(columns[name], name, LONGEST[name])
    given_splits = columns.get("split")
    names = [] if given_splits is None else [Split.named(own) for own in given_splits.dictionary.to_pylist()]
    known = pa.array(names, pa.string())
    for row in [] if given_splits is None else _first(given_splits, lambda _: known.is_null()):
        faults.append((row, f"split is {shown(columns['split'][row].as_py())}, use one of {', '.join(Split)}"))
    for name in (name for name in NUMBERS if name in columns):
        given = columns[name].to_numpy()
        odd = np.flatnonzero(~((given >= 0) & (given <= 1)))
        faults += [(int(row), f"{name} is {given[row]:g}, expected a number from 0 to 1") for row in odd[:1]]
    faults += _twice(columns["path"], place)
    if faults:
        row, what = min(faults, key=lambda fault: fault[0])
        raise InputError(f"{place(row)}: {what}")
    checked = dict(columns)
    if given_splits is not None:
        codes = known.dictionary_encode()
        checked["split"] = pa.DictionaryArray.from_arrays(codes.indices.take(given_splits.indices), codes.dictionary)
    if "group" in columns:
        checked["group"] = _without_empty(columns["group"])
    return checked


def _is_text(column: Any) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_dictionary(column.type))


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
                return [(row, f"{shown(paths[row].as_py())} is already in {place(first).rpartition(', ')[2]}")]
    return []


def _without_empty(groups: Any) -> Any:
    """An empty cell is no group: null."""
    empty = np.append(groups.dictionary.to_numpy(zero_copy_only=False) == "", False)
    codes = groups.indices.to_numpy()
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=empty[codes]), groups.dictionary)
