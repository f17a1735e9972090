"""What an audit is of: its arguments, checked before a model is loaded; then its images."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, to_device, to_numpy
from fdgpu.captions.recipe import distinct_names
from fdgpu.directions.groups import check_groups
from fdgpu.errors import InputError
from fdgpu.findings import Split

MOST_CLASSES = 1_000_000  # a larger id is a hash or a timestamp
Column = NDArray[np.generic]  # of names or of ids


@dataclass(frozen=True)
class AuditInputs:
    """Checked arguments, one entry an image: class ids into ``class_names``, split names, confidences in [0, 1].

    ``given_names`` are the class names as the caller wrote them, by which recipes know them; in ``class_names`` two of
    the same name are told apart by their ids, so that no table mixes them up. ``groups`` number the images that belong
    together; None where each stands for itself. ``doubts`` are sentences: what could make the report wrong although
    the arguments can be read.
    """

    class_names: tuple[str, ...]
    given_names: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    splits: NDArray[np.str_]
    confidence: NDArray[np.float64] | None
    groups: NDArray[np.int64] | None = None
    doubts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) the model was right."""
        return np.asarray(self.labels == self.predictions)

    def fingerprint(self, ids: Sequence[str], pictures: str) -> str:
        """Return the SHA-256 of everything that was audited, ``pictures`` being the hash of the images."""
        digest = hashlib.sha256()
        names = json.dumps([list(self.class_names), list(ids), self.splits.tolist(), pictures])
        for part in (names.encode(), self.labels.tobytes(), self.predictions.tobytes()):
            digest.update(part)
        for column in (self.confidence, self.groups):
            if column is not None:
                digest.update(column.tobytes())
        return digest.hexdigest()

    def first_split(self, usable: NDArray[np.bool_], *preferred: Split) -> Split:
        """Return the first of the preferred splits that has a usable image; the last, if none has."""
        return next((name for name in preferred if (usable & (self.splits == name)).any()), preferred[-1])


