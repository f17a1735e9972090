"""``predictions.csv``: from bytes to checked columns.

It is read twice over: by pyarrow, which is fast and accepts what is plain, and by the csv module over the same
bytes where something is not: it knows every dialect and the line of every row. What pyarrow accepts is what the csv
module would have read; a test holds them together.
"""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fdgpu.auditing.tables import REQUIRED, SYNONYMS, Columns, Predictions, checked_columns, named_columns
from fdgpu.checks import shown
from fdgpu.errors import InputError
from fdgpu.files import opened

DELIMITERS = (",", ";", "\t")
BLOCK = 1 << 20  # bytes that are looked at together


def read_predictions(path: str | Path) -> Predictions:
    """Read a CSV with the columns ``path,label,prediction,split`` and optionally ``confidence`` and ``group``.

    Columns may stand in any order, with others between them, and be called as :data:`SYNONYMS` says. Commas,
    semicolons and tabs separate; UTF-8 and, with its mark, UTF-16 are read. Spaces around a cell do not count.

    Raises:
        InputError: names the file, the line, what was expected and what came.
    """
    with opened(path, "the CSV of predictions") as file, _as_utf8(file, Path(path)) as stream:
        path = Path(path)
        has_quotes, start = _scan(stream, path)
        layout = _layout(stream, start, path)
        columns = _parsed_by_arrow(stream, start, layout, has_quotes)
        if columns is None:
            columns = _parsed_exactly(stream, start, layout, path)
    return Predictions(pa.table(dict(columns)))


def read_frame(frame: Any) -> Predictions:
    """Read a data frame of pandas, polars or pyarrow with the columns of :func:`read_predictions`.

    Labels, predictions and groups may be numbers too; without ``split``, every image is for validation.

    Raises:
        InputError: names the column, the row, what was expected and what came.
    """
    header = [str(name) for name in getattr(frame, "column_names", None) or frame.columns]
    places = named_columns(header)
    missing = next((name for name in REQUIRED if name not in places and name != "split"), None)
    if missing:
        raise InputError(f"labels, a table, has no column {missing!r}: it has {', '.join(header)[:200]!r}")
    chosen = {name: header[own[0]] for name, own in places.items()}
    try:
        columns = {name: _of_frame(_as_arrow(frame, own, name), name) for name, own in chosen.items()}
    except (pa.ArrowException, TypeError, ValueError, KeyError) as error:
        raise InputError(f"labels, a table, cannot be read ({error}): give every column one type") from None
    n = len(columns["path"])
    if not n:
        raise InputError("labels is empty: there is nothing to audit")
    columns.setdefault("split", pa.array(["val"] * n).dictionary_encode())
    for name in REQUIRED:
        if columns[name].null_count:
            row = int(np.argmax(np.asarray(columns[name].is_null())))
            raise InputError(f"labels, row {row}: {name} is empty")
    return Predictions(pa.table(dict(checked_columns(columns, lambda row: f"labels, row {row}"))))


def _as_arrow(frame: Any, own: str, name: str) -> Any:
    """Return a column of a frame; of Python's objects, only text, paths and numbers are handed on to pyarrow."""
    if isinstance(frame, (pa.Table, pa.RecordBatch)):
        return frame[own] if isinstance(frame, pa.Table) else frame.column(own)
    if str(getattr(frame[own], "dtype", "")).lower() != "object":
        return pa.table(frame[[own]])[own]
    entries = [str(one) if isinstance(one, PurePath) else one for one in frame[own].to_list()]
    for row, one in enumerate(entries):
        if one is not None and not isinstance(one, (str, int, float)):
            raise InputError(f"labels, row {row}: {name} is {shown(one)}: pass text, or numbers")
    return pa.array(entries, from_pandas=True)


