"""One shard on disk: a Parquet file that anyone reads, and whose vectors we read as they lie in it.

Parquet keeps the numbers of a column in pages. Here all vectors of a file are in one page, uncompressed and one after
the other, so that the last bytes of the column are the rows as memory has them: reading one is a seek, and reading all
goes as fast as the disk. What pyarrow reads of the same file is the same; it takes ten times as long.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fdgpu.embedding.sources import printable
from fdgpu.errors import InputError
from fdgpu.files import written_atomically

ABOUT = b"fdgpu"  # key of what the footer says of a shard, as JSON
ONE_PAGE = {"data_page_size": (1 << 31) - 1, "write_batch_size": 1 << 20}
if "max_rows_per_page" in inspect.signature(pq.write_table).parameters:  # before, only bytes bounded a page
    ONE_PAGE["max_rows_per_page"] = 1 << 30
MOST_BYTES = 1 << 30  # of the vectors of a shard: the size of a page has 31 bits
PAGE_HEADER = 256  # bytes that the header of a page has at most, with statistics of numbers
PLAIN = 0  # the encoding that is memory as it is
DENSE = 4  # of a span of which so much is asked for that it is read whole: one row in so many
TEXT = ("label", "split", "group", "skipped", "stamp")  # columns of strings beside the ids
KINDS = {np.dtype(np.float32): pa.float32(), np.dtype(np.float16): pa.float16()}

About = Mapping[str, Any]  # as JSON has it
Floating = np.dtype[np.floating[Any]]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Shard:
    """A file of n rows, whose footer was read.

    Attributes:
        path: of the file.
        n: rows.
        about: what the footer says of it.
        footer: Parquet's own.
    """

    path: Path
    n: int
    about: About
    footer: pq.FileMetaData

    @classmethod
    def at(cls, path: Path, run: str) -> Shard:
        """Read the footer of a shard of a run.

        Raises:
            InputError: if the file was cut off, is damaged, or is of another run.
        """
        try:
            footer = pq.read_metadata(path)
            about = json.loads((footer.metadata or {})[ABOUT])
            of = about["run"]
        except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is no shard of a store, or was cut off ({' '.join(str(error).split())[:120]}): delete the "
                "file, and run again; its images are embedded anew"
            ) from None
        if of != run:
            raise InputError(
                f"{path} is of another run than the manifest beside it: move the file away, and run again; its images "
                "are embedded anew"
            )
        return cls(path, footer.num_rows, about, footer)

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Return some columns."""
        with _ending_well(self.path), pq.ParquetFile(self.path, metadata=self.footer) as file:
            return file.read(columns=list(names))


