"""Which classes labels, predictions and a model's outputs speak of: all as ids into one list of names.

Equal numbers are one class, however they are written: ``3``, ``3.0``, ``"03"`` and a printed ``tensor(3)``.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.auditing.columns.one_column import LONGEST_NAME, Column, as_column
from fdgpu.captions.recipe import bundled_folder, distinct_names
from fdgpu.checks import SHOWN, shown
from fdgpu.embedding.classifier import Classifier
from fdgpu.errors import InputError
from fdgpu.files import read_text_file

MOST_CLASSES = 1_000_000  # a larger id is a hash or a timestamp
LARGEST_FILE = 1 << 26  # bytes of class names
MANY_ROWS = 20  # from here on, a label for every second row is no class
MOST_SPELLINGS = 5  # in a doubt
NEVER_RIGHT = (
    "No prediction is right: labels and predictions may be in different orders, or number the classes differently. "
    "Give both by path, and compare a few by eye."
)
NUMBER = re.compile(r"([+-]?)0*(\d+)(?:\.0*)?")  # a whole one
PRINTED = re.compile(
    r"(?:tensor|array|(?:np\.|numpy\.)?u?(?:int|float)\d+)\(\[?([^()\[\],]*)\]?(?:,\s*(?:device|dtype)=[^()]*)?\)|"
    r"\[([^()\[\],]*)\]"
)  # a number as a library shows it
SEVERAL = re.compile(
    r"(?:(?:tensor|array)\()?[\[(]+\s*[-+]?[\d.][-+\d.eE]*[,;\s][-+\d.eE,;\s\[\]]*[\])].*", re.DOTALL
)  # a printed row of scores
ClassNames = Sequence[str] | Mapping[Any, Any]

FEW = 3  # names in an error
Columns = NDArray[np.int64]  # of a model's outputs


@dataclass(frozen=True)
class MatchedClasses:
    """Classes in the order of their ids, as given and made distinct, (n,) ids of both columns, and doubts."""

    given: tuple[str, ...]
    distinct: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    doubts: tuple[str, ...]


def read_class_names(path: Path) -> list[str]:
    """Read a text file with one class name a line, in the order of their ids.

    Raises:
        InputError: if it is no file, no text, too large, or has an empty line, which would shift what follows.
    """
    text = read_text_file(path, LARGEST_FILE, "a text file with one class name a line")
    names = [line.strip() for line in text.rstrip().splitlines()]
    if "" in names:
        raise InputError(f"{path}, line {names.index('') + 1} is empty: every line names the class of its number")
    if not names:
        raise InputError(f"{path} is empty: write one class name a line")
    return names


# --- both columns against the classes -------------------------------------------------------------------------------


def match_classes(labels: Column, predictions: Column, class_names: ClassNames | None) -> MatchedClasses:
    """Return both columns as ids of the same classes.

    Args:
        labels: (n,) names or ids.
        predictions: (n,) likewise.
        class_names: every class in the order of its id, a mapping of id to name, whose ids need not be without gaps, or
            one of name to id; by default the names that occur, or every id up to the largest.

    Raises:
        InputError: if an entry is no class, or the columns do not speak of the same classes: names against ids, scores
            instead of classes, a label for every row, or no entry in common.
    """
    for column in (labels, predictions):
        _refuse_scores(column)
    if class_names is None:
        _refuse_no_classes(labels)
        ids, given = _classes_that_occur(labels, predictions)
        _refuse_strangers(labels, predictions)
        distinct = given
    else:
        ids, given = given_classes(class_names)
        distinct = tuple(distinct_names(given, [(own,) for own in ids]))
    if not given:
        raise InputError("labels is empty: there is nothing to audit")
    known = _Known(ids, given, distinct)
    true, predicted = known.ids_of(labels), known.ids_of(predictions)
    doubts = (
        *_spelled_twice(labels, predictions),
        *(_never_labels(labels, predictions) if class_names is None else ()),
        *(() if (true == predicted).any() else (NEVER_RIGHT,)),
    )
    return MatchedClasses(given, distinct, true, predicted, doubts)


def key_of(entry: str | int) -> str:
    """Return what equal entries share: for a whole number its digits, else the entry itself."""
    if not isinstance(entry, str):
        return str(entry)
    printed = PRINTED.fullmatch(entry.strip())
    number = NUMBER.fullmatch((printed[1] or printed[2] if printed else entry).strip())
    if number is None:
        return entry
    return "-" * (number[1] == "-" and number[2] != "0") + number[2]


def _is_number(key: str) -> bool:
    return key.removeprefix("-").isdecimal()


def _refuse_scores(column: Column) -> None:
    for i, entry in enumerate(column.entries):
        if isinstance(entry, str) and SEVERAL.fullmatch(entry.strip()):
            raise InputError(
                f"{column.name} holds {shown(entry)} in row {column.row(i)}, which is several numbers: pass one "
                "class an image, of scores the argmax over the classes"
            )


def _refuse_no_classes(labels: Column) -> None:
    if len(labels) >= MANY_ROWS and len(labels.entries) > len(labels) / 2:
        raise InputError(
            f"labels holds {len(labels.entries)} different values in {len(labels)} rows, such as "
            f"{_some(labels)}: these are no classes, of which each needs many images. Pass classes, or class_names if "
            "they are"
        )


def _refuse_strangers(labels: Column, predictions: Column) -> None:
    true, predicted = ({key_of(entry) for entry in column.entries} for column in (labels, predictions))
    if not true or not predicted or true & predicted:
        return
    kinds = [{_is_number(key) for key in keys} for keys in (true, predicted)]
    what = (
        "are of different kinds" if len(kinds[0]) == len(kinds[1]) == 1 and kinds[0] != kinds[1] else "share no class"
    )
    raise InputError(
        f"labels and predictions {what}: labels holds {_some(labels)}, predictions {_some(predictions)}. Pass both as "
        "names or both as ids, spelled alike; or pass class_names"
    )


def _some(column: Column) -> str:
    """Return the entries that most rows hold."""
    often = np.argsort(-column.count(), kind="stable")[:3]
    return ", ".join(shown(e) if isinstance(e := column.entries[i], str) else str(e) for i in often)


def _classes_that_occur(labels: Column, predictions: Column) -> tuple[list[str], tuple[str, ...]]:
    """Return keys and names; numbers are ordered as numbers, so that class 10 comes after class 9.

    Where a column was given as numbers, they count: every id up to the largest is a class.
    """
    spelled: dict[str, set[str]] = {}
    for column in (labels, predictions):
        own: dict[str, set[str]] = {}
        for entry in column.entries:
            own.setdefault(key_of(entry), set()).add(str(entry))
        spelled = own | spelled  # as the labels spell it
    if (labels.of_numbers or predictions.of_numbers) and all(map(_is_number, spelled)):
        low, high = (one(map(int, spelled)) for one in (min, max))
        if low < 0:
            raise InputError(f"labels or predictions hold {low}: class ids count from 0")
        if high >= MOST_CLASSES:
            raise InputError(
                f"labels or predictions hold the class id {str(high)[:SHOWN]}: ids count from 0, without gaps"
            )
        keys = [str(i) for i in range(high + 1)]
        return keys, tuple(keys)
    keys = sorted(spelled, key=lambda key: (0, int(key), key) if key.isdecimal() else (1, 0, key))
    names = ({name for name in spelled[key] if not _is_number(key) or name.isdecimal()} for key in keys)
    return keys, tuple(own.pop() if len(own) == 1 else key for key, own in zip(keys, names, strict=True))


def given_classes(class_names: ClassNames) -> tuple[list[str], tuple[str, ...]]:
    """Return the ids, as keys, and names of all classes, from a list or a mapping of either direction."""
    pairs = _by_id(class_names) if isinstance(class_names, Mapping) else None
    column = as_column([name for _, name in pairs] if pairs is not None else class_names, "class_names")
    if not len(column):
        raise InputError("class_names is empty: name every class in the order of its id")
    ids = range(len(column)) if pairs is None else [own for own, _ in pairs]
    return list(map(str, ids)), tuple(str(column.entries[code]) for code in column.codes)


def _by_id(class_names: Mapping[Any, Any]) -> list[tuple[int, Any]]:
    """Return (id, name) in the order of the ids, from a mapping of either direction."""
    pairs = list(class_names.items())
    if pairs and all(isinstance(own, str) and _is_id(other) and not isinstance(other, str) for own, other in pairs):
        pairs = [(other, own) for own, other in pairs]
    if not all(_is_id(own) and isinstance(name, str) for own, name in pairs):
        raise InputError(
            "class_names maps neither whole numbers to names nor names to whole numbers: pass one of these"
        )
    named = {int(key_of(own)): name for own, name in pairs}
    if len(named) < len(pairs):
        raise InputError("class_names gives several names the same id: give every class one of its own")
    return sorted(named.items())


def _is_id(own: object) -> bool:
    if isinstance(own, str):
        return len(own) <= LONGEST_NAME and _is_number(key_of(own))
    return isinstance(own, (int, np.integer)) and not isinstance(own, bool)


class _Known:
    """The classes, to look entries up: by a name as it is written, by an equal number, or by id."""

    def __init__(self, ids: Sequence[str], given: Sequence[str], distinct: Sequence[str]) -> None:
        self.by_id = {own: k for k, own in enumerate(ids)}
        self.by_name = {name: k for names in (given, distinct) for k, name in enumerate(names)}
        alike = Counter(map(key_of, given))
        self.by_key = {key: k for k, key in enumerate(map(key_of, given)) if alike[key] == 1}
        count = Counter(given)
        self.several = {name: [] for name in given if count[name] > 1}  # type: dict[str, list[str]]
        for name, own in zip(given, distinct, strict=True):
            if name in self.several:
                self.several[name].append(own)

    def ids_of(self, column: Column) -> NDArray[np.int64]:
        """Return the id of every row; numbers count where they are given as such, or where none of them is a name."""
        keys = [key_of(entry) for entry in column.entries]
        ids = [-1 if isinstance(entry, int) else self._named(column, i) for i, entry in enumerate(column.entries)]
        if all(k < 0 for k in ids) and all(map(_is_number, keys)):
            ids = [self.by_id.get(key, -1) for key in keys]
        found = np.array(ids, np.int64)
        if (found < 0).any():
            self._refuse(column, found)
        return found[column.codes]

    def _named(self, column: Column, i: int) -> int:
        name = str(column.entries[i])
        if name in self.several:
            raise InputError(
                f"{column.name} holds {shown(name)} in row {column.row(i)}, the name of {len(self.several[name])} "
                f"classes: pass class ids, or call them {' and '.join(self.several[name])}"
            )
        return self.by_name.get(name, self.by_key.get(key_of(name), -1))

    def _refuse(self, column: Column, found: NDArray[np.int64]) -> NoReturn:
        i = min(np.flatnonzero(found < 0).tolist(), key=column.row)
        name, rows = str(column.entries[i]), int(column.count()[found < 0].sum())
        said = name[:SHOWN] if name.isprintable() else shown(name)
        near = next((own for own in self.by_name if folded(own) == folded(name)), None)
        raise InputError(
            f"{column.name} holds {said} in row {column.row(i)} ({rows} such rows), which is not one of the "
            f"{len(self.by_id)} classes: "
            + (f"is {shown(near)} meant?" if near else "correct it, or complete class_names")
        )


# --- doubts ---------------------------------------------------------------------------------------------------------


def folded(name: str) -> str:
    """Return what near misses of a name share: case, accents' encoding, "_", "-" and spaces do not count."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold())


