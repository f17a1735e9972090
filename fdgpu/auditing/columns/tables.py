"""A table of predictions: what its columns are called and have to hold, and tables in memory and Parquet as such."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from numbers import Real
from pathlib import Path, PurePath
from posixpath import normpath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fdgpu.auditing.columns.one_column import LONGEST_NAME, is_list, of_entries
from fdgpu.checks import shown
from fdgpu.errors import InputError, one_line
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
Columns = Mapping[str, pa.Array]  # of pyarrow: names are dictionary arrays, paths strings, probabilities float64
ColumnNames = Mapping[str, str]  # our name of a column → the table's
Place = Callable[[int], str]  # where a row stands, for a message

PARQUET = b"PAR1"  # begins such a file


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

    def column(self, name: str) -> pa.ChunkedArray | None:
        """Return a column as pyarrow has it; None where there is none."""
        return self.columns[name] if name in self.columns.column_names else None

    def _listed(self, name: str) -> Any:
        column = self.column(name)
        return None if column is None else column.to_pylist()

    @property
    def further(self) -> dict[str, pa.ChunkedArray]:
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
    def answers(self) -> pa.ChunkedArray | None:
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


def _is_text(column: pa.Array) -> bool:
    return bool(pa.types.is_string(column.type) or pa.types.is_dictionary(column.type))


def _first(column: pa.Array, is_odd: Callable[[pa.Array], pa.BooleanArray]) -> list[int]:
    """Return the first row whose value ``is_odd`` marks, if there is one; names are looked at once each."""
    if not pa.types.is_dictionary(column.type):
        row = int(pc.index(is_odd(column), True).as_py())
        return [row] if row >= 0 else []
    odd = np.asarray(is_odd(column.dictionary).to_pylist(), bool)
    rows = np.flatnonzero(odd[column.indices.to_numpy()]) if odd.any() else ()
    return [int(row) for row in rows[:1]]


def _too_long(column: pa.Array, name: str, most: int) -> list[tuple[int, str]]:
    rows = _first(column, lambda values: pc.greater(pc.utf8_length(values), most))
    return [(row, f"{name} has {len(column[row].as_py())} characters, at most {most} are read") for row in rows]


def _twice(paths: pa.Array, place: Place) -> list[tuple[int, str]]:
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


def _without_empty(groups: pa.DictionaryArray) -> pa.DictionaryArray:
    """An empty cell is no group: null."""
    empty = np.append(groups.dictionary.to_numpy(zero_copy_only=False) == "", False)
    codes = groups.indices.to_numpy()
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32(), mask=empty[codes]), groups.dictionary)


# --- tables in memory, and Parquet -----------------------------------------------------------------------------------


def read_frame(
    frame: Any, columns: ColumnNames | None = None, needed: Sequence[str] = REQUIRED, what: str = "labels"
) -> Predictions:
    """Read a data frame of pandas, polars or pyarrow with the columns of :func:`~fdgpu.auditing.read_predictions`.

    Labels, predictions and groups may be numbers too; without ``split``, that is as the images' source says, or val. A
    column ``logits`` or ``probabilities``, of k numbers a row, stands for ``prediction``.

    Args:
        frame: the table.
        columns: what it calls the columns, such as ``{"path": "filename"}``.
        needed: columns that have to be there.
        what: errors call it.

    Raises:
        InputError: names the column, the row, what was expected and what came.
    """
    header = [str(name) for name in getattr(frame, "column_names", None) or frame.columns]
    chosen = _chosen(header, columns, needed, what)
    further = further_columns(header, {header.index(own) for own in chosen.values()})
    try:
        found = {name: _of_frame(_as_arrow(frame, own, name, what), name, what) for name, own in chosen.items()}
    except (pa.ArrowException, TypeError, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what}, a table, cannot be read ({error}): give every column one type") from None
    if not len(found["path"]):
        raise InputError(f"{what} is empty: there is nothing to audit")
    for name in (*REQUIRED, *SCORES):
        if name in found and found[name].null_count:
            row = int(np.argmax(np.asarray(found[name].is_null())))
            raise InputError(f"{what}, row {row}: {name} is empty")
    checked = dict(checked_columns(found, lambda row: f"{what}, row {row}"))
    n = len(found["path"])
    return Predictions(pa.table(checked | {name: _further(frame, header[i], n) for name, i in further.items()}))


def read_parquet(path: Path, columns: ColumnNames | None, needed: Sequence[str]) -> Predictions:
    """Read the columns that an audit needs of a Parquet file, which is mapped from the disk.

    Raises:
        InputError: as :func:`read_frame`, or if the file is damaged.
    """
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            schema = file.schema_arrow
            chosen = _chosen(schema.names, columns, needed, str(path))
            plain = [name for name in schema.names if _is_plain(schema.field(name).type)]
            table = file.read(columns=[name for name in schema.names if name in (*chosen.values(), *plain)])
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet ({one_line(error)}): write it anew") from None
    return read_frame(table, columns, needed, str(path))


def _chosen(header: Sequence[str], columns: ColumnNames | None, needed: Sequence[str], what: str) -> dict[str, str]:
    """Return what the table calls each of our columns."""
    places = named_columns(header, columns)
    needed = [name for name in needed if name != "split"]  # images may have theirs
    check_there(places, needed, columns, f"{what}, a table", ", ".join(header))
    return {name: header[own[0]] for name, own in places.items()}


def _is_plain(kind: pa.DataType) -> bool:
    """Whether a column may say what is known of images, and is no picture or vector."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tags = is_list(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type))
    return bool(tags or not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)))


