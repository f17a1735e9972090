"""Images in a column of a table: Hugging Face ``datasets``, frames of pandas, polars and pyarrow, Parquet files.

A column of images holds paths, addresses, bytes of image files, or both as ``{"bytes", "path"}``, which is how
``datasets`` stores them. It is handed on as it lies there, and a thread decodes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from fdgpu.checks import shown
from fdgpu.embedding.archives import expanded, opened_address, read_address
from fdgpu.embedding.loading import Sample
from fdgpu.embedding.sources import ImageSource, IndexedSource, Names, SplitSource
from fdgpu.errors import InputError, one_line

NAMED = {  # by these names, in any case, columns are told where their types do not tell
    "image": ("image", "img", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path"),
    "label": ("label", "labels", "target", "true_label", "ground_truth", "y_true"),
    "ids": ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image_id", "id", "key"),
    "split": ("split", "subset"),
}
ROWS = 64  # of a table that are taken together
Asked = Mapping[str, str | None]  # the columns that a caller names; None for one that is to be found


def table_source(
    data: object,
    *,
    image: str | None = None,
    label: str | None = None,
    ids: str | None = None,
    split: str | None = None,
    root: str | Path | None = None,
) -> ImageSource:
    """Make a source of a table with a column of images; each column that is None is found, where one fits.

    Args:
        data: a ``Dataset``, ``IterableDataset`` or ``DatasetDict`` of Hugging Face, a frame of pandas, polars or
            pyarrow, or the path, pattern or address of Parquet files.
        image: the column of images: paths, bytes or ``{"bytes", "path"}``.
        label: the column of labels; a ``ClassLabel`` brings the names of its classes.
        ids: the column of ids, by which columns are joined. None takes the images' own paths, and where they have none
            their positions, "0", "1", …. The second of two alike ends in its position: ``a.png#7``.
        split: the column of splits.
        root: of relative paths; None for the folder that is worked in.

    Raises:
        InputError: where no column, or more than one, can hold the images, or a column that is named is not there.

    Example:
        >>> table_source(pa.table({"img": ["a.png", "b.png"], "label": ["cat", "dog"]})).ids
        ['a.png', 'b.png']
    """
    asked = {"image": image, "label": label, "ids": ids, "split": split}
    if isinstance(data, Mapping) and not hasattr(data, "__arrow_c_stream__"):  # a DatasetDict, or one's own
        return SplitSource({
            str(name): table_source(part, **asked, root=root) for name, part in data.items()
        })  # fmt: skip
    if isinstance(data, (str, Path, list, tuple)):
        paths = data if isinstance(data, (list, tuple)) else [data]
        return TableSource(ParquetRows([str(path) for path in paths]), asked, root)
    if type(data).__module__.startswith("datasets."):
        if hasattr(data, "__len__"):
            return TableSource(DatasetRows(data), asked, root)
        return StreamSource(data, asked, root)
    return TableSource(FrameRows(data), asked, root)


class Rows:
    """A table that lies somewhere.

    Attributes:
        schema: of its columns.
        features: what Hugging Face's ``datasets`` says of them, by name.
        count: of its rows.
    """

    schema: pa.Schema
    features: Mapping[str, Any]
    count: int

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield some rows after the other."""
        raise NotImplementedError

    def take(self, rows: list[int], columns: list[str]) -> pa.Table:
        """Return some rows."""
        raise NotImplementedError

    def paths(self, image: str) -> Iterator[pa.ChunkedArray]:
        """Yield the paths of images that are ``{"bytes", "path"}``."""
        return (pc.struct_field(part.column(0), "path") for part in self.parts([image]))

    def transform(self, image: str) -> Callable[[object], Any] | None:  # noqa: ARG002 - most have none
        """Return what the table itself makes of an image for a classifier; None without it."""
        return None


