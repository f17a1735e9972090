"""Further columns of the predictions, such as a camera or a site: which values they hold, and which image has each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, is_array, to_numpy
from fdgpu.auditing.one_column import is_list, of_entries
from fdgpu.auditing.tables import SYNONYMS
from fdgpu.checks import check_flag, check_whole, shown
from fdgpu.errors import InputError

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
class SliceSearch:
    """What is looked through for slices: columns beside the predictions, alone and together.

    Attributes:
        columns: ``"auto"``, every further column of the table of predictions; ``"none"``; names of some of these; or a
            mapping of a name to (n,) values: text, numbers, truth values, or lists of tags. By path, as a mapping of
            path to value, where labels are.
        conjunctions: most values that are taken together, 1 to 3.
        fewest: images of a class that a slice must have among those that are tested.
        unknown: take "unknown" for a value of its own: an empty cell, None or NaN.

    Example:
        >>> SliceSearch(["camera", "site"], conjunctions=2).fewest
        10
    """

    columns: str | Sequence[str] | Mapping[str, Array] = "auto"
    conjunctions: int = 3
    fewest: int = 10
    unknown: bool = False

    def __post_init__(self) -> None:
        check_whole(self.conjunctions, "conjunctions", 1, 3)
        check_whole(self.fewest, "fewest", 2)
        check_flag(self.unknown, "unknown")
        names = self.columns
        if isinstance(names, str):
            if names not in ("auto", "none"):
                raise InputError(f"slices is {shown(names)}: pass 'auto', 'none', or a list of names of columns")
        elif not isinstance(names, (Mapping, Sequence)) or not all(isinstance(one, str) and one for one in names):
            raise InputError(f"slices is {shown(names)}: pass names of columns, or a mapping of a name to (n,) values")
        elif isinstance(names, Mapping) and (ours := next((one for one in names if one in SYNONYMS), None)):
            raise InputError(f"slices holds a column {ours!r}, which is one of ours: call it something else")

    @classmethod
    def of(cls, given: object) -> SliceSearch:
        """Return what an audit was given: a search, or its columns alone."""
        return given if isinstance(given, cls) else cls(given)  # type: ignore[arg-type]  # checked there

    @property
    def values(self) -> Mapping[str, Array]:
        """Columns that were given with their values; none where they are the table's."""
        return self.columns if isinstance(self.columns, Mapping) else {}

    def chosen(self, further: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the columns to look through, of the table's.

        Raises:
            InputError: for a name that the table does not have.
        """
        if isinstance(self.columns, str):
            return further if self.columns == "auto" else {}
        for name in self.columns:
            if name not in further:
                there = ", ".join(map(shown, list(further)[:10])) or "none"
                raise InputError(
                    f"slices names {shown(name)}, and the further columns of the table are {there}: name columns that "
                    "it has, or pass their values as a mapping"
                )
        return {name: further[name] for name in self.columns}


NO_SEARCH = SliceSearch("none")


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
        own, why = _read(_as_arrow(column, f"slices, the column {shown(name)}", n))
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


def _read(column: pa.Array) -> Read:
    kind = column.type
    if column.null_count == len(column):
        return [], "it has no value"
    if pa.types.is_temporal(kind):
        return [], "it holds dates: pass their year or month"
    if pa.types.is_boolean(kind):
        return _of_text(column.cast(pa.string()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _of_numbers(column.cast(pa.float64()).fill_null(float("nan")).to_numpy(zero_copy_only=False))
    if is_list(kind) and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
        return _of_tags(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _of_text(column.cast(pa.string()))
    return [], f"it is of type {kind}: pass text, numbers or lists of tags"


def _of_text(column: pa.Array) -> Read:
    coded = pc.utf8_trim_whitespace(column).dictionary_encode()
    held = coded.dictionary.to_pylist()
    known = [one for one in held if one.casefold() not in UNKNOWN]
    if not known:
        return [], "it has no value"
    codes = coded.indices.fill_null(len(held)).to_numpy(zero_copy_only=False)
    if all(map(_is_number, known)):
        numbers = [float(one) if one.casefold() not in UNKNOWN else np.nan for one in held]
        return _of_numbers(np.array([*numbers, np.nan])[codes])
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


def _of_numbers(numbers: NDArray[np.float64]) -> Read:
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


def _of_tags(column: pa.Array) -> Read:
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