def _further(frame: Any, own: str, n: int) -> pa.Array:
    """Return a column that is none of ours as pyarrow has it; null where it holds pictures, vectors or the like."""
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        return frame[own] if isinstance(frame, pa.Table) else frame.column(own)
    try:
        if str(getattr(frame[own], "dtype", "")).lower() != "object":
            return pa.table(frame[[own]])[own]
        entries = frame[own].to_list()
        first = next((one for one in entries if one is not None), None)
        tags = isinstance(first, (list, tuple)) and all(isinstance(one, str) for one in first)
        return of_entries(entries) if tags or isinstance(first, (str, Real, date, np.generic)) else pa.nulls(n)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.nulls(n)


def _as_arrow(frame: Any, own: str, name: str, what: str) -> pa.Array:
    """Return a column of a frame; of Python's objects, only text, paths, numbers and scores go on to pyarrow."""
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        return frame[own] if isinstance(frame, pa.Table) else frame.column(own)
    if str(getattr(frame[own], "dtype", "")).lower() != "object":
        return pa.table(frame[[own]])[own]
    entries = [str(one) if isinstance(one, PurePath) else one for one in frame[own].to_list()]
    for row, one in enumerate(entries):
        listed = name in SCORES and isinstance(one, (list, tuple, np.ndarray))
        if one is not None and not listed and not isinstance(one, (str, int, float)):
            raise InputError(f"{what}, row {row}: {name} is {shown(one)}: pass text, or numbers")
    return pa.array(entries, from_pandas=True)


def _of_frame(column: pa.Array, name: str, what: str) -> pa.Array:
    """Return a column as one array: names as a dictionary, numbers of classes as they are, scores as lists."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    of_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    of_numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if name in NUMBERS:
        wanted = pa.float64()
    elif (name in SCORES and is_list(kind)) or (name in ("label", "prediction") and of_numbers):
        wanted = kind
    elif name == "group" or (of_text and name not in SCORES):
        wanted = pa.string()
    else:
        right = "a list of numbers a row, one a class" if name in SCORES else "text"
        raise InputError(f"{what}, a table, has {name} of type {kind}: pass {right}")
    parts = [
        part.dictionary.cast(wanted).take(part.indices) if pa.types.is_dictionary(part.type) else part.cast(wanted)
        for part in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    ]
    one = pa.concat_arrays(parts) if parts else pa.array([], wanted)
    if name in NUMBERS:
        return one.fill_null(float("nan"))
    if name == "group":
        one = one.fill_null("")
    return one.dictionary_encode() if wanted == pa.string() and name != "path" else one
