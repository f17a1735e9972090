"""Which column of a table holds the images, which their labels, ids and splits: by type, and else by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from fdgpu.checks import shown
from fdgpu.errors import InputError

NAMED = {  # by these names, in any case, columns are told where their types do not tell
    "image": ("image", "img", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path"),
    "label": ("label", "labels", "target", "true_label", "ground_truth", "y_true"),
    "ids": ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image_id", "id", "key"),
    "split": ("split", "subset"),
}


@dataclass(frozen=True)
class Columns:
    """The names of a table's columns; None for one that there is not."""

    image: str
    label: str | None = None
    ids: str | None = None
    split: str | None = None

    @property
    def all(self) -> list[str]:
        """Those that are there, each once."""
        return list(dict.fromkeys(name for name in vars(self).values() if name is not None))


@dataclass(frozen=True)
class Asked:
    """The names of columns that a caller gives; None for one that is to be found."""

    image: str | None = None
    label: str | None = None
    ids: str | None = None
    split: str | None = None

    def found(self, held: Mapping[str, Kind]) -> Columns:
        """Return the columns of a table.

        Raises:
            InputError: for one that is not there, for no column of images or several, or several of labels.
        """
        for what, name in vars(self).items():
            if name is not None and name not in held:
                raise InputError(f"{what} is {shown(name)}, and the table has the columns {_listing(list(held))}")
        image = self.image or _image_column(held)
        return Columns(
            image,
            self.label or _label_column(held),
            self.ids or _first_named(held, "ids", image),
            self.split or _first_named(held, "split", image),
        )


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
