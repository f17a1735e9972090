"""A model's answers beside the labels: what scores say of each image, the caller's own or a model's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import ROWS_AT_ONCE, is_array, to_numpy
from fdgpu.auditing.columns.class_names import (
    ClassNames,
    Columns,
    Outputs,
    given_classes,
    key_of,
    match_classes,
    shown_name,
)
from fdgpu.auditing.columns.conditions import UNKNOWN, has_conditions
from fdgpu.auditing.columns.one_column import Column
from fdgpu.checks import shown
from fdgpu.embedding.classifier import Answered, AnswerPart, Answers, Classifier
from fdgpu.embedding.loading import ImageBatch, View
from fdgpu.errors import InputError
from fdgpu.findings import AskedModel
from fdgpu.fingerprint import weights_digest
from fdgpu.networks import dtype_of

NO_ANSWER = "the model's scores of it are not finite"


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
    how = "" if found.were_probabilities else ": probabilities are their softmax"
    note = f"Scores of {k} classes are {_kind(found)}{how}."
    return ReadScores(names, found.prediction, found.confidence, found.true_probability, note)


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
        self._true: NDArray[Any] = np.empty(0, np.int64)
        self._answers = Answers()
        self._found: Answered | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Tell the classifier from others: by its weights and its preprocessing."""
        return sha256(f"{self._weights} {self._preprocessing}".encode()).hexdigest()

    @cached_property
    def _weights(self) -> str:
        return weights_digest({"model": self.classifier.model})

    @property
    def _preprocessing(self) -> str:
        if self.view is self.classifier.view:
            return self.classifier.preprocessing
        return "by the source of the images" if self.view.function is None else "none: pixels as they are"

    def take(self, inputs: Tensor, batch: ImageBatch, rows: Sequence[int]) -> AnswerPart:
        """Answer the images of a batch that were read; nothing is waited for.

        Raises:
            InputError: for a label that is missing or none of the outputs, or another number of scores than of classes.
        """
        true = self.true(batch.labels, rows, batch.read, batch.ids)
        if not batch.read:
            return AnswerPart.of(None, (), true)
        scores = self.classifier.answer(inputs)
        k = scores.shape[1]
        self.outputs.check(k)
        several = true.ndim == 2
        fits = true.shape[1:] == (k,) if several else true.max() < k
        if not fits:
            said = f"{true.shape[-1]} conditions an image" if several else f"the class id {true.max()}"
            raise InputError(
                f"labels hold {said}, and {self.outputs.model} gives {k} scores: pass labels of its classes"
            )
        return AnswerPart.of(scores, batch.read, true)

    def true(
        self, labels: Sequence[object], rows: Sequence[int], read: Sequence[int], ids: Sequence[str]
    ) -> NDArray[Any]:
        """Return the true column of images, or which of their conditions hold.

        Args:
            labels: that came with the images; those that were given go before.
            rows: of the images in the source.
            read: which of them were read.
            ids: of them.
        """
        if self._labels is None:
            own: Sequence[object] = filled(labels, read, ids)
        elif len(rows) and max(rows) >= len(self._labels):
            raise InputError(f"images gives more pictures than labels has entries, {len(self._labels)}: pass one each")
        else:
            own = [self._labels[row] for row in rows]
        if has_conditions(own):
            return np.array([to_numpy(label, "a label") for label in own])
        return self.outputs.columns_of(own)

    def complete(self, parts: Sequence[AnswerPart]) -> None:
        """Be told what was said of all images, in their order."""
        if parts:
            every = AnswerPart.joined(parts)
            self._answers, self._true = Answers(every), every.true
            if every.outputs and not self.classifier.outputs:  # it was asked in another run
                self.outputs.check(every.outputs)
                self.classifier.outputs = every.outputs

    def finish(self) -> AnsweredColumns:
        """Bring the answers down, for which the host waits once.

        Raises:
            InputError: if no image has an answer.
        """
        found = self._found = self._answers.finish()
        name, kind, labels = self.outputs.model, _kind(found), self._true
        read = found.prediction >= 0
        if read.any() and not found.usable.any():
            raise InputError(
                f"{name} gives NaN or infinity for all {read.sum()} images that were read: check its weights and its "
                "preprocessing, or run it in float32"
            )
        answered = found.usable
        skipped = dict.fromkeys(np.flatnonzero(read & ~answered).tolist(), NO_ANSWER)
        if labels.ndim == 2:
            every = np.zeros(labels.shape)
            if found.each is not None:
                every[answered] = found.each[answered]
            labels = np.where(answered[:, None], labels, UNKNOWN)
            how = "" if found.were_probabilities else ": probabilities are their sigmoid"
            note = f"{name} gives {kind} of each condition by itself{how}."
            return AnsweredColumns(labels, every, None, None, self.outputs.names, skipped, note)
        occurring = np.union1d(labels, found.prediction[answered])
        predictions = np.where(labels == occurring[0], occurring[-1], occurring[0])  # wrong, where there is no answer
        predictions[answered] = found.prediction[answered]
        confidence, true_probability = np.zeros((2, len(labels)))
        confidence[answered] = found.confidence[answered]
        true_probability[answered] = found.true_probability[answered]
        own = self.outputs.names or [str(column) for column in range(self.classifier.outputs or 0)]
        names = {int(column): shown_name(own[column]) for column in occurring}
        how = "" if found.were_probabilities else ": probabilities are their softmax"
        return AnsweredColumns(
            labels, predictions, confidence, true_probability, names, skipped, f"{name} gives {kind}{how}."
        )

    def asked(self) -> AskedModel:
        """Say which model gave the answers, and how, for the record."""
        return AskedModel(
            name=self.classifier.name,
            preprocessing=self._preprocessing,
            outputs=self.classifier.outputs or 0,
            scores="" if self._found is None else _kind(self._found),
            device=str(self.classifier.device),
            precision=str(dtype_of(self.classifier.model)).removeprefix("torch."),
            fingerprint=self._weights,
        )


def _kind(found: Answered) -> str:
    return "probabilities" if found.were_probabilities else "logits"