@dataclass(frozen=True)
class AuditImages:
    """Every image of the audit after the fit, n rows.

    ``vectors`` (n, d) lie on the embedder's device, and are zero where an image is not ``readable`` (n,); ``decisions``
    (n, r) are NaN there, and where its class has no such direction. Examples and figures come from the split
    ``shown_from``.
    """

    inputs: AuditInputs
    ids: list[str]
    vectors: torch.Tensor
    readable: NDArray[np.bool_]
    decisions: NDArray[np.float64]
    shown_from: Split

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(n,) the images that examples and figures come from."""
        return np.asarray(self.readable & (self.inputs.splits == self.shown_from))

    def rows_of(self, k: int) -> NDArray[np.int64]:
        """Return the rows of the shown images of a class, ascending."""
        rows, starts = self._sorted_by_class
        return rows[starts[k] : starts[k + 1]]

    @cached_property
    def _sorted_by_class(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """One sort for all classes: the shown rows by class, and where each class starts among them."""
        rows = np.flatnonzero(self.shown)
        rows = rows[np.argsort(self.inputs.labels[rows], kind="stable")]
        return rows, np.searchsorted(self.inputs.labels[rows], np.arange(len(self.inputs.class_names) + 1))


def chosen_rows(vectors: torch.Tensor, chosen: NDArray[np.bool_]) -> torch.Tensor:
    """Return the rows of ``vectors`` (n, d) that ``chosen`` (n,) marks, on their device; nothing is waited for."""
    if chosen.all():
        return vectors
    return vectors[to_device(np.flatnonzero(chosen), vectors.device)]


def check_inputs(
    labels: Array,
    predictions: Array,
    class_names: Sequence[str] | None,
    splits: Sequence[str] | None,
    confidence: Array,
    groups: Array = None,
) -> AuditInputs:
    """Check the columns against each other.

    Args:
        labels: (n,) true classes, as names or as integers that count into ``class_names``.
        predictions: (n,) what the model predicted, likewise.
        class_names: every class in the order of its id; by default the names that occur, or every id up to the largest.
        splits: (n,) of "train", "val" and "test"; None means that every image is for validation.
        confidence: (n,) the model's confidence in its prediction, in [0, 1], or None.
        groups: (n,) ids of images that belong together, or None.

    Raises:
        InputError: names the column, the entry and the remedy.
    """
    true, predicted = to_names(labels, "labels"), to_names(predictions, "predictions")
    names = tuple(str(name) for name in class_names) if class_names is not None else _names_that_occur(true, predicted)
    if not names:
        raise InputError("labels is empty: there is nothing to audit")
    _same_length(len(true), predictions=predicted, splits=splits, confidence=confidence)
    shown = tuple(distinct_names(names, [(str(k),) for k in range(len(names))]))
    return AuditInputs(
        class_names=shown,
        given_names=names,
        labels=_ids(true, "labels", names, shown),
        predictions=_ids(predicted, "predictions", names, shown),
        splits=_check_splits(splits, len(true)),
        confidence=_check_confidence(confidence),
        groups=None if groups is None else check_groups(groups, len(true)),
    )


def to_names(column: Array, name: str) -> Column:
    """Return a column as an array of integers or of strings."""
    if isinstance(column, str):
        raise InputError(f"{name} is one string, {column!r}: pass one name an image")
    entries = column.tolist() if hasattr(column, "tolist") else column  # a table's column of names is of type object
    if isinstance(entries, Sequence) and all(isinstance(entry, str) for entry in entries):
        return np.asarray(entries, dtype=np.str_)
    array = to_numpy(column, name)
    if array.ndim != 1 or array.dtype.kind not in "iuU":
        raise InputError(
            f"{name} has shape {array.shape} and type {array.dtype}: pass (n,) class names or integer class ids"
        )
    return array


def _names_that_occur(true: Column, predicted: Column) -> tuple[str, ...]:
    """Numbers are ordered as numbers, so that class 10 comes after class 9."""
    if true.dtype.kind != predicted.dtype.kind and "U" in (true.dtype.kind, predicted.dtype.kind):
        raise InputError("labels and predictions are of different kinds: pass both as names or both as ids")
    if true.dtype.kind != "U":
        low = min((int(c.min()) for c in (true, predicted) if len(c)), default=0)
        if low < 0:
            raise InputError(f"labels or predictions hold {low}: class ids count from 0")
        largest = max((int(c.max()) for c in (true, predicted) if len(c)), default=-1)
        if largest >= MOST_CLASSES:
            raise InputError(f"labels or predictions hold the class id {largest}: ids count from 0, without gaps")
        return tuple(str(i) for i in range(largest + 1))
    names = set(true.tolist()) | set(predicted.tolist())
    return tuple(sorted(names, key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name)))


def _ids(column: Column, name: str, names: tuple[str, ...], shown: tuple[str, ...]) -> NDArray[np.int64]:
    if column.dtype.kind == "U":
        _check_one_meaning(column.tolist(), name, names, shown)
        index = {class_name: k for known in (names, shown) for k, class_name in enumerate(known)}
        ids = np.array([index.get(entry, -1) for entry in column.tolist()], np.int64)
    else:
        ids = column.astype(np.int64)
    outside = np.flatnonzero((ids < 0) | (ids >= len(names)))
    if len(outside):
        row = int(outside[0])
        raise InputError(
            f"{name} holds {column[row]!s} in row {row} ({len(outside)} such rows), which is not one of the "
            f"{len(names)} classes: correct it, or complete class_names"
        )
    return ids


def _check_one_meaning(entries: list[str], name: str, names: tuple[str, ...], shown: tuple[str, ...]) -> None:
    doubtful = {class_name for class_name, count in Counter(names).items() if count > 1}
    row = next((i for i, entry in enumerate(entries) if entry in doubtful), None)
    if row is not None:
        several = [label for label, class_name in zip(shown, names, strict=True) if class_name == entries[row]]
        raise InputError(
            f"{name} holds {entries[row]!r} in row {row}, the name of {len(several)} classes: pass class ids, or call "
            f"them {' and '.join(several)}"
        )


def _same_length(n: int, **columns: Array) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != n:
            raise InputError(f"{name} has {len(column)} entries, labels has {n}: pass one entry an image")


def _check_splits(splits: Sequence[str] | None, n: int) -> NDArray[np.str_]:
    if splits is None:
        return np.full(n, str(Split.VAL))
    column = np.asarray([str(split) for split in splits])
    odd = np.flatnonzero(~np.isin(column, list(Split)))
    if len(odd):
        raise InputError(f"splits holds {str(column[odd[0]])!r} in row {odd[0]}: use {', '.join(Split)}")
    if not (column == Split.VAL).any():
        raise InputError("no image is in the split 'val': directions are fitted on val, which training must not see")
    return column


def _check_confidence(confidence: Array) -> NDArray[np.float64] | None:
    if confidence is None:
        return None
    given = to_numpy(confidence, "confidence")
    if given.ndim != 1 or given.dtype.kind not in "iuf":
        raise InputError(f"confidence has shape {given.shape} and type {given.dtype}: pass (n,) numbers, one an image")
    values = given.astype(np.float64)
    odd = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(odd):
        raise InputError(f"confidence holds {values[odd[0]]} in row {odd[0]}: pass numbers from 0 to 1")
    return values
