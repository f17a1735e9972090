"""A model's answers beside the labels: which of its outputs each label is, and what it said of each image."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import ROWS_AT_ONCE, is_array, to_numpy
from fdgpu.auditing.class_names import ClassNames, folded, given_classes, key_of, match_classes
from fdgpu.auditing.conditions import UNKNOWN, has_conditions
from fdgpu.auditing.one_column import Column
from fdgpu.captions.recipe import bundled_folder
from fdgpu.checks import shown
from fdgpu.embedding.classifier import Answers, Classifier
from fdgpu.embedding.loading import ImageBatch, View
from fdgpu.errors import InputError

FEW = 3  # names in an error
NO_ANSWER = "the model's scores of it are not finite"

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
        return {row["also"]: row["name"] for row in csv.DictReader(stream)}


@cache
def _wordnet_ids() -> dict[str, str]:
    return {folded(name): own for own, name in _imagenet().items()}


def _keys(name: str) -> tuple[str, ...]:
    """Return all ways to write a class: itself first, then ImageNet's other name, without synonyms, without case."""
    alike = (name, _shown_name(name), name.partition(",")[0].strip())
    ids = (_wordnet_ids().get(folded(one)) for one in alike)
    return tuple(dict.fromkeys(key for key in (*alike, *ids, *map(folded, alike)) if key))


def _shown_name(name: str) -> str:
    """Return a class's name; of a WordNet id the name that ImageNet gives it."""
    return _imagenet().get(name, name)


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:FEW])) + (", …" if len(names) > FEW else "")


def filled(labels: Sequence[object], read: Sequence[int], ids: Sequence[str]) -> list[object]:
    """Return labels that came with images; of an image that cannot be read, and has none, any: nothing counts it.

    Raises:
        InputError: for an image that was read, and has no label.
    """
    if not any(label is None for label in labels):
        return list(labels)
    missing = [ids[row] for row in read if labels[row] is None]
    known = next((label for label in labels if label is not None), None)
    if missing or known is None:
        own = missing[0] if missing else ids[0]
        raise InputError(f"images gives no label for {shown(own)}: pass labels, or pairs (image, label)")
    return [known if label is None else label for label in labels]


# --- scores that the caller has ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReadScores:
    """What scores (n, k) say: the class of each column, what was predicted, and how probable it and the truth are."""

    class_names: ClassNames
    predictions: Columns
    confidence: NDArray[np.float64]
    true_probability: NDArray[np.float64]
    note: str


def read_scores(scores: Tensor, labels: Column, class_names: ClassNames | None) -> ReadScores:
    """Read the caller's own scores, logits or probabilities, one column a class in the order of their ids.

    Args:
        scores: (n, k), on any device.
        labels: (n,) true classes.
        class_names: of the columns, by id; None where labels are ids.

    Raises:
        InputError: for another number of columns than of classes, labels that are names without ``class_names``, or a
            row that is not finite.
    """
    n, k = scores.shape
    if n != len(labels):
        raise InputError(f"predictions has {n} entries, labels has {len(labels)}: pass one entry an image")
    if class_names is None and not all(key_of(entry).isdecimal() for entry in labels.entries):
        raise InputError(
            f"predictions holds scores of {k} classes, and labels names, such as {shown(labels.entries[0])}: pass "
            "class_names, the classes in the order of the columns"
        )
    names: ClassNames = [str(column) for column in range(k)] if class_names is None else class_names
    ids = given_classes(names)[0]
    if ids != [str(column) for column in range(k)]:
        raise InputError(
            f"predictions has {k} columns, class_names names {len(ids)} classes: name the class of every column"
        )
    true = match_classes(labels, labels, names).labels
    answers = Answers()
    for start in range(0, n, ROWS_AT_ONCE):
        answers.add(scores[start : start + ROWS_AT_ONCE], true[start : start + ROWS_AT_ONCE])
    found = answers.finish()
    odd = np.flatnonzero(~found.usable)
    if len(odd):
        raise InputError(
            f"predictions holds NaN or infinity in row {odd[0]} ({len(odd)} such rows): see why the model gave them, "
            "or leave these images out"
        )
    kind = "probabilities" if found.were_probabilities else "logits: probabilities are their softmax"
    return ReadScores(
        names, found.prediction, found.confidence, found.true_probability, f"Scores of {k} classes are {kind}."
    )


