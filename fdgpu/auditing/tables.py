"""A table of predictions and its columns: what they are called, and what they have to hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, is_array, to_numpy
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
    "group": ("groups",),
}
LONGEST = {"path": 4096, "label": 1000, "prediction": 1000, "group": 1000}  # characters
ROWS = 1 << 14  # that are turned into Python's strings together

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


@dataclass(frozen=True)
class Column:
    """A column by its distinct entries.

    Attributes:
        name: what the caller calls it.
        entries: the distinct ones: strings, or whole numbers.
        codes: (n,) which of them each row holds.
    """

    name: str
    entries: list[str | int]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def of_numbers(self) -> bool:
        """Whether it was given as numbers, which count into the class names."""
        return bool(self.entries) and all(isinstance(entry, int) for entry in self.entries)

    def count(self) -> NDArray[np.int64]:
        """Return how many rows hold each entry."""
        return np.bincount(self.codes, minlength=len(self.entries))

    def row(self, entry: int) -> int:
        """Return the first row that holds an entry."""
        return int(np.argmax(self.codes == entry))


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
    of_text = [name for name in (*REQUIRED, "group") if name in columns and _is_text(columns[name])]
    for name in of_text:
        if name != "group":
            faults += [(row, f"{name} is empty") for row in _first(columns[name], lambda values: pc.equal(values, ""))]
        if name in LONGEST:
            faults += _too_long(columns[name], name, LONGEST[name])
    known = pa.array([Split.named(own) for own in columns["split"].dictionary.to_pylist()], pa.string())
    for row in _first(columns["split"], lambda _: known.is_null()):
        faults.append((row, f"split is {shown(columns['split'][row].as_py())}, use one of {', '.join(Split)}"))
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


# --- one column of any kind -------------------------------------------------------------------------------------------


def as_column(given: Array, name: str) -> Column:
    """Bring a column of any kind to its distinct entries.

    Args:
        given: (n,) names or whole numbers: an array, a tensor, a sequence, a column of a data frame, or pyarrow's.
        name: what the caller calls it, for messages.

    Raises:
        InputError: names the column, the row and what came.
    """
    if isinstance(given, str):
        raise InputError(f"{name} is one string, {shown(given)}: pass one name an image")
    if isinstance(given, (pa.Array, pa.ChunkedArray)):
        return _of_arrow(given, name)
    if isinstance(given, np.ma.MaskedArray):
        masked = np.flatnonzero(np.ma.getmaskarray(given).any(axis=tuple(range(1, given.ndim))))
        if len(masked):
            raise InputError(f"{name} is masked in row {masked[0]} ({len(masked)} such rows): leave these images out")
        given = given.data
    of_numpy = isinstance(given, np.ndarray) and given.dtype.kind in "biufc"
    if of_numpy or isinstance(given, torch.Tensor) or is_array(given):
        return _of_numbers(to_numpy(given, name), name)
    listed = given.tolist() if hasattr(given, "tolist") else given.to_list() if hasattr(given, "to_list") else given
    if not isinstance(listed, Sequence) or isinstance(listed, (str, bytes, bytearray, memoryview)):
        raise InputError(f"{name} is a {type(given).__name__}: pass (n,) class names or integer class ids")
    return _of_entries(listed, name)


def _of_arrow(given: Any, name: str) -> Column:
    if given.null_count:
        row = int(np.argmax(np.asarray(given.is_null())))
        raise InputError(f"{name} holds no value in row {row} ({given.null_count} such rows): leave these images out")
    if not pa.types.is_dictionary(given.type):
        given = given.dictionary_encode()
    one = given.unify_dictionaries().combine_chunks() if isinstance(given, pa.ChunkedArray) else given
    if isinstance(one, pa.ChunkedArray):
        one = pa.concat_arrays(one.chunks) if one.num_chunks else pa.array([], pa.string()).dictionary_encode()
    used, codes = np.unique(one.indices.to_numpy(zero_copy_only=False), return_inverse=True)
    entries = _of_entries(one.dictionary.take(pa.array(used, pa.int64())).to_pylist(), name)
    return Column(name, entries.entries, entries.codes[codes])


def _of_numbers(given: NDArray[Any], name: str) -> Column:
    if given.dtype.kind == "b":
        advice = "pass the class itself, as a name or an id (0 and 1), not whether it was right"
    elif given.ndim == 2 and given.dtype.kind == "f":
        advice = "pass one class an image: of scores the argmax over the classes"
    else:
        advice = "pass (n,) class names or integer class ids"
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise InputError(f"{name} has shape {given.shape} and type {given.dtype}: {advice}")
    values, first, codes = np.unique(given, return_index=True, return_inverse=True)
    entries: list[str | int] = [
        _whole(value, name, row) for value, row in zip(values.tolist(), first.tolist(), strict=True)
    ]
    return Column(name, entries, codes.astype(np.int64))


def _of_entries(listed: Sequence[Any], name: str) -> Column:
    if listed and all(isinstance(entry, torch.Tensor) and entry.ndim == 0 for entry in listed):
        try:
            return _of_numbers(to_numpy(torch.stack(list(listed)), name), name)
        except RuntimeError as error:
            raise InputError(f"{name} holds tensors that do not go together ({error}): pass one tensor") from None
    for row, entry in enumerate(listed):
        if isinstance(entry, (bool, np.bool_)) or not isinstance(entry, (str, int, float, np.integer, np.floating)):
            missing = entry is None or type(entry).__name__ in ("NAType", "NaTType")
            what = "no value" if missing else f"{shown(entry)} of type {type(entry).__name__}"
            raise InputError(f"{name} holds {what} in row {row}: pass (n,) class names or integer class ids")
        if entry != entry:
            raise InputError(f"{name} holds no value (NaN) in row {row}: leave this image out")
    number: dict[Any, int] = {}
    codes = np.fromiter((number.setdefault(entry, len(number)) for entry in listed), np.int64, len(listed))
    first = np.unique(codes, return_index=True)[1].tolist()
    read = [_text if isinstance(entry, str) else _whole for entry in number]
    return Column(name, [as_(entry, name, row) for as_, entry, row in zip(read, number, first, strict=True)], codes)


def _whole(value: float, name: str, row: int) -> int:
    if not math.isfinite(value) or value != int(value):
        what = "no value (NaN)" if math.isnan(value) else f"{value:g}, which is no whole number,"
        raise InputError(f"{name} holds {what} in row {row}: pass (n,) class names or integer class ids")
    return int(value)


def _text(text: str, name: str, row: int) -> str:
    most = LONGEST["label"]
    if len(text) > most:
        raise InputError(f"{name} has {len(text)} characters in row {row}, at most {most} are read: pass class names")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{name} holds {text!a} in row {row}, half of a surrogate pair: decode it with the encoding that "
            "it was written in"
        ) from None
    if not text:
        raise InputError(f"{name} is empty in row {row}: pass a class name")
    return str(text)