class DatasetRows(Rows):
    """Of a ``datasets.Dataset``, without what it would make of them."""

    def __init__(self, data: Any) -> None:
        self.data, self.count = data, len(data)
        self.schema, self.features = data.features.arrow_schema, data.features.to_dict()

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield slices."""
        plain = self.data.with_format("arrow", columns=columns)
        return (plain[start : start + ROWS] for start in range(0, self.count, ROWS))

    def take(self, rows: list[int], columns: list[str]) -> pa.Table:
        """Return some rows."""
        return self.data.with_format("arrow", columns=columns)[rows]

    def paths(self, image: str) -> Iterator[pa.ChunkedArray]:
        """Take the paths apart, so that no bytes are read beside them."""
        flat = self.data.with_format(None)
        if hasattr(flat.features[image], "decode"):
            flat = flat.cast_column(image, type(flat.features[image])(decode=False))
        yield flat.flatten().with_format("arrow", columns=[f"{image}.path"])[:].column(0)

    def transform(self, image: str) -> Callable[[object], Any] | None:
        """Return what ``set_transform`` or ``with_transform`` has set, for one image."""
        if self.data.format["type"] != "custom":
            return None
        function = self.data.format["format_kwargs"]["transform"]

        def transformed(one: object) -> Any:
            made = function({image: [one]})
            return (made["pixel_values"] if "pixel_values" in made else made[image])[0]

        return transformed


class FrameRows(Rows):
    """Of a frame of pandas, polars or pyarrow; a column that Arrow cannot hold is left out."""

    def __init__(self, frame: Any) -> None:
        self.table = _as_arrow(frame)
        self.schema, self.count = self.table.schema, self.table.num_rows
        self.features = features_of(self.schema)

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield slices."""
        chosen = self.table.select(columns)
        return (chosen.slice(start, ROWS) for start in range(0, self.count, ROWS))

    def take(self, rows: list[int], columns: list[str]) -> pa.Table:
        """Return some rows."""
        chosen = self.table.select(columns)
        return pa.concat_tables([chosen.slice(row, 1) for row in rows])  # Arrow takes no rows of polars' views


class ParquetRows(Rows):
    """Of Parquet files, of which some rows are in memory at a time."""

    def __init__(self, patterns: Sequence[str]) -> None:
        files, paths = None, [path for pattern in patterns for path in expanded(pattern)]
        if "://" in paths[0]:
            opened = [opened_address(one) for one in paths]
            files, paths = opened[0][0], [one for _, one in opened]
        try:
            self.data = pads.dataset(paths, filesystem=files, format="parquet")
            self.count = self.data.count_rows()
        except (pa.ArrowException, OSError, TypeError, ValueError) as error:
            raise InputError(
                f"{patterns[0]} cannot be read as Parquet ({one_line(error)}): correct the path, or copy the file again"
            ) from None
        self.schema = self.data.schema
        self.features = features_of(self.schema)

    def parts(self, columns: list[str]) -> Iterator[pa.Table]:
        """Yield some rows of each group."""
        batches = self.data.to_batches(columns=columns, batch_size=ROWS, batch_readahead=1, fragment_readahead=1)
        return (pa.Table.from_batches([batch]) for batch in batches)

    def paths(self, image: str) -> Iterator[pa.ChunkedArray]:
        """Read nothing else."""
        yield self.data.to_table(columns={"path": pads.field(image, "path")}).column(0)

    def take(self, rows: list[int], columns: list[str]) -> pa.Table:
        """Return some rows."""
        return self.data.take(rows, columns=columns, batch_size=ROWS, batch_readahead=1, fragment_readahead=1)


class TableSource(IndexedSource):
    """Images of a table whose length is known.

    Args:
        rows: the table.
        asked: its columns.
        root: of relative paths.
    """

    def __init__(self, rows: Rows, asked: Asked, root: str | Path | None = None) -> None:
        held = {field.name: kind_of(field, rows.features.get(field.name)) for field in rows.schema}
        self.rows, self.columns, self.root = rows, Columns.found(asked, held), root
        if not rows.count:
            raise InputError("images is a table without rows: there is nothing to audit")
        label = self.columns.label
        self.class_names = held[label].class_names if label else None
        self._several = bool(label and held[label].several)
        self.transform = rows.transform(self.columns.image)

    def __len__(self) -> int:
        return self.rows.count

    def sample(self, row: int) -> Sample:
        """Return one row."""
        return self._taken([row])[0]

    @cached_property
    def ids(self) -> list[str]:  # type: ignore[override]
        """Of all images, read without these."""
        column = self.columns.ids
        parts = (part.column(column) for part in self.rows.parts([column])) if column else self._paths()
        names = Names()
        return [names.of(name) for part in parts for name in part.to_pylist()]

    @cached_property
    def labels(self) -> list[object] | None:  # type: ignore[override]
        """Of all images, read without these."""
        held = self._told(self.columns.label)
        return held and [_label(one, self.class_names, self._several) for one in held]

    @cached_property
    def splits(self) -> list[str | None] | None:  # type: ignore[override]
        """Of all images, read without these."""
        held = self._told(self.columns.split)
        return None if held is None else [None if one is None else str(one) for one in held]

    def samples(self) -> Iterator[Sample]:
        """Yield all rows."""
        row = 0
        for part in self.rows.parts([self.columns.image]):
            yield from self._samples(range(row, row + part.num_rows), part)
            row += part.num_rows

    def again(self, rows: Sequence[int]) -> list[Sample | None]:
        """Take some rows."""
        return [*self._taken(rows)] if len(rows) else []

    def _taken(self, rows: Sequence[int]) -> list[Sample]:
        return list(self._samples(rows, self.rows.take(list(rows), [self.columns.image])))

    def _samples(self, rows: Sequence[int], part: pa.Table) -> Iterator[Sample]:
        images, labels, splits = part.column(0), self.labels, self.splits
        for i, row in enumerate(rows):
            image = partial(_cell, images, i, self.root)
            yield Sample(self.ids[row], image, labels and labels[row], splits[row] if splits else None)

    def _told(self, column: str | None) -> list[object] | None:
        if column is None:
            return None
        return [one for part in self.rows.parts([column]) for one in part.column(0).to_pylist()]

    def _paths(self) -> Iterator[pa.ChunkedArray]:
        """Yield the images' own paths; nulls where they have none."""
        kind = self.rows.schema.field(self.columns.image).type
        if pa.types.is_struct(kind):
            return self.rows.paths(self.columns.image)
        if is_text(kind):
            return (part.column(0) for part in self.rows.parts([self.columns.image]))
        return iter([pa.chunked_array([pa.nulls(self.rows.count)])])


