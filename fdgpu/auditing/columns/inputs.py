"""What an audit is of: its arguments, checked before a model is loaded; then its images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fdgpu.arrays import ROWS_AT_ONCE, Array, to_numpy
from fdgpu.auditing.columns.answers import read_scores
from fdgpu.auditing.columns.class_names import ClassNames, MatchedClasses, match_classes
from fdgpu.auditing.columns.conditions import has_conditions, judge_conditions, nouns_without
from fdgpu.auditing.columns.one_column import as_column, as_scores, has_scores
from fdgpu.checks import shown
from fdgpu.directions.groups import check_groups
from fdgpu.directions.samples import disagreement
from fdgpu.errors import InputError
from fdgpu.findings import Condition, Split

ROUNDED = 0.0051  # probabilities may be written with two digits
LEAST_PROBABILITY = 1e-12  # of a true class, whose loss has to be finite
FEWEST_WRONG = 10  # predictions by which a column is known for a copy of another

Rows = NDArray[np.int64]
E = TypeVar("E", bound=np.generic)


@dataclass(frozen=True)
class AuditInputs:
    """Checked arguments: class ids into ``class_names``, split names, confidences in [0, 1].

    An image is one sample, or one for each of ``conditions``. ``splits`` and ``groups`` have an entry an image, n; the
    other columns one a sample, N = n k, image by image. A sample whose condition is not known has a label below 0.

    ``given_names`` are the class names as the caller wrote them, by which recipes know them; in ``class_names`` two of
    the same name are told apart by their ids, so that no table mixes them up. ``groups`` number the images that belong
    together; None where each stands for itself. ``doubts`` are sentences: what could make the report wrong although
    the arguments can be read; ``notes`` say how they were read.
    """

    class_names: tuple[str, ...]
    given_names: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    splits: NDArray[np.str_]
    confidence: NDArray[np.float64] | None
    true_probability: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    doubts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def __len__(self) -> int:
        """How many images."""
        return len(self.splits)

    def image_of(self, samples: Rows) -> Rows:
        """Return the image of each sample."""
        return samples // max(1, len(self.conditions))

    def of_samples(self, column: NDArray[E]) -> NDArray[E]:
        """Spread a column (n,) of the images over their samples, (N,)."""
        return np.repeat(column, max(1, len(self.conditions)))

    def by_image(self, column: NDArray[E]) -> NDArray[E]:
        """Return a column (N, …) of the samples as (n, k, …); without conditions as it is."""
        return column.reshape(len(self), len(self.conditions), *column.shape[1:]) if self.conditions else column

    def label_of(self, image: int) -> str:
        """Return the class of an image, or the conditions that it is known to have."""
        if not self.conditions:
            return self.class_names[int(self.labels[image])]
        there = [
            name
            for name, k in zip(self.class_names[1::2], self.by_image(self.labels)[image], strict=True)
            if k % 2 and k >= 0
        ]
        return ", ".join(there) or "no condition"

    @property
    def nouns(self) -> dict[str, str]:
        """What captions call an image without a condition, by its class: for recipes that do not know it."""
        return nouns_without(self.conditions)

    def condition_of(self, class_id: int) -> Condition | None:
        """Return the condition that a class is a side of."""
        return self.conditions[class_id // 2] if self.conditions else None

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(N,) the model was right."""
        return np.asarray(self.labels == self.predictions)

    def fingerprint(self, ids: Sequence[str], pictures: str) -> str:
        """Return the SHA-256 of everything that was audited, ``pictures`` being the hash of the images."""
        digest = hashlib.sha256()
        texts: tuple[Sequence[str] | NDArray[np.str_], ...] = (self.class_names, ids, self.splits)
        for text in texts:  # of many images a part at a time
            for start in range(0, len(text), ROWS_AT_ONCE):
                digest.update(json.dumps(list(map(str, text[start : start + ROWS_AT_ONCE]))).encode())
        for part in (pictures.encode(), self.labels.tobytes(), self.predictions.tobytes()):
            digest.update(part)
        for column in (self.confidence, self.true_probability, self.groups):
            if column is not None:
                digest.update(column.tobytes())
        return digest.hexdigest()

    def first_split(self, usable: NDArray[np.bool_], *preferred: Split) -> Split:
        """Return the first of the preferred splits that has a usable image; the last, if none has."""
        return next((name for name in preferred if (usable & (self.splits == name)).any()), preferred[-1])