def _of_frame(column: Any, name: str) -> Any:
    """Return a column as one array: names as a dictionary, numbers of classes as they are."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if name == "confidence":
        wanted = pa.float64()
    elif name in ("label", "prediction") and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        wanted = kind
    elif name == "group" or pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        wanted = pa.string()
    else:
        raise InputError(f"labels, a table, has {name} of type {kind}: pass text")
    parts = [
        part.dictionary.cast(wanted).take(part.indices) if pa.types.is_dictionary(part.type) else part.cast(wanted)
        for part in (column.chunks if isinstance(column, pa.ChunkedArray) else [column])
    ]
    one = pa.concat_arrays(parts) if parts else pa.array([], wanted)
    if name == "confidence":
        return one.fill_null(float("nan"))
    if name == "group":
        one = one.fill_null("")
    return one.dictionary_encode() if wanted == pa.string() and name != "path" else one


def _as_utf8(file: BinaryIO, path: Path) -> BinaryIO:
    mark = file.read(2)
    return _from_utf16(mark + file.read(), path) if mark in (BOM_UTF16_LE, BOM_UTF16_BE) else file


def _from_utf16(data: bytes, path: Path) -> BinaryIO:
    try:
        return io.BytesIO(data.decode("utf-16").encode("utf-8"))
    except UnicodeDecodeError as error:
        line = _line_at(data[: error.start].decode("utf-16", "ignore").encode("utf-8"))
        raise InputError(f"{path}, line {line} is not UTF-16 text ({error.reason}): save it as UTF-8") from None


def _line_at(before: bytes) -> int:
    return 1 + before.count(b"\n") + before.count(b"\r") - before.count(b"\r\n")


def _blocks(stream: BinaryIO, start: int) -> Iterator[bytes]:
    """Yield whole lines, about a megabyte of them."""
    stream.seek(start)
    while block := stream.read(BLOCK) + stream.readline():
        yield block


def _scan(stream: BinaryIO, path: Path) -> tuple[bool, int]:
    """Check that this is UTF-8 text without null bytes; return whether it holds quotes, and where it starts."""
    stream.seek(0)
    start = len(BOM_UTF8) if stream.read(3) == BOM_UTF8 else 0
    has_quotes, at, decoder = False, start, getincrementaldecoder("utf-8")()
    for block in _blocks(stream, start):
        has_quotes = has_quotes or b'"' in block
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            _raise_at(stream, path, at + error.start, f"is not UTF-8 text ({error.reason}): save it as UTF-8")
        if b"\0" in block:
            why = "holds a null byte: save it as text, in UTF-8"
            _raise_at(stream, path, at + block.index(b"\0"), why)
        at += len(block)
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        _raise_at(stream, path, at, f"is not UTF-8 text ({error.reason}): save it as UTF-8")
    return has_quotes, start


def _raise_at(stream: BinaryIO, path: Path, offset: int, why: str) -> NoReturn:
    stream.seek(0)
    raise InputError(f"{path}, line {_line_at(stream.read(offset))} {why}")


# --- the header -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layout:
    """What the header says: where each column is, how many there are, and in which line the rows begin."""

    delimiter: str
    place: Mapping[str, int]
    width: int
    lines: int


def _layout(stream: BinaryIO, start: int, path: Path) -> _Layout:
    """Read the header by the delimiter that finds the most columns."""
    found = [_header(stream, start, delimiter) for delimiter in DELIMITERS]
    header, lines, delimiter, fault = max(found, key=lambda one: len(named_columns(one[0])))
    names = named_columns(header)
    if fault:
        raise InputError(f"{path}, line 1: {fault}, instead of {','.join(REQUIRED)}")
    if not header:
        raise InputError(f"{path} is empty: its first line must be {','.join(REQUIRED)}")
    for name in REQUIRED:
        if name not in names:
            known = ", ".join((name, *SYNONYMS[name]))
            raise InputError(
                f"{path}, line {lines}: the column {name!r} is missing, the header is "
                f"{delimiter.join(header)[:200]!r}: call it one of {known}"
            )
    twice = next((name for name, count in Counter(header).items() if name and count > 1), None)
    twice = twice or next((name for name, own in names.items() if len(own) > 1), None)
    if twice:
        raise InputError(f"{path}, line {lines}: the column {shown(twice)} occurs twice")
    return _Layout(delimiter, {name: own[0] for name, own in names.items()}, len(header), lines)


def _header(stream: BinaryIO, start: int, delimiter: str) -> tuple[list[str], int, str, str]:
    """Return the first line that is not blank, its number, the delimiter, and why it cannot be read by that, if so."""
    reader, fault = _reader(stream, start, delimiter), ""
    cells: list[str] = []
    try:
        cells = next(filter(None, reader), [])
    except csv.Error as error:
        fault = str(error)
    return [cell.strip() for cell in cells], reader.line_num, delimiter, fault


# --- the rows, fast -------------------------------------------------------------------------------------------------


def _parsed_by_arrow(stream: BinaryIO, start: int, layout: _Layout, has_quotes: bool) -> Columns | None:
    """Return the columns; None if anything is wrong, or not plain enough to be sure that csv reads it the same."""
    if has_quotes and not all(_plainly_shown(block, layout.delimiter) for block in _blocks(stream, start)):
        return None
    name_type = pa.dictionary(pa.int32(), pa.string())
    types = {str(i): name_type for name, i in layout.place.items()}
    types[str(layout.place["path"])] = pa.string()
    if "confidence" in layout.place:
        types[str(layout.place["confidence"])] = pa.float64()
    stream.seek(start)
    try:
        table = pyarrow.csv.read_csv(
            pa.PythonFile(stream, "r"),
            pyarrow.csv.ReadOptions(
                use_threads=False,  # every thread would keep memory of its own, and reading is not what takes the time
                column_names=[str(i) for i in range(layout.width)],
                skip_rows=layout.lines,
                block_size=BLOCK,
            ),
            pyarrow.csv.ParseOptions(delimiter=layout.delimiter, quote_char='"' if has_quotes else False),
            pyarrow.csv.ConvertOptions(
                column_types=types, include_columns=list(types), null_values=[], check_utf8=False
            ),
        )
        columns = {name: _trimmed(table[str(i)]) for name, i in layout.place.items()}
        del table
        return checked_columns(columns, str) if len(columns["path"]) else None
    except (pa.ArrowException, InputError):
        return None


def _plainly_shown(block: bytes, delimiter: str) -> bool:
    """Whether every quote in whole lines begins or ends a cell, so that none is doubled, and no cell has two lines."""
    data = np.frombuffer(block, np.uint8)
    quotes = np.flatnonzero(data == ord('"'))
    first, last = quotes[0::2], quotes[1::2]
    if len(first) != len(last):
        return False
    ends = np.zeros(256, bool)
    ends[[ord(delimiter), ord("\r"), ord("\n")]] = True
    breaks = np.flatnonzero((data == ord("\r")) | (data == ord("\n")))
    padded = np.concatenate([[ord("\n")], data, [ord("\n")]])
    in_one_line = np.searchsorted(breaks, first) == np.searchsorted(breaks, last)
    return bool((ends[padded[first]] & ends[padded[last + 2]] & in_one_line).all())


def _trimmed(column: Any) -> Any:
    """Take the spaces around cells away; names that differed by no more become one."""
    if pa.types.is_string(column.type):
        return pa.chunked_array([_trimmed_part(part) for part in column.chunks], pa.string())
    if not pa.types.is_dictionary(column.type):
        return column
    if not column.num_chunks:
        return column
    parts = column.unify_dictionaries().chunks
    names = pc.utf8_trim_whitespace(parts[0].dictionary).dictionary_encode()
    codes = pa.concat_arrays([part.indices for part in parts])
    return pa.DictionaryArray.from_arrays(names.indices.take(codes), names.dictionary)


def _trimmed_part(strings: Any) -> Any:
    trimmed = pc.utf8_trim_whitespace(strings)
    return strings if trimmed.equals(strings) else trimmed  # the same memory, where nothing changes


# --- the rows, exactly ----------------------------------------------------------------------------------------------


def _reader(stream: BinaryIO, start: int, delimiter: str) -> Any:
    stream.seek(start)
    text = (line.decode("utf-8") for line in _lines(stream))
    return csv.reader(text, strict=True, delimiter=delimiter)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines that end in a newline, a carriage return or both."""
    for line in stream:
        yield from line.splitlines(keepends=True)


