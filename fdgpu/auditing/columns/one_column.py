"""One column of any kind, an array, a sequence, a frame's or pyarrow's: brought to classes, scores or known values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, is_array, to_numpy, to_torch
from fdgpu.checks import shown
from fdgpu.errors import InputError

LONGEST_NAME = 1000  # characters of a class
MOST_VALUES = 100  # of a column of text
MOST_TOGETHER = 2000  # of all columns
LONGEST_VALUE = 100  # characters
FEW_NUMBERS = 10  # different numbers that are values of their own; more are cut at quartiles
QUARTILES = (0.25, 0.5, 0.75)
FEWEST_WRONG = 10  # answers by which a column is known to come from them
UNKNOWN = ("", "nan")  # cells that hold no value
AS_IDS = "it has as many values as images, as ids have"
DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}")
Bools = NDArray[np.bool_]
Value = tuple[str, str]  # the column, and what it holds


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


def has_scores(given: Array) -> bool:
    """Whether answers are scores (n, k), rather than one class an image."""
    if isinstance(given, (pa.Array, pa.ChunkedArray)):
        return is_list(given.type)
    if isinstance(given, (np.ndarray, torch.Tensor)) or is_array(given):
        return given.ndim == 2 and "float" in str(given.dtype)
    first = given[0] if isinstance(given, Sequence) and not isinstance(given, str) and len(given) else None
    return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) == 1


def as_scores(given: Array, name: str) -> torch.Tensor:
    """Return scores (n, k) where they lie: of an array, of n rows, or of a column of lists.

    Raises:
        InputError: for rows of several lengths, without values, or fewer than two scores a row.
    """
    if isinstance(given, (pa.Array, pa.ChunkedArray)):
        given = _of_lists(given, name)
    elif isinstance(given, Sequence) and all(isinstance(row, torch.Tensor) and row.ndim == 1 for row in given):
        _same_width([len(row) for row in given], name)
        given = torch.stack(list(given))  # where they lie
    elif isinstance(given, Sequence):
        rows = [to_numpy(row, f"{name}, row {i}") for i, row in enumerate(given)]
        _same_width([len(row) if row.ndim else 0 for row in rows], name)
        given = np.stack(rows)
    scores = to_torch(given, name)
    if scores.ndim != 2 or scores.shape[1] < 2 or not scores.is_floating_point():
        raise InputError(
            f"{name} has shape {tuple(scores.shape)} and type {scores.dtype}: pass (n,) classes, or (n, k) scores as "
            "floating-point numbers, one a class"
        )
    return scores


def _of_lists(column: pa.Array, name: str) -> NDArray[Any]:
    parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    lengths = np.concatenate([pc.list_value_length(part).fill_null(0).to_numpy(zero_copy_only=False) for part in parts])
    _same_width(lengths, name)
    values = [pc.list_flatten(part).cast(pa.float64()).fill_null(float("nan")).to_numpy() for part in parts]
    return np.concatenate(values).reshape(len(lengths), -1)


def _same_width(lengths: Sequence[int] | NDArray[Any], name: str) -> None:
    odd = np.flatnonzero(np.asarray(lengths) != lengths[0]) if len(lengths) else np.empty(0, np.int64)
    if len(odd):
        raise InputError(
            f"{name} has {lengths[odd[0]]} scores in row {odd[0]} and {lengths[0]} in row 0: pass one a class in each"
        )


def is_list(kind: pa.DataType) -> bool:
    """Whether a type of pyarrow holds a list a row."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def of_entries(entries: Sequence[Any] | NDArray[Any]) -> pa.Array:
    """Return values of any kind as an array of pyarrow, null where there is none; where they are mixed, their words."""
    try:
        return pa.array(entries, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        plain = [one.tolist() if isinstance(one, torch.Tensor) else one for one in entries]
    try:
        return pa.array(plain, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError):
        return pa.array([None if _is_missing(one) else str(one) for one in plain], pa.string())


def _is_missing(entry: object) -> bool:
    nan = isinstance(entry, (float, np.floating)) and math.isnan(entry)
    return entry is None or nan or type(entry).__name__ in ("NAType", "NaTType")


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


def _of_arrow(given: pa.Array, name: str) -> Column:
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
            what = "no value" if _is_missing(entry) else f"{shown(entry)} of type {type(entry).__name__}"
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
    most = LONGEST_NAME
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


# --- what else is known of images ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownColumns:
    """What is known of n images: V values, and which image has which.

    Attributes:
        values: (V,) column and value.
        members: (n, V) bool; an image has at most one value of a column, and any number of its tags.
        left_out: columns that are not tested → why.
    """

    values: tuple[Value, ...]
    members: Bools
    left_out: Mapping[str, str] = field(default_factory=dict)

    def without_answers(self, wrong: Bools) -> KnownColumns:
        """Leave out columns that tell right from wrong of every image: they come of the answers themselves.

        Args:
            wrong: (n,) bool.
        """
        names = np.array([name for name, _ in self.values])
        left_out, kept = dict(self.left_out), np.ones(len(names), bool)
        for name in dict.fromkeys(names.tolist()):
            own = self.members[:, names == name]
            told, said = own.any(axis=1), (own & wrong[:, None]).any(axis=0)
            pure = not (own & ~wrong[:, None])[:, said].any()
            if pure and (told & wrong).sum() >= FEWEST_WRONG and (told & ~wrong).any() and told.all():
                left_out[name], kept[names == name] = (
                    "it tells right from wrong of every image: it is the answer",
                    False,
                )
        values = tuple(value for value, keep in zip(self.values, kept, strict=True) if keep)
        return KnownColumns(values, self.members[:, kept], left_out)


def read_known(given: Mapping[str, Array], n: int, unknown: bool = False) -> KnownColumns:
    """Bring columns to their values. Numbers are cut at quartiles where there are more than ten different ones.

    Args:
        given: a name → (n,) values of any kind.
        n: images.
        unknown: whether "unknown" is a value.

    Raises:
        InputError: for a column of another length, or of no kind that is known.

    Example:
        >>> known = read_known({"camera": ["A", "B", "A", ""], "row": [1, 2, 3, 4]}, 4)
        >>> known.values, known.left_out
        ((('camera', 'A'), ('camera', 'B')), {'row': 'it has as many values as images, as ids have'})
    """
    values: list[Value] = []
    members: list[Bools] = []
    left_out: dict[str, str] = {}
    for name, column in given.items():
        own, why = _values_of(_as_arrow(column, f"slices, the column {shown(name)}", n))
        if unknown and own:
            known = np.logical_or.reduce([inside for _, inside in own])
            own += [("unknown", ~known)] if not known.all() else []
        if not why and len(own) == 1 and own[0][1].all():
            why = "it has one value only"
        if not why and len(values) + len(own) > MOST_TOGETHER:
            why = f"columns before it have {len(values)} values, and at most {MOST_TOGETHER} are tested"
        if why:
            left_out[name] = why
            continue
        values += [(name, value) for value, _ in own]
        members += [inside for _, inside in own]
    return KnownColumns(tuple(values), np.stack(members, axis=1) if members else np.zeros((n, 0), bool), left_out)


Read = tuple[list[tuple[str, Bools]], str]  # values and who has them, or why the column is left out


def _as_arrow(given: Array, what: str, n: int) -> pa.Array:
    """Return a column of any kind as one array of pyarrow, null where nothing is known."""
    if isinstance(given, (pa.Array, pa.ChunkedArray)):
        column = given
    elif isinstance(given, (torch.Tensor, np.ndarray)) or is_array(given):
        if given.ndim != 1:
            raise InputError(f"{what}, has shape {tuple(given.shape)}: pass (n,) values, one an image")
        listed = isinstance(given, np.ma.MaskedArray) or (isinstance(given, np.ndarray) and given.dtype.kind == "O")
        column = of_entries(given.tolist() if listed else to_numpy(given, what))
    elif isinstance(given, (str, bytes, Mapping)) or not hasattr(given, "__iter__"):
        raise InputError(f"{what}, is {shown(given)}: pass (n,) values, one an image")
    else:
        column = of_entries(list(given))
    if len(column) != n:
        raise InputError(f"{what}, has {len(column)} entries, and there are {n} images: pass one an image")
    one = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(one, pa.ChunkedArray):
        one = pa.concat_arrays(one.unify_dictionaries().chunks) if one.num_chunks else pa.nulls(0)
    return one.dictionary_decode() if pa.types.is_dictionary(one.type) else one


def _values_of(column: pa.Array) -> Read:
    kind = column.type
    if column.null_count == len(column):
        return [], "it has no value"
    if pa.types.is_temporal(kind):
        return [], "it holds dates: pass their year or month"
    if pa.types.is_boolean(kind):
        return _values_of_text(column.cast(pa.string()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _values_of_numbers(column.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False))
    if is_list(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
        return _values_of_tags(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _values_of_text(column.cast(pa.string()))
    return [], f"it is of type {kind}: pass text, numbers or lists of tags"


def _values_of_text(column: pa.Array) -> Read:
    coded = pc.utf8_trim_whitespace(column).dictionary_encode()
    held = coded.dictionary.to_pylist()
    known = [one for one in held if one.casefold() not in UNKNOWN]
    if not known:
        return [], "it has no value"
    codes = coded.indices.fill_null(len(held)).to_numpy(zero_copy_only=False)
    if all(map(_is_number, known)):
        numbers = [float(one) if one.casefold() not in UNKNOWN else np.nan for one in held]
        return _values_of_numbers(np.array([*numbers, np.nan])[codes])
    if all(DATE.fullmatch(one) for one in known):
        return [], "it holds dates: pass their year or month"
    if max(map(len, known)) > LONGEST_VALUE:
        return [], f"it holds text of more than {LONGEST_VALUE} characters"
    told = np.array([one.casefold() not in UNKNOWN for one in held] + [False])
    if len(known) == told[codes].sum() > 1:
        return [], AS_IDS
    if len(known) > MOST_VALUES:
        return [], f"it has {len(known):,} values, and at most {MOST_VALUES} are tested: group them"
    return [(one, codes == held.index(one)) for one in sorted(known)], ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _values_of_numbers(numbers: NDArray[np.float64]) -> Read:
    known = numbers[~np.isnan(numbers)]
    different = np.unique(known)
    if not len(known):
        return [], "it has no value"
    if len(different) == len(known) and len(known) > 1 and bool((known == np.round(known)).all()):
        return [], AS_IDS
    if len(different) <= FEW_NUMBERS:
        return [(f"{one:g}", numbers == one) for one in different], ""
    edges = np.unique(np.quantile(known, QUARTILES, method="lower"))
    return list(_between(numbers, edges[edges > different[0]])), ""


def _between(numbers: NDArray[np.float64], edges: NDArray[np.float64]) -> Iterator[tuple[str, Bools]]:
    bounds = [-np.inf, *edges.tolist(), np.inf]
    for low, high in pairwise(bounds):
        inside = (numbers >= low) & ((numbers < high) if high < np.inf else True)
        if low == -np.inf:
            yield f"below {high:g}", inside
        else:
            yield (f"{low:g} and above" if high == np.inf else f"{low:g} to {high:g}"), inside


def _values_of_tags(column: pa.Array) -> Read:
    parents = pc.list_parent_indices(column).to_numpy(zero_copy_only=False)
    coded = pc.utf8_trim_whitespace(pc.list_flatten(column).cast(pa.string())).dictionary_encode()
    tags, codes = coded.dictionary.to_pylist(), coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    known = sorted(one for one in tags if one.casefold() not in UNKNOWN)
    if not known:
        return [], "it has no value"
    if len(known) > MOST_VALUES:
        return [], f"it has {len(known):,} tags, and at most {MOST_VALUES} are tested: group them"
    inside = np.zeros((len(column), len(tags)), bool)
    inside[parents[codes >= 0], codes[codes >= 0]] = True
    return [(one, inside[:, tags.index(one)]) for one in known], ""