def _spelled_twice(labels: Column, predictions: Column) -> list[str]:
    """Doubt names that only differ in what :func:`folded` takes away, where one of them is in one column only."""
    counts = _counts(labels, predictions)
    alike: dict[str, list[str]] = {}
    for key in counts:
        if not _is_number(key) and folded(key):
            alike.setdefault(folded(key), []).append(key)
    odd = [keys for keys in alike.values() if len(keys) > 1 and any(0 in counts[key] for key in keys)]
    odd.sort(key=lambda keys: -sum(sum(counts[key]) for key in keys if 0 in counts[key]))
    if not odd:
        return []
    rows = sum(sum(counts[key]) for keys in odd for key in keys if 0 in counts[key])
    said = [
        " and ".join(f"{shown(key)} (label of {counts[key][0]}, predicted for {counts[key][1]})" for key in keys[:3])
        for keys in odd[:MOST_SPELLINGS]
    ]
    return [
        f"{rows} entries of labels and predictions have names that are spelled in more than one way, and count as "
        f"different classes: {_listed(said, len(odd), '; ')}. Spell them alike."
    ]


def _never_labels(labels: Column, predictions: Column) -> list[str]:
    """Doubt classes that are predicted and are never a label."""
    counts = _counts(labels, predictions)
    near = {folded(key) for key, (true, _) in counts.items() if true}
    odd = sorted((-own, key) for key, (true, own) in counts.items() if not true and own and folded(key) not in near)
    if not odd:
        return []
    said = [f"{shown(key)} ({-own} times)" for own, key in odd[:MOST_SPELLINGS]]
    return [
        f"{-sum(own for own, _ in odd)} of {len(predictions)} predictions name a class that is never a label: "
        f"{_listed(said, len(odd), ', ')}. That is right where the model knows more classes than the labels; else "
        "correct the names. class_names, a list of all classes, says that they are right."
    ]