def _parsed_exactly(stream: BinaryIO, start: int, layout: _Layout, path: Path) -> Columns:
    """Return the columns by the csv module; raises what is wrong first, with its line."""
    cells: dict[str, list[str]] = {name: [] for name in layout.place}
    confidence: list[float] = []
    lines: list[int] = []
    fault: InputError | None = None
    try:
        for line, row in _rows(_reader(stream, start, layout.delimiter), layout, path):
            if "confidence" in row:
                confidence.append(_confidence_of(row["confidence"], layout, f"{path}, line {line}"))
            for name, cell in row.items():
                cells[name].append(cell)
            lines.append(line)
    except InputError as error:
        fault = error  # of a row behind those that are checked now
    columns = {name: pa.array(cells[name][: len(lines)], pa.string()) for name in layout.place}
    names = set(columns) - {"path", "confidence"}
    columns |= {name: columns[name].dictionary_encode() for name in names}
    if "confidence" in columns:
        columns["confidence"] = pa.array(confidence[: len(lines)], pa.float64())
    checked = checked_columns(columns, lambda row: f"{path}, line {lines[row]}") if lines else None
    if fault is not None:
        raise fault
    if checked is None:
        raise InputError(f"{path} has a header and no rows: write one line for every image")
    return checked


def _rows(reader: Any, layout: _Layout, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line, cell by column); blank lines are passed over."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        if line <= layout.lines or not cells:
            continue
        if len(cells) != layout.width:
            raise InputError(f"{path}, line {line}: {len(cells)} fields, the header has {layout.width}")
        yield line, {name: cells[i].strip() for name, i in layout.place.items()}


def _confidence_of(cell: str, layout: _Layout, where: str) -> float:
    """Read a number; where a comma does not separate cells, it may be a decimal one."""
    try:
        return float(cell if layout.delimiter == "," else cell.replace(",", "."))
    except ValueError:
        raise InputError(f"{where}: confidence is {shown(cell)}, expected a number from 0 to 1") from None