class StreamSource(ImageSource):
    """Images of a ``datasets.IterableDataset``, which is gone through once more to show some of them.

    Args:
        data: the data set.
        asked: its columns.
        root: of relative paths.
    """

    def __init__(self, data: Any, asked: Asked, root: str | Path | None = None) -> None:
        self.root = root
        if data.features is None:
            first = next(iter(data), None)
            if first is None:
                raise InputError("images is a data set without rows: there is nothing to audit")
            held = {name: kind_of_value(one) for name, one in first.items()}
        else:
            described = data.features.to_dict()
            held = {field.name: kind_of(field, described.get(field.name)) for field in data.features.arrow_schema}
        self.columns = Columns.found(asked, held)
        label = self.columns.label
        self.class_names = held[label].class_names if label else None
        self._several = bool(label and held[label].several)
        if data.features is not None:
            data = data.select_columns(self.columns.all)
            feature = data.features[self.columns.image]
            if hasattr(feature, "decode"):
                data = data.cast_column(self.columns.image, type(feature)(decode=False))
        self.data = data

    def samples(self) -> Iterator[Sample]:
        """Yield all rows."""
        names, columns = Names(), self.columns
        for row in self.data:
            image = row[columns.image]
            own = row[columns.ids] if columns.ids else _path_of(image)
            label = _label(row[columns.label], self.class_names, self._several) if columns.label else None
            held = row[columns.split] if columns.split else None
            split = None if held is None else str(held)
            yield Sample(names.of(own), partial(_as_image, image, self.root), label, split)


# --- cells ------------------------------------------------------------------------------------------------------------


def _as_arrow(frame: Any) -> pa.Table:
    """Return a frame as a table, without the columns that Arrow cannot hold; pandas' paths become text."""
    if isinstance(frame, pa.Table):
        return frame
    if isinstance(frame, pa.RecordBatch):
        return pa.Table.from_batches([frame])
    held = {}
    for name in frame.columns:
        try:
            held[str(name)] = pa.table(frame[[name]]).column(0)
        except (pa.ArrowException, TypeError, ValueError):
            entries = frame[name].to_list()
            if all(isinstance(one, PurePath) for one in entries):
                held[str(name)] = pa.chunked_array([pa.array(map(str, entries), pa.string())])
    return pa.table(held)


def _cell(images: pa.ChunkedArray, row: int, root: str | Path | None) -> object:
    return _as_image(images[row].as_py(), root)


