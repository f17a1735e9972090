"""Which of a model's outputs each label is: by name, and for ImageNet's classes by WordNet id too."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.auditing.class_names import ClassNames, folded, given_classes
from fdgpu.captions.recipe import bundled_folder
from fdgpu.checks import shown
from fdgpu.embedding.classifier import Classifier
from fdgpu.errors import InputError

FEW = 3  # names in an error

Columns = NDArray[np.int64]  # of a model's outputs


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
                    f"order, {_some(given)}, as ImageFolder numbers them. If it was trained in another order, every "
                    "number here is wrong. Pass class_names in the order of the outputs.",
                )
        self._columns = _by_every_name(self.names or ())
        self._known: dict[int | str, int] = {}

    def check(self, k: int) -> None:
        """Raise an InputError unless a model that gives k scores an image gives one for each name."""
        if self.names is not None and k != len(self.names):
            raise InputError(
                f"{self.model} gives {k} scores an image, and there are {len(self.names)} classes "
                f"({_some(self.names)}): pass class_names of its outputs in their order, or the model of these classes"
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
            f"({_some(self.names)}): write labels as the model's classes are called, or pass a classifier with "
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


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:FEW])) + (", …" if len(names) > FEW else "")