def check_inputs(
    labels: Array,
    predictions: Array,
    class_names: ClassNames | None,
    splits: Array = None,
    confidence: Array = None,
    groups: Array = None,
    true_probability: Array = None,
) -> AuditInputs:
    """Check the columns against each other.

    Args:
        labels: (n,) true classes, as names or as integers that count into ``class_names``; or (n, k) of 0 and 1, see
            :func:`~fdgpu.auditing.columns.conditions.judge_conditions`.
        predictions: (n,) what the model predicted, likewise; or (n, k) scores of every class, logits or probabilities,
            see :func:`~fdgpu.auditing.columns.answers.read_scores`; (n, k) beside labels (n, k).
        class_names: every class in the order of its id, or a mapping of id to name; by default the names that occur, or
            every id up to the largest.
        splits: (n,) of "train", "val" and "test"; None means that every image is for validation.
        confidence: (n,) the model's confidence in its prediction, in [0, 1], or None.
        groups: (n,) ids of images that belong together, or None.
        true_probability: (n,) the model's probability of the true class, in [0, 1], or None; of scores it is computed.

    Raises:
        InputError: names the column, the entry and the remedy.
    """
    if has_conditions(labels):
        given = {"confidence": confidence, "true_probability": true_probability}
        return _of_conditions(labels, predictions, class_names, splits, groups, given)
    true = as_column(labels, "labels")
    notes: tuple[str, ...] = ()
    n = len(true)
    confidence, true_probability = (
        _check_probability(one, name, n)
        for one, name in ((confidence, "confidence"), (true_probability, "true_probability"))
    )
    if has_scores(predictions):
        read = read_scores(as_scores(predictions, "predictions"), true, class_names)
        predictions, class_names, notes = read.predictions, read.class_names, (read.note,)
        confidence = read.confidence if confidence is None else confidence
        true_probability = read.true_probability if true_probability is None else true_probability
    predicted = as_column(predictions, "predictions")
    _same_length(n, "predictions", predicted)
    classes = match_classes(true, predicted, class_names)
    return AuditInputs(
        class_names=classes.distinct,
        given_names=classes.given,
        labels=classes.labels,
        predictions=classes.predictions,
        splits=_check_splits(splits, n),
        confidence=confidence,
        true_probability=true_probability,
        groups=_check_groups(groups, n),
        doubts=(*classes.doubts, *_contradictions(classes, confidence, true_probability)),
        notes=notes,
    )


def _of_conditions(
    labels: Array,
    answers: Array,
    class_names: ClassNames | None,
    splits: Array,
    groups: Array,
    given: Mapping[str, Array],
) -> AuditInputs:
    beside = next((name for name, column in given.items() if column is not None), None)
    if beside is not None:
        raise InputError(f"{beside} is given beside labels (n, k), whose answers say it: leave it out")
    n = len(labels)
    own = _check_splits(splits, n)
    judged = judge_conditions(labels, answers, class_names, own)
    return AuditInputs(splits=own, groups=_check_groups(groups, n), **vars(judged))


def _same_length(n: int, name: str, column: Sized) -> None:
    if len(column) != n:
        raise InputError(f"{name} has {len(column)} entries, labels has {n}: pass one entry an image")


