"""``predictions.csv`` or ``.parquet``: from bytes to checked columns.

A CSV is read twice over: by pyarrow, which is fast and accepts what is plain, and by the csv module over the same
bytes where something is not: it knows every dialect and the line of every row. What pyarrow accepts is what the csv
module would have read; a test holds them together.
"""

from __future__ import annotations

import csv
import io
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, getincrementaldecoder
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fdgpu.auditing.columns.tables import (
    NUMBERS,
    PARQUET,
    REQUIRED,
    SCORES,
    ColumnNames,
    Columns,
    Predictions,
    check_there,
    checked_columns,
    further_columns,
    named_columns,
    read_parquet,
)
from fdgpu.checks import shown
from fdgpu.errors import InputError
from fdgpu.files import opened

DELIMITERS = (",", ";", "\t")
BLOCK = 1 << 20  # bytes that are looked at together


def read_predictions(
    path: str | Path, columns: ColumnNames | None = None, needed: Sequence[str] = REQUIRED
) -> Predictions:
    """Read a table with the columns ``path,label,prediction,split`` and optionally others.

    These are ``confidence``, ``true_probability`` and ``group``; and further ones of what is known of the images, such
    as a camera, which an audit tests beside directions. Columns may stand in any order, and be called as
    :data:`SYNONYMS` says. Of a CSV, commas, semicolons and tabs separate; UTF-8 and, with its mark, UTF-16 are read.
    Spaces around a cell do not count. Parquet is read as a frame, see
    :func:`~fdgpu.auditing.columns.tables.read_frame`.

    Args:
        path: of a CSV or a Parquet file; its content tells which.
        columns: what the file calls them, such as ``{"path": "filename"}``.
        needed: columns that have to be there. Without ``split``, that is as the images' source says, or val.

    Raises:
        InputError: names the file, the line or row, what was expected and what came.

    Example:
        >>> import pyarrow.parquet
        >>> said = {"filename": ["a.png"], "label": ["cat"], "pred": ["dog"], "split": ["val"]}
        >>> pyarrow.parquet.write_table(pyarrow.table(said), tmp_path / "said.parquet")
        >>> table = fdgpu.auditing.read_predictions(tmp_path / "said.parquet")
        >>> table.paths, table.labels, table.predictions
        (['a.png'], ['cat'], ['dog'])
    """
    with opened(path, "a CSV or Parquet file of predictions") as file:
        if file.read(len(PARQUET)) == PARQUET:
            return read_parquet(Path(path), columns, needed)
    with opened(path, "a CSV or Parquet file of predictions") as file, _as_utf8(file, Path(path)) as stream:
        return _read_csv(stream, Path(path), columns, needed)


def _read_csv(stream: BinaryIO, path: Path, names: ColumnNames | None, needed: Sequence[str]) -> Predictions:
    has_quotes, start = _scan(stream, path)
    layout = _layout(stream, start, path, names, needed)
    columns = _parsed_by_arrow(stream, start, layout, has_quotes)
    if columns is None:
        columns = _parsed_exactly(stream, start, layout, path)
    return Predictions(pa.table(dict(columns)))


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


def _layout(stream: BinaryIO, start: int, path: Path, names: ColumnNames | None, needed: Sequence[str]) -> _Layout:
    """Read the header by the delimiter that finds the most columns."""
    found = [_header(stream, start, delimiter) for delimiter in DELIMITERS]
    header, lines, delimiter, fault = max(found, key=lambda one: len(_named(one[0], names)))
    places = _named(header, names)
    if fault:
        raise InputError(f"{path}, line 1: {fault}, instead of {','.join(REQUIRED)}")
    if not header:
        raise InputError(f"{path} is empty: its first line must be {','.join(REQUIRED)}")
    check_there(places, needed, names, f"{path}, line {lines}", delimiter.join(header))
    twice = next((name for name, count in Counter(header).items() if name and count > 1), None)
    twice = twice or next((name for name, own in places.items() if len(own) > 1), None)
    if twice:
        raise InputError(f"{path}, line {lines}: the column {shown(twice)} occurs twice")
    place = {name: own[0] for name, own in places.items()}
    return _Layout(delimiter, place | further_columns(header, set(place.values())), len(header), lines)


def _named(header: Sequence[str], names: ColumnNames | None) -> dict[str, list[int]]:
    """Return where columns are; a cell holds one thing, so that there are no scores."""
    return {name: own for name, own in named_columns(header, names).items() if name not in SCORES}


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
    types |= {str(layout.place[name]): pa.float64() for name in NUMBERS if name in layout.place}
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


def _trimmed(column: pa.ChunkedArray) -> pa.Array:
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


def _trimmed_part(strings: pa.Array) -> pa.Array:
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
    numbers: dict[str, list[float]] = {name: [] for name in NUMBERS if name in layout.place}
    lines: list[int] = []
    fault: InputError | None = None
    try:
        for line, row in _rows(_reader(stream, start, layout.delimiter), layout, path):
            for name, read in numbers.items():
                read.append(_number(row[name], name, layout, f"{path}, line {line}"))
            for name, cell in row.items():
                cells[name].append(cell)
            lines.append(line)
    except InputError as error:
        fault = error  # of a row behind those that are checked now
    columns = {name: pa.array(own[: len(lines)], pa.string()) for name, own in cells.items() if name not in numbers}
    columns |= {name: columns[name].dictionary_encode() for name in set(columns) - {"path"}}
    columns |= {name: pa.array(own[: len(lines)], pa.float64()) for name, own in numbers.items()}
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


def _number(cell: str, name: str, layout: _Layout, where: str) -> float:
    """Read a number; where a comma does not separate cells, it may be a decimal one."""
    try:
        return float(cell if layout.delimiter == "," else cell.replace(",", "."))
    except ValueError:
        raise InputError(f"{where}: {name} is {shown(cell)}, expected a number from 0 to 1") from None