# --- in one pass with an embedder -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnsweredColumns:
    """Columns of an audit that a model gave, n rows in the order of the images.

    ``labels`` and ``predictions`` (n,) number the model's outputs, and ``class_names`` names those of them that occur.
    An image that was not read, or whose scores are not finite (``skipped``: the reason by row), counts as wrong, with 0
    for both probabilities. Of several conditions an image both are (n, k), ``predictions`` probabilities, such an image
    has no condition that is known, and there are no further columns.
    """

    labels: NDArray[Any]
    predictions: NDArray[Any]
    confidence: NDArray[np.float64] | None
    true_probability: NDArray[np.float64] | None
    class_names: ClassNames | None
    skipped: dict[int, str]
    note: str


class ModelAnswers:
    """Runs a classifier on each image that an embedder sees, which is decoded once for both.

    Args:
        classifier: the model.
        outputs: what its outputs are called.
        labels: (n,) of the images in their order, or (n, k) of several conditions; None where the source gives them.
        view: what the model takes of an image; by default the classifier's own, or what the source has transformed.
    """

    def __init__(
        self,
        classifier: Classifier,
        outputs: Outputs,
        labels: Sequence[object] | None = None,
        view: View | None = None,
    ) -> None:
        self.classifier, self.outputs = classifier, outputs
        self.view = view or classifier.view or View(None)
        self._labels = to_numpy(labels, "labels") if isinstance(labels, Tensor) or is_array(labels) else labels
        self._true: list[NDArray[Any]] = []
        self._read: list[int] = []
        self._n, self._answers = 0, Answers()

    def take(self, inputs: Tensor, batch: ImageBatch) -> None:
        """Answer the images of a batch that were read; nothing is waited for.

        Raises:
            InputError: for a label that is missing or none of the outputs, or another number of scores than of classes.
        """
        labels = self._labels_of(batch)
        several = has_conditions(labels)
        if not self._n:
            self._answers = Answers(keep=several)
        own = np.array([to_numpy(label, "a label") for label in labels]) if several else self.outputs.columns_of(labels)
        if batch.read:
            scores = self.classifier.answer(inputs)
            k = scores.shape[1]
            self.outputs.check(k)
            fits = own.shape[1:] == (k,) if several else own.max() < k
            if not fits:
                said = f"{own.shape[-1]} conditions an image" if several else f"the class id {own.max()}"
                raise InputError(
                    f"labels hold {said}, and {self.outputs.model} gives {k} scores: pass labels of its classes"
                )
            self._answers.add(scores, None if several else own[batch.read])
        self._true.append(own)
        self._read += [self._n + row for row in batch.read]
        self._n += len(batch.ids)

    def _labels_of(self, batch: ImageBatch) -> Sequence[object]:
        if self._labels is not None:
            own: Sequence[object] = self._labels[self._n : self._n + len(batch.ids)]  # type: ignore[assignment]
            if len(own) < len(batch.ids):
                raise InputError(
                    f"images gives more pictures than labels has entries, {len(self._labels)}: pass one each"
                )
            return own
        return filled(batch.labels, batch.read, batch.ids)

    def finish(self) -> AnsweredColumns:
        """Bring the answers down, for which the host waits once.

        Raises:
            InputError: if no image has an answer.
        """
        found, name = self._answers.finish(), self.outputs.model
        labels = np.concatenate(self._true) if self._true else np.empty(0, np.int64)
        read = np.array(self._read, np.int64)
        if len(read) and not found.usable.any():
            raise InputError(
                f"{name} gives NaN or infinity for all {len(read)} images that were read: check its weights and its "
                "preprocessing, or run it in float32"
            )
        answered = read[found.usable]
        skipped = dict.fromkeys(read[~found.usable].tolist(), NO_ANSWER)
        if found.each is not None:
            every = np.zeros(labels.shape)
            every[answered] = found.each[found.usable]
            unknown = np.ones(len(labels), bool)
            unknown[answered] = False
            labels = np.where(unknown[:, None], UNKNOWN, labels)
            note = f"{name} answers for each condition by itself: scores outside of [0, 1] are taken for logits."
            return AnsweredColumns(labels, every, None, None, self.outputs.names, skipped, note)
        k = self.classifier.outputs or 1
        predictions = (labels + 1) % k
        predictions[answered] = found.prediction[found.usable]
        confidence, true_probability = np.zeros((2, len(labels)))
        confidence[answered] = found.confidence[found.usable]
        true_probability[answered] = found.true_probability[found.usable]
        names = self.outputs.names or [str(column) for column in range(k)]
        occurring = {int(column): _shown_name(names[column]) for column in np.union1d(labels, predictions)}
        kind = "probabilities." if found.were_probabilities else "logits: probabilities are their softmax."
        return AnsweredColumns(
            labels, predictions, confidence, true_probability, occurring, skipped, f"{name} gives {kind}"
        )