@contextmanager
def _ending_well(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        said = " ".join(str(error).split())[:120]
        raise InputError(f"{path} cannot be read ({said}): restore the file, or delete it and run again") from None


class Vectors:
    """The vectors (n, d) of a shard, its column "vector", read from the file row by row or many at once."""

    def __init__(self, shard: Shard, dimension: int, kind: Floating) -> None:
        self.shard, self.dimension, self.kind = shard, dimension, kind
        self.row_bytes = dimension * kind.itemsize

    @cached_property
    def start(self) -> int | None:
        """First byte of the vectors; None in a file that does not have them in one piece, as others may write it."""
        footer, n = self.shard.footer, self.shard.n
        paths = [footer.schema.column(i).path for i in range(footer.num_columns)]
        at = next((i for i, path in enumerate(paths) if path.split(".")[0] == "vector"), None)
        if at is None or footer.num_row_groups != 1:
            return None
        part, leaf, schema = footer.row_group(0).column(at), footer.schema.column(at), footer.schema.to_arrow_schema()
        kind = schema.field("vector").type
        of_ours = pa.types.is_fixed_size_list(kind) and kind.list_size == self.dimension
        if not of_ours or kind.value_type != KINDS[self.kind] or part.compression != "UNCOMPRESSED":
            return None
        with self.shard.path.open("rb") as stream:
            stream.seek(part.data_page_offset)
            page = data_page(stream.read(PAGE_HEADER))
            if page is None or page.header + page.size != part.total_compressed_size or page.encoding != PLAIN:
                return None
            start = part.data_page_offset + page.header
            for levels in (leaf.max_repetition_level, leaf.max_definition_level):
                if levels:  # where lists begin, and what is null: their bytes, after the count of these
                    stream.seek(start)
                    start += 4 + int.from_bytes(stream.read(4), "little")
        end = part.data_page_offset + part.total_compressed_size
        return int(start) if end - start == n * self.row_bytes else None  # else some are null

    def read(self, rows: NDArray[np.int64], out: Floats) -> None:
        """Read some rows of the shard, ascending, into ``out`` (m, d)."""
        start = self.start
        if start is None:
            self.read_by_parquet(rows, out)
            return
        first, last = int(rows[0]), int(rows[-1]) + 1
        with _ending_well(self.shard.path), self.shard.path.open("rb", buffering=0) as stream:
            if last - first == len(rows):
                self._read_run(stream, start, first, out)
            elif last - first <= DENSE * len(rows):
                span = np.empty((last - first, self.dimension), self.kind)
                self._read_run(stream, start, first, span)
                np.take(span, rows - first, axis=0, out=out, mode="clip")  # else NumPy takes into a buffer first
            else:
                breaks = np.flatnonzero(np.diff(rows) != 1) + 1
                for begin, end in zip((0, *breaks.tolist()), (*breaks.tolist(), len(rows)), strict=True):
                    self._read_run(stream, start, int(rows[begin]), out[begin:end])

    def read_by_parquet(self, rows: NDArray[np.int64], out: Floats) -> None:
        """Read by pyarrow: the plain twin, which decodes all of the shard.

        Raises:
            InputError: unless every row is a list of as many numbers as the store's vectors have.
        """
        column = self.shard.columns(["vector"]).column(0).combine_chunks()
        every = column.flatten()
        if not pc.all(pc.equal(pc.list_value_length(column), self.dimension), skip_nulls=False).as_py() or (
            every.null_count or len(every) != self.shard.n * self.dimension
        ):
            raise InputError(
                f"{self.shard.path} has vectors of other lengths than {self.dimension}, or none in some rows: restore "
                "the file, or delete it and run again"
            )
        out[:] = every.to_numpy(zero_copy_only=False).reshape(-1, self.dimension)[rows]

    def _read_run(self, stream: FileIO, start: int, row: int, out: Floats) -> None:
        view = memoryview(out.reshape(-1).view(np.uint8).data)
        at, offset = 0, start + row * self.row_bytes
        while at < len(view):
            got = os.preadv(stream.fileno(), [view[at:]], offset + at)
            if not got:
                raise InputError(f"{self.shard.path} was cut off while it was read: restore the file")
            at += got


@dataclass(frozen=True)
class Page:
    """What the header of a data page says: its own bytes, those of the page behind it, and how values are encoded."""

    header: int
    size: int
    encoding: int


def data_page(header: bytes) -> Page | None:
    """Read the header of a data page of the first version (Thrift, compact); None for anything else, or half of one."""
    try:
        fields, end = _struct(header, 0)
    except IndexError:
        return None
    kind, plain, size, about = (fields.get(name) for name in (1, 2, 3, 5))
    if kind != 0 or not isinstance(size, int) or plain != size or not isinstance(about, dict):
        return None
    return Page(end, size, about.get(2, -1))


def _struct(data: bytes, at: int) -> tuple[dict[int, object], int]:
    """Return the fields of a struct by their numbers, and where it ends."""
    fields: dict[int, object] = {}
    name = 0
    while head := data[at]:
        at, kind = at + 1, head & 0x0F
        if head >> 4:
            name += head >> 4
        else:
            number, at = _varint(data, at)
            name = number >> 1
        if kind in (1, 2):  # the boolean itself
            fields[name] = kind == 1
        elif kind in (4, 5, 6):  # whole numbers, of either sign
            number, at = _varint(data, at)
            fields[name] = (number >> 1) ^ -(number & 1)
        elif kind == 8:  # bytes
            length, at = _varint(data, at)
            fields[name], at = data[at : at + length], at + length
        elif kind == 12:
            fields[name], at = _struct(data, at)
        else:
            raise IndexError(f"fields of the kind {kind} are in no header of a page")
    return fields, at + 1


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def texts(entries: Sequence[str | None]) -> pa.Array:
    """Return a column of text; what UTF-8 does not hold, as the id of a source of somebody's own may, is escaped."""
    try:
        return pa.array(entries, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if one is None else printable(one) for one in entries], pa.string())


def fixed_rows(rows: NDArray[np.generic]) -> pa.Array:
    """Return (n, d) as a column of lists of one length, none of which is null."""
    kind = KINDS.get(rows.dtype) or pa.from_numpy_dtype(rows.dtype)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).ravel(), kind), rows.shape[1])


def write_shard(path: Path, columns: Mapping[str, pa.Array], lists: Sequence[str], about: About) -> None:
    """Write a shard whole or not at all, and to the disk itself.

    Args:
        path: of the file.
        columns: all of one length.
        lists: which of them are :func:`fixed_rows`.
        about: what the footer says, as JSON.

    Raises:
        InputError: if the folder cannot be written, or is full.
    """
    fields = []
    for name, column in columns.items():
        kind = column.type
        if name in lists:
            kind = pa.list_(pa.field("element", kind.value_type, nullable=False), kind.list_size)
        fields.append(pa.field(name, kind, nullable=name not in ("id", *lists)))
    schema = pa.schema(fields, metadata={ABOUT: json.dumps(about, sort_keys=True).encode()})
    table = pa.table([column.cast(one.type) for column, one in zip(columns.values(), fields, strict=True)], schema)
    packed = {f"{name}.list.element": "NONE" for name in lists}
    with written_atomically(path, lasting=True) as stream:
        _write(table, stream, packed | {name: "ZSTD" for name in columns if name not in lists})


def _write(table: pa.Table, stream: BinaryIO, packed: Mapping[str, str]) -> None:
    pq.write_table(
        table,
        stream,
        row_group_size=max(1, table.num_rows),
        compression=dict(packed),
        use_dictionary=[name for name in TEXT if name in table.column_names],
        write_statistics=["id"],
        **ONE_PAGE,
    )
