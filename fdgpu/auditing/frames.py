"""Tables in memory, and Parquet: from a data frame's columns to checked ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from numbers import Real
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fdgpu.auditing.one_column import is_list, of_entries
from fdgpu.auditing.tables import (
    NUMBERS,
    REQUIRED,
    SCORES,
    ColumnNames,
    Predictions,
    check_there,
    checked_columns,
    further_columns,
    named_columns,
)
from fdgpu.checks import shown
from fdgpu.errors import InputError, one_line

PARQUET = b"PAR1"  # begins such a file


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


def _is_plain(kind: Any) -> bool:
    """Whether a column may say what is known of images, and is no picture or vector."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tags = is_list(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type))
    return bool(tags or not (pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)))


def _further(frame: Any, own: str, n: int) -> Any:
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


def _as_arrow(frame: Any, own: str, name: str, what: str) -> Any:
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


def _of_frame(column: Any, name: str, what: str) -> Any:
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