def _check_splits(splits: Array, n: int) -> NDArray[np.str_]:
    if splits is None:
        return np.full(n, str(Split.VAL))
    column = as_column(splits, "splits")
    _same_length(n, "splits", column)
    names = [Split.named(str(entry)) for entry in column.entries]
    for i, name in enumerate(names):
        if name is None:
            entry = shown(str(column.entries[i]))
            raise InputError(f"splits holds {entry} in row {column.row(i)}: use {', '.join(Split)}")
    if Split.VAL not in names:
        raise InputError("no image is in the split 'val': directions are fitted on val, which training must not see")
    return np.array(names, np.str_)[column.codes]


def _check_probability(given: Array, name: str, n: int) -> NDArray[np.float64] | None:
    if given is None:
        return None
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InputError(f"{name} is masked in some rows: leave these images out, or pass no {name}")
    numbers = to_numpy(given, name)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iuf":
        raise InputError(f"{name} has shape {numbers.shape} and type {numbers.dtype}: pass (n,) numbers, one an image")
    _same_length(n, name, numbers)
    values = numbers.astype(np.float64)
    odd = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(odd):
        raise InputError(f"{name} holds {values[odd[0]]} in row {odd[0]}: pass numbers from 0 to 1")
    return values


def loss_of(true_probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -log of probabilities, finite for 0 too."""
    return np.asarray(-np.log(np.maximum(true_probability, LEAST_PROBABILITY)))


def contradiction(
    true_probability: NDArray[np.float64],
    right: NDArray[np.bool_],
    labels: NDArray[np.int64],
    confidence: NDArray[np.float64] | None = None,
) -> str:
    """Say why probabilities (m,) cannot be those of the answers' true classes (m,); nothing where they can be."""
    said, wrong = disagreement(loss_of(true_probability), right, labels), int((~right).sum())
    copied = 0 if confidence is None else int((~right & (confidence == true_probability)).sum())
    if not said and wrong >= FEWEST_WRONG and 2 * copied > wrong:  # where a tie is an exception
        said = f"is the confidence of the prediction for {copied} of {wrong} wrong samples"
    wanted = "pass the probability of the true class, and not that of the predicted one, or leave it out"
    return f"true_probability {said}: {wanted}" if said else ""


def _contradictions(
    classes: MatchedClasses, confidence: NDArray[np.float64] | None, true_probability: NDArray[np.float64] | None
) -> Iterator[str]:
    """Doubt probabilities that do not go together: a model is as sure of what it predicts as of no other class."""
    if true_probability is None:
        return
    right, said = classes.labels == classes.predictions, False
    if confidence is not None:
        for doubt in _apart(right, confidence, true_probability):
            said = True
            yield doubt
    alone = contradiction(true_probability, right, classes.labels, confidence)
    if alone and not said:
        yield f"{alone[0].upper()}{alone[1:]}."


def _apart(
    right: NDArray[np.bool_], confidence: NDArray[np.float64], true_probability: NDArray[np.float64]
) -> Iterator[str]:
    """Doubt two columns of which one is not what it is called."""
    apart = np.abs(confidence - true_probability) > ROUNDED
    beyond = true_probability > confidence + ROUNDED
    for odd, said in (
        (right & apart, "of right predictions, confidence and true_probability differ, which are one probability"),
        (~right & beyond, "of wrong predictions, the true class is more probable than the prediction"),
    ):
        if odd.any():
            row = int(np.argmax(odd))
            yield (
                f"For {int(odd.sum())} {said} (in row {row} {confidence[row]:g} and {true_probability[row]:g}): are "
                "both columns of the model that predicted, and is confidence that of the prediction?"
            )


def _check_groups(groups: Array, n: int) -> NDArray[np.int64] | None:
    """Number the groups; in pyarrow's columns, an image without one is a group of its own."""
    if groups is None:
        return None
    if not isinstance(groups, (pa.Array, pa.ChunkedArray)):
        return check_groups(groups, n)
    _same_length(n, "groups", groups)
    alone = np.asarray(groups.is_null())
    own = as_column(groups.drop_null(), "groups")
    numbers = np.empty(n, np.int64)
    numbers[~alone] = own.codes
    numbers[alone] = len(own.entries) + np.arange(alone.sum())
    return numbers