def _listed(said: list[str], of: int, between: str) -> str:
    return between.join(said) + (f"{between}and {of - len(said)} more" if of > len(said) else "")


def _counts(labels: Column, predictions: Column) -> dict[str, tuple[int, int]]:
    """Return how often each key is a label, and is predicted."""
    counts: dict[str, tuple[int, int]] = {}
    for place, column in enumerate((labels, predictions)):
        for entry, rows in zip(column.entries, column.count().tolist(), strict=True):
            true, predicted = counts.get(key_of(entry), (0, 0))
            counts[key_of(entry)] = (true + rows, predicted) if place == 0 else (true, predicted + rows)
    return counts


# --- a model's outputs -----------------------------------------------------------------------------------------------


class Outputs:
    """What a model's outputs are called, by which labels find theirs: never by their position among the names alone.

    ImageNet's classes go by their names and by their WordNet ids.

    Args:
        classifier: the model.
        label_names: of labels that are whole numbers, in the order of these; of the outputs too where the model names
            none.
        by_folder: label names are the sorted folders of classes, which the outputs of a model without names are taken
            for, with a doubt.

    Attributes:
        names: of the outputs; None where nobody says.
        doubts: sentences: what could make labels find the wrong outputs.
    """

    def __init__(self, classifier: Classifier, label_names: ClassNames | None = None, by_folder: bool = False) -> None:
        self.model = classifier.name
        self._label_names: dict[str, str] = {}
        given: tuple[str, ...] = ()
        if label_names is not None:
            ids, given = given_classes(label_names)
            self._label_names = dict(zip(ids, given, strict=True))
        own = classifier.class_names
        self.names = own if own is not None else given or None
        self.doubts: tuple[str, ...] = ()
        if own is None and given:
            if list(self._label_names) != [str(column) for column in range(len(given))]:
                raise InputError(
                    f"class_names numbers {len(given)} classes with gaps, and {self.model} does not name its outputs: "
                    "name every output in its order"
                )
            if by_folder:
                self.doubts = (
                    f"{self.model} does not name its outputs: they were taken for the folders of classes in sorted "
                    f"order, {_few(given)}, as ImageFolder numbers them. If it was trained in another order, every "
                    "number here is wrong. Pass class_names in the order of the outputs.",
                )
        self._columns = _by_every_name(self.names or ())
        self._known: dict[int | str, int] = {}

    def check(self, k: int) -> None:
        """Raise an InputError unless a model that gives k scores an image gives one for each name."""
        if self.names is not None and k != len(self.names):
            raise InputError(
                f"{self.model} gives {k} scores an image, and there are {len(self.names)} classes "
                f"({_few(self.names)}): pass class_names of its outputs in their order, or the model of these classes"
            )

    def columns_of(self, labels: Sequence[object]) -> Columns:
        """Return the column of each label, (b,).

        Raises:
            InputError: for a label that is none of the outputs.
        """
        return np.fromiter(map(self._column_of, labels), np.int64, len(labels))

    def _column_of(self, label: object) -> int:
        own = label.tolist() if isinstance(label, (np.generic, np.ndarray, Tensor)) else label
        if isinstance(own, bool) or not isinstance(own, (int, str)):
            raise InputError(f"a label is {shown(label)}: it has to be a class name or a whole number")
        if own not in self._known:
            self._known[own] = self._found(own)
        return self._known[own]

    def _found(self, label: int | str) -> int:
        name = self._label_names.get(str(label)) if isinstance(label, int) else label
        if name is None and not self._label_names and isinstance(label, int) and label >= 0:
            if self.names is None or label < len(self.names):
                return label
        elif name is not None:
            column = next((self._columns[key] for key in _keys(name) if key in self._columns), None)
            if column is not None:
                return column
        said = shown(label) if name in (None, label) else f"{label} ({shown(name)})"
        if self.names is None:
            raise InputError(
                f"labels hold {said}, and {self.model} does not say what its outputs are: pass class_names in the "
                "order of its outputs"
            )
        raise InputError(
            f"labels hold {said}, which is none of the {len(self.names)} outputs of {self.model} "
            f"({_few(self.names)}): write labels as the model's classes are called, or pass a classifier with "
            "class_names of its own"
        )