def _as_image(value: object, root: str | Path | None) -> object:
    """Return a cell as an image, or as the path of one.

    Raises:
        InputError: for an empty cell.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if value is None or (isinstance(value, (str, bytes)) and not value):
        raise InputError("is an empty cell of the table")
    if isinstance(value, str):
        return read_address(value) if "://" in value else Path(root or "", value)
    return value


def _path_of(value: object) -> str | None:
    path = value.get("path") if isinstance(value, Mapping) else value
    return str(path) if isinstance(path, (str, PurePath)) else None


def _label(value: object, names: tuple[str, ...] | None, several: bool) -> object:
    """Return a label; of a list of ids, (k,) of 0 and 1; None for -1, which stands for none."""
    if several and names:
        held = set(value) if isinstance(value, Sequence) else set()
        return [int(k in held) for k in range(len(names))]
    return None if names and value == -1 else value


# --- which column holds what: by its type, and else by its name -------------------------------------------------------


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns; None for one that there is not."""

    image: str
    label: str | None = None
    ids: str | None = None
    split: str | None = None

    @classmethod
    def found(cls, asked: Asked, held: Mapping[str, Kind]) -> Columns:
        """Return the columns of a table, where those that a caller names are ``asked`` for.

        Raises:
            InputError: for one that is not there, for no column of images or several, or several of labels.
        """
        for what, name in asked.items():
            if name is not None and name not in held:
                raise InputError(f"{what} is {shown(name)}, and the table has the columns {_listing(list(held))}")
        image = asked["image"] or _image_column(held)
        return cls(
            image,
            asked["label"] or _label_column(held),
            asked["ids"] or _first_named(held, "ids", image),
            asked["split"] or _first_named(held, "split", image),
        )

    @property
    def all(self) -> list[str]:
        """Those that are there, each once."""
        return list(dict.fromkeys(name for name in vars(self).values() if name is not None))


@dataclass(frozen=True)
class Kind:
    """What a column holds.

    Attributes:
        holds: "image" where its type says so, "bytes", "text", or "" for anything else.
        class_names: of its ids.
        several: whether it holds a list of these.
    """

    holds: str
    class_names: tuple[str, ...] | None = None
    several: bool = False


def features_of(schema: pa.Schema) -> Mapping[str, Any]:
    """Return what ``datasets`` wrote into a Parquet file about its columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return features if isinstance(features, Mapping) else {}


def kind_of(field: pa.Field, feature: Any) -> Kind:
    """Say what a column holds, by what ``datasets`` says of it, and by its type."""
    if isinstance(feature, Mapping):
        inner, several = feature.get("feature"), isinstance(feature.get("feature"), Mapping)
        one = inner if several else feature
        if isinstance(one, Mapping) and one.get("_type") == "ClassLabel":
            return Kind("", tuple(map(str, one.get("names") or ())) or None, several)
        if feature.get("_type") == "Image":
            return Kind("image")
    kind = field.type
    if pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}:
        return Kind("image")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return Kind("bytes")
    return Kind("text" if is_text(kind) else "")


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, or categories that are text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def kind_of_value(value: object) -> Kind:
    """Say what a column holds by its first value, where nothing else tells."""
    if isinstance(value, (str, PurePath)):
        return Kind("text")
    if isinstance(value, bytes):
        return Kind("bytes")
    is_struct = isinstance(value, Mapping) and {"bytes", "path"} <= value.keys()
    return Kind("image" if is_struct or getattr(value, "ndim", 0) >= 2 or hasattr(value, "getexif") else "")


def _image_column(held: Mapping[str, Kind]) -> str:
    """Return the column of images: by its type, or else a text that is called like one."""
    by_type = [[name for name, kind in held.items() if kind.holds == wanted] for wanted in ("image", "bytes")]
    by_name = [name for name, kind in held.items() if kind.holds == "text" and name.casefold() in NAMED["image"]]
    found = by_type[0] or by_type[1] or by_name
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{_listing(found)} can be the images: {_name_one('image', found[0])}")
    raise InputError(
        f"no column holds images, among {_listing(list(held))}: they are paths, bytes, or {{'bytes', 'path'}}; "
        f"{_name_one('image', next(iter(held), 'img'))}"
    )


def _label_column(held: Mapping[str, Kind]) -> str | None:
    """Return the column of labels: the one with class names, or one that is called so; None without one."""
    classes = [name for name, kind in held.items() if kind.class_names]
    named = [name for name in classes or held if name.casefold() in NAMED["label"]]
    found = classes if len(classes) == 1 else named
    if len(found) == 1 or not (found or classes):
        return found[0] if found else None
    raise InputError(f"{_listing(found or classes)} can be the label: {_name_one('label', (found or classes)[0])}")


def _first_named(held: Mapping[str, Kind], what: str, image: str) -> str | None:
    """Return the first column that is called so, and is not that of the images."""
    folded = {name.casefold(): name for name in held if name != image}
    return next((folded[own] for own in NAMED[what] if own in folded), None)


def _listing(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))[:300]


def _name_one(what: str, name: str) -> str:
    return f"name one, as by fdgpu.embedding.table_source(…, {what}={name!r})"
