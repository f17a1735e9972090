"""Which row belongs to which image: by path where paths are given, else by position."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from posixpath import normpath
from typing import Any

import numpy as np
import pyarrow as pa

from fdgpu.arrays import Array
from fdgpu.auditing.columns.inputs import AuditInputs
from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.auditing.columns.tables import FURTHER, REQUIRED, ColumnNames, Predictions, read_frame
from fdgpu.checks import shown
from fdgpu.embedding.given import NamedImages
from fdgpu.embedding.image_file import suffixes
from fdgpu.embedding.opening import class_folders, image_source
from fdgpu.embedding.sources import FileSource, ImageSource, IterableSource, printable
from fdgpu.errors import InputError

TRIED = 32  # paths of a table, before anything is embedded
SHOWN = 5  # pairs in a doubt
COLUMNS = {
    "labels": "label",
    "predictions": "prediction",
    "splits": "split",
    "confidence": "confidence",
    "true_probability": "true_probability",
    "groups": "group",
}

Columns = Mapping[str, Array]  # by the names of audit's arguments


@dataclass(frozen=True)
class Paired:
    """Images, and columns with an entry for each in their order; labels are None where they come with the images.

    ``by_listing`` holds where nobody said that this is the order: bare sequences beside a folder. ``paths`` are those
    of the columns where the ids of the images come with them, so that they are joined when all have come. Where
    ``by_folders``, labels are the names of folders. ``further`` are columns that are none of ours, by name.
    """

    source: ImageSource
    columns: Columns
    by_listing: bool = False
    paths: Sequence[str] | None = None
    by_folders: bool = False
    further: Columns = field(default_factory=dict)

    def joined(self, ids: Sequence[str]) -> Columns:
        """Return the columns in the order of images that have come.

        Raises:
            InputError: names the first path that has no image or no entry.
        """
        return self._joined(self.columns, ids)

    def joined_further(self, ids: Sequence[str]) -> Columns:
        """Return what else is known in the order of images that have come."""
        return self._joined(self.further, ids)

    def _joined(self, columns: Columns, ids: Sequence[str]) -> Columns:
        if self.paths is None:
            return columns
        rows = _rows_of(ids, self.paths)
        return {name: None if own is None else _taken(own, rows) for name, own in columns.items()}

    def doubt(self, inputs: AuditInputs) -> str:
        """Say how a folder was paired, in the first few pairs."""
        ids = (self.source.ids or [])[:SHOWN]
        names = [inputs.label_of(row) for row in range(min(SHOWN, len(inputs)))]
        pairs = ", ".join(f"{own[:200]!r} → {shown(name)}" for own, name in zip(ids, names, strict=True))
        return (
            f"Labels were paired with the sorted listing of the folder by position: {pairs}, …. If that is not their "
            "order, every number here is wrong. Give them by path, as a mapping, a data frame or a CSV, or say "
            "order='sorted'."
        )


def pair(
    images: object,
    columns: Columns,
    order: str | None = None,
    allow_outside: bool = False,
    *,
    names: ColumnNames | None = None,
    answered: bool = False,
    further: Columns | None = None,
) -> Paired:
    """Lay columns beside their images.

    Args:
        images: a folder, or what :func:`~fdgpu.embedding.opening.image_source` takes.
        columns: ``labels``, ``predictions`` and others, each None where it was not given. Labels that are a table, or a
            path to one, hold all of them. Mappings of path to entry and tables are joined to the images by name.
            Without labels they are the source's, and of a folder the names of its folders.
        order: "sorted" says that bare sequences follow the sorted listing of the folder.
        allow_outside: take paths that lie outside the folder.
        names: what a table calls its columns, by our names of them.
        answered: a model will give the predictions.
        further: columns that are none of ours, by name, where labels are no table that holds them.

    Raises:
        InputError: names the first path that has no image or no entry, and why, if nothing is where paths say.
    """
    if order not in (None, "sorted"):
        raise InputError(f"order is {order!r}: pass 'sorted', or None where labels are given by path")
    every = {**columns, **{FURTHER + name: column for name, column in (further or {}).items()}}
    paths, by_path = _by_path(every, names, answered)
    if (by_path["predictions"] is None) is not answered:
        raise InputError(
            "predictions are given, and a model too: pass one of the two"
            if answered
            else "predictions is missing: pass them beside labels, labels as a table that holds both, or model"
        )
    paired = _laid(images, paths, by_path, order, allow_outside, answered)
    ours = {name: column for name, column in paired.columns.items() if not name.startswith(FURTHER)}
    known = {name.removeprefix(FURTHER): paired.columns[name] for name in paired.columns if name not in ours}
    return replace(paired, columns=ours, further=known)


def _laid(
    images: object, paths: list[str] | None, by_path: Columns, order: str | None, allow_outside: bool, answered: bool
) -> Paired:
    """Lay all columns, ours and others, beside their images."""
    if images is None:
        return _named(paths, by_path, answered)
    of_folder = isinstance(images, (str, Path)) and Path(images).is_dir()
    if paths is None:
        if order is not None and not of_folder:
            raise InputError("order says how a folder is listed, and images is none: leave it out")
        if by_path["labels"] is None:
            return _labelled(images, by_path)
        return Paired(image_source(images), by_path, by_listing=of_folder and order is None)
    if order is not None:
        raise InputError("order is for bare sequences, and labels are given by path: leave it out")
    if of_folder or (isinstance(images, Path) and not images.is_file()):
        return Paired(_of_folder(Path(images), paths, allow_outside), by_path)  # type: ignore[arg-type]
    source = image_source(images)
    if isinstance(source, IterableSource):
        raise InputError("images have no paths, and labels are given by path: pass a folder, or a list of paths")
    later = Paired(source, by_path, paths=paths)
    return later if source.ids is None else Paired(source, later.joined(source.ids))


def _named(paths: Sequence[str] | None, columns: Columns, answered: bool) -> Paired:
    """Take what columns are of for images of which there is no more than their names."""
    if answered:
        raise InputError("images is missing, and model answers images: pass them, or predictions")
    if columns["labels"] is None:
        raise InputError("labels is missing: pass one label for each of embeddings")
    return Paired(NamedImages(map(str, range(len(columns["labels"]))) if paths is None else paths), columns)


def _labelled(images: object, columns: Columns) -> Paired:
    """Take labels from the source, where they are known beforehand."""
    by_folders = isinstance(images, (str, Path)) and Path(images).is_dir()
    source = class_folders(Path(images)) if by_folders else image_source(images)  # type: ignore[arg-type]
    own = dict(columns)
    own["labels"] = source.labels
    return Paired(source, own, by_folders=by_folders)


def check_agreement(inputs: AuditInputs, source: ImageSource, labels: Sequence[object], ids: Sequence[str]) -> None:
    """Check labels that were given against those that came with the images: by name, where both know the names.

    Where they do not, images of one label of the source have to have one label of those given, and no others have it.

    Raises:
        InputError: says how many differ, and the first.
    """
    rows = [row for row, label in enumerate(labels) if label is not None]
    if inputs.conditions or not rows:
        return
    own = [_name_of(labels[row], source.class_names) for row in rows]
    given = [inputs.given_names[k] for k in inputs.labels[rows].tolist()]
    pairs = list(zip(own, given, strict=True))
    if set(own) <= set(inputs.given_names):
        differ = [i for i, (one, other) in enumerate(pairs) if one != other]
    else:
        first_given = dict(reversed(pairs))
        first_own = {other: one for one, other in reversed(pairs)}
        differ = [i for i, (one, other) in enumerate(pairs) if first_given[one] != other or first_own[other] != one]
    if differ:
        i = differ[0]
        raise InputError(
            f"labels says {shown(given[i])} of the image {ids[rows[i]]}, and its source says {shown(own[i])} "
            f"({len(differ)} of {len(rows)} differ): leave labels out to take the source's, or correct one of them"
        )


def _name_of(label: object, names: Sequence[str] | None) -> str:
    own = label.tolist() if hasattr(label, "tolist") else label
    return names[own] if names and isinstance(own, int) and 0 <= own < len(names) else str(own)


def _by_path(columns: Columns, names: ColumnNames | None, answered: bool) -> tuple[list[str] | None, Columns]:
    """Return paths and columns in their order; None where columns are bare."""
    labels = columns["labels"]
    table = _as_table(labels, names, answered)
    if names and (table is None or table is labels):
        raise InputError("columns says what a table calls its columns, and labels is no table to be read: leave it out")
    given = {name: column for name, column in columns.items() if column is not None}
    if table is not None:
        others = [name for name in given if name != "labels"]
        if others and others[0].startswith(FURTHER):
            raise InputError("slices holds values beside a table: put them into the table, and name its columns")
        if others:
            raise InputError(f"{others[0]} is given beside a table: labels holds all columns, leave it out")
        by_name = {name: table.column(own) for name, own in COLUMNS.items()}
        known = {FURTHER + name: column for name, column in table.further.items()}
        return table.paths, {**by_name, "predictions": table.answers, **known}
    bare = [name for name, column in given.items() if not isinstance(column, Mapping)]
    if len(bare) == len(given):
        return None, columns
    if bare:
        raise InputError(f"{bare[0]} is no mapping, and others are: give all by path, or none")
    joined = {name: _keyed(column, name) for name, column in given.items()}
    first = next(iter(joined))
    own = joined[first]
    for name, other in joined.items():
        _same_paths(own, other, first, name)
    paths = [path.as_posix() if isinstance(path, Path) else str(path) for path in given[first]]
    return paths, {name: [joined[name][path] for path in own] if name in joined else None for name in columns}


def _as_table(labels: Any, names: ColumnNames | None, answered: bool) -> Predictions | None:
    if isinstance(labels, Predictions):
        return labels
    needed = [name for name in REQUIRED if not answered or name in ("path", "label")]
    if isinstance(labels, (str, Path)):
        return read_predictions(labels, names, needed)
    frame = hasattr(labels, "column_names") or (hasattr(labels, "columns") and hasattr(labels, "__getitem__"))
    return read_frame(labels, names, needed) if frame else None


def _keyed(column: Mapping[Any, object], name: str) -> dict[str, object]:
    keyed: dict[str, object] = {}
    for path, entry in column.items():
        if not isinstance(path, (str, Path)):
            raise InputError(f"{name} maps {shown(path)} of type {type(path).__name__}: its keys are paths")
        keyed[normpath(Path(path).as_posix() if isinstance(path, Path) else path)] = entry
    if len(keyed) < len(column):
        raise InputError(f"{name} holds a path twice, spelled differently: give every image one entry")
    return keyed


def _same_paths(own: Mapping[str, object], other: Mapping[str, object], name: str, name_of_other: str) -> None:
    for one, two, lacking in ((own, other, name_of_other), (other, own, name)):
        missing = [path for path in one if path not in two]
        if missing:
            raise InputError(f"{lacking} has no entry for {_some(missing)}: give every image one, by its path")


def vectors_by_path(vectors: Mapping[Any, Array], ids: Sequence[str] | None) -> list[Array]:
    """Return the vectors of images in their order; what is there of others is left alone.

    Raises:
        InputError: for images without paths, or one without a vector.
    """
    if ids is None:
        raise InputError("images have no paths, and embeddings are given by path: pass (n, d) in their order")
    keyed = _keyed(vectors, "embeddings")
    missing = [own for own in ids if normpath(own) not in keyed]
    if missing:
        raise InputError(f"embeddings has no vector for {_some(missing)}: give every image one, by its path")
    return [keyed[normpath(own)] for own in ids]


def _some(paths: Sequence[str]) -> str:
    some = ", ".join(repr(path[:200]) for path in paths[:3])
    return f"{len(paths)} paths, such as {some}" if len(paths) > 1 else some


def _rows_of(ids: Sequence[str], paths: Sequence[str]) -> list[int]:
    """Return the row of each image."""
    row = {normpath(path): i for i, path in enumerate(paths)}
    named = [normpath(one) for one in ids]
    for name, one, two in (("labels", named, row), ("images", row, set(named))):
        missing = [path for path in one if path not in two]
        if missing:
            there = f", and {shown(next(iter(two)))}" if two else ""
            raise InputError(
                f"{name} lacks {_some(missing)}{there} is there: write paths alike, or pass the folder that they "
                "start from"
            )
    return [row[one] for one in named]


def _taken(column: Array, rows: list[int]) -> Array:
    return column.take(rows) if isinstance(column, (pa.Array, pa.ChunkedArray)) else [column[row] for row in rows]


def listed(column: Array) -> list[Any]:
    """Return a column as a list; nothing for none."""
    return [] if column is None else list(column.to_pylist() if hasattr(column, "to_pylist") else column)


# --- a folder, by path ----------------------------------------------------------------------------------------------


def _of_folder(root: Path, paths: Sequence[str], allow_outside: bool) -> FileSource:
    """The images that a table names; others that the folder holds are left alone."""
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: pass the folder that the paths of the images start from")
    if not allow_outside:
        _refuse_outside(root, paths)
    tried = np.unique(np.linspace(0, len(paths) - 1, min(TRIED, len(paths))).astype(int))
    if len(paths) and not any(_is_file(root, paths[row]) for row in tried):
        raise InputError(
            f"no file {shown(paths[0])} under {root}, nor any other that was tried: {_why(root, paths[0])}"
        )
    return FileSource([root / path for path in paths], [printable(path) for path in paths])


def _refuse_outside(root: Path, paths: Sequence[str]) -> None:
    roots = tuple(f"{one}".rstrip("/") + "/" for one in (root.absolute(), root.resolve()))
    for row, path in enumerate(paths):
        if path.startswith("/") or ".." in path:
            meant = normpath(path)
            inside = meant.startswith(roots) if meant.startswith("/") else meant.split("/")[0] != ".."
            if not inside:
                raise InputError(
                    f"{shown(path)} in row {row} lies outside {root}: correct it, or allow that (--allow-outside, "
                    "allow_outside=True)"
                )


def _is_file(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a null character
        return False


def _why(root: Path, path: str) -> str:
    """Say what is wrong with a path, and what to do."""
    if "://" in path:
        return "it is a URL; download the images, and write their paths from that folder on"
    if "\\" in path:
        return "it has backslashes; write / instead"
    first, _, rest = path.partition("/")
    if rest and (first == root.name or _is_file(root, rest)):
        return f"it begins with {first}/, which the folder's own path ends in; leave that away, or pass {root.parent}"
    for what, spelled in _respelled(path):
        if _is_file(root, spelled):
            return f"there is {shown(spelled)}, of {what}; write it alike"
    with os.scandir(root) as entries:
        held = sorted(shown(entry.name) for entry in islice(entries, 3))
    return f"the folder holds {', '.join(held) or 'nothing'}; write paths from it on"


def _respelled(path: str) -> Iterator[tuple[str, str]]:
    forms: list[Callable[[str], str]] = [str.lower, str.upper, str.title]
    stem, dot, suffix = path.rpartition(".")
    if dot and "/" not in suffix:
        yield from (("another case", f"{stem}.{form(suffix)}") for form in forms)
    yield from (("another case", form(path)) for form in forms)
    yield from (("another Unicode form", unicodedata.normalize(form, path)) for form in ("NFC", "NFD"))
    yield from (("a suffix", path + own) for suffix in suffixes() for own in (suffix, suffix.upper()))