def _by_every_name(names: Sequence[str]) -> dict[str, int]:
    """Return the column of each name, and of each other way to write it that is no other column's."""
    exact = {name: column for column, name in enumerate(names)}
    others = [(key, column) for column, name in enumerate(names) for key in _keys(name)[1:] if key not in exact]
    count = Counter(key for key, _ in set(others))
    return exact | {key: column for key, column in others if count[key] == 1}


@cache
def _imagenet() -> dict[str, str]:
    """Return ImageNet's class names by WordNet id."""
    with (bundled_folder() / "imagenet_classes.csv").open(encoding="utf-8") as stream:
        return {row["also"].partition(";")[0]: row["name"] for row in csv.DictReader(stream)}  # the first is the id


@cache
def _wordnet_ids() -> dict[str, str]:
    return {folded(name): own for own, name in _imagenet().items()}


def _keys(name: str) -> tuple[str, ...]:
    """Return all ways to write a class: itself first, then ImageNet's other name, without synonyms, without case."""
    alike = (name, shown_name(name), name.partition(",")[0].strip())
    ids = (_wordnet_ids().get(folded(one)) for one in alike)
    return tuple(dict.fromkeys(key for key in (*alike, *ids, *map(folded, alike)) if key))


def shown_name(name: str) -> str:
    """Return a class's name; of a WordNet id the name that ImageNet gives it."""
    return _imagenet().get(name, name)


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:FEW])) + (", …" if len(names) > FEW else "")
