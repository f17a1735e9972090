"""What ``fit`` is given: checked in one place before anything is computed, and grouped by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, finite_blocks, finite_rows, to_device, to_numpy, to_torch
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import InputError
from fdgpu.findings import Status
from fdgpu.rows import ChosenRows, Rows, TensorRows, chunk_rows

DENSE = 8  # ids that span at most so many times as many numbers as there are samples are counted, not sorted
PERCENT = 1.0  # below minus this, a loss is of a p above e
SURELY_RIGHT = np.log(2) - 1e-3  # loss of a p that is above that of any other class
ROUNDING = 1e-3  # of losses in half precision
STRAY = 0.01  # share of the wrong samples that may contradict, as where answers are a mean over several views
LARGEST_MARGIN = 8.0
LARGEST_ID = np.iinfo(np.int64).max
REMEDIES = {
    Status.OK: "",
    Status.NO_ERRORS: "The model makes no mistake on this class here: there is no failure to explain.",
    Status.ALL_ERRORS: "The model is never right on this class here: check the labels and the order of the classes.",
    Status.TOO_FEW_ERRORS: "Too few mistakes to learn from: add samples of this class, or lower min_errors or cv.",
    Status.TOO_FEW_CORRECT: "Too few right answers to cross-validate: add samples of this class, or lower cv.",
}
# What an audit of the command line, which has no option for the folds, says instead.
COMMAND_LINE_REMEDIES = REMEDIES | {
    Status.TOO_FEW_ERRORS: "Too few mistakes to learn from: add images of this class, or lower --min-errors.",
    Status.TOO_FEW_CORRECT: "Too few right answers to cross-validate: add images of this class.",
}


# --- checks ---------------------------------------------------------------------------------------------------------


def check_embeddings(array: Array, name: str, columns: int | None = None) -> Rows:
    """Return rows (n, d) of floats, all of them finite, and an array as rows where it lies.

    Rows that are not known to be finite are read once.
    """
    if isinstance(array, Rows):
        _check_columns(array.shape[1], name, columns)
        if not array.finite:
            finite_blocks(partial(array.blocks, chunk_rows(array)), name)
        return array
    return TensorRows(check_vectors(array, name, columns), finite=True)


def check_vectors(array: Array, name: str, columns: int | None = None) -> torch.Tensor:
    """Return floats (n, d) where they lie, all of them finite."""
    vectors = to_torch(array, name)
    if vectors.ndim != 2:
        raise InputError(f"{name} has shape {tuple(vectors.shape)}: pass one row per image, (n, d)")
    _check_columns(vectors.shape[1], name, columns)
    if not vectors.is_floating_point():
        vectors = vectors.float()
    finite_rows(vectors, name)
    return vectors


def _check_columns(came: int, name: str, columns: int | None) -> None:
    if columns not in (None, came):
        raise InputError(f"{name} has {came} columns, expected {columns}: use the same embedding model")


def check_labels(array: Array, rows: int, several: bool = False) -> NDArray[np.int64]:
    """Return (n,) integer class ids, one for each of ``rows`` rows; or where a row may be in ``several``, (n, k)."""
    labels = _column(array, "labels", rows, several)
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels is of type {labels.dtype}: pass integer class ids")
    if labels.dtype.kind == "u" and labels.size and labels.max() > LARGEST_ID:
        raise InputError(f"labels holds {labels.max()}: class ids go up to {LARGEST_ID}, number the classes from 0")
    return labels.astype(np.int64, copy=False)


def check_correct(array: Array, rows: int, several: bool = False) -> NDArray[np.bool_]:
    """Return (n,) bool, or (n, k); 0 and 1 are taken, anything else is not, so that -1/+1 cannot pass for True/True."""
    correct = _column(array, "correct", rows, several)
    if correct.dtype.kind == "b":
        return correct.astype(bool, copy=False)
    if correct.dtype.kind not in "iuf":
        raise InputError(f"correct is of type {correct.dtype}: pass True where the model was right, else False")
    if not np.isin(correct, (0, 1)).all():
        odd = correct[~np.isin(correct, (0, 1))][0]
        raise InputError(f"correct holds {odd}: pass True where the model was right and False where it was wrong")
    return correct.astype(bool)


def check_loss(array: Array, labels: NDArray[np.int64], right: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Return the margins log(p / (1 - p)) of losses -log p of the true class, clipped, in the shape of the labels.

    Args:
        array: the losses.
        labels: class ids, (n,) or (n, k), below 0 where there is none.
        right: whether the model was right, of that shape, where it is known: the losses then have to agree with it.

    Raises:
        InputError: says what came, and how the loss is made.
    """
    loss = np.asarray(to_numpy(array, "loss"))
    how = "pass -log(p), p the probability of the true class, from 0 to 1"
    if loss.shape != labels.shape:
        raise InputError(f"loss has shape {loss.shape}, labels {labels.shape}: pass one loss for each label")
    if loss.dtype.kind not in "iuf":
        raise InputError(f"loss is of type {loss.dtype}: {how}")
    loss = np.where(labels >= 0, loss.astype(np.float64), 0.0) if labels.ndim == 2 else loss.astype(np.float64)
    if not np.isfinite(loss).all():
        at = np.argwhere(~np.isfinite(loss))[0]
        raise InputError(
            f"loss holds {loss[tuple(at)]} in row {at[0]}: {how}; where p is 0 clip it first, as by p.clip(1e-12)"
        )
    if (loss < 0).any():
        least = loss.min()
        percent = ", and not in percent" if -least > PERCENT else ""
        raise InputError(f"loss holds {least:.4g}, which is below 0: {how}{percent}")
    if right is not None:
        there = labels >= 0 if labels.ndim == 2 else slice(None)
        said = disagreement(loss[there], right[there], labels[there])
        if said:
            raise InputError(f"loss {said}; {how}, and not the confidence of the predicted class, or leave it out")
    return margin_of(loss)


def disagreement(loss: NDArray[np.float64], right: NDArray[np.bool_], labels: NDArray[np.int64]) -> str:
    """Say why losses (m,) are none of the true classes (m,) of these answers; nothing where they can be.

    A wrong answer has p at most 0.5, as another class has more; but where a threshold answers, right and wrong of a
    class are on either side of one p, whatever it is.
    """
    if loss.size > 1 and np.ptp(loss) == 0:
        return "is the same for every sample, which tells nothing"
    _, of = np.unique(labels, return_inverse=True)
    largest = np.zeros(of.max(initial=-1) + 1)
    np.maximum.at(largest, of[right], loss[right])  # of the right answers of each class
    odd = ~right & (loss < SURELY_RIGHT) & (loss < largest[of] - ROUNDING)
    wrong = int((~right).sum())
    if odd.sum() <= STRAY * wrong:
        return ""
    return (
        f"contradicts the answers: {odd.sum()} of {wrong} wrong samples have p above 0.5, while right ones of their "
        "class have less"
    )


def margin_of(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return log(p / (1 - p)) of losses -log p, within ±8: beyond, a loss says that the label is wrong."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(-loss - np.log(-np.expm1(-loss)), -LARGEST_MARGIN, LARGEST_MARGIN))


def check_samples(
    embeddings: Array, labels: Array, correct: Array, loss: Array = None
) -> tuple[Rows, NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64] | None]:
    """Check embeddings, class ids and correctness: the first stay where they lie, the others come to the host.

    Returns:
        The embeddings, n rows of d numbers; and of N samples, since a row is a sample of each class that it is in, the
        row (N,), the class id (N,), whether the model was right (N,), and log(p / (1 - p)) of the true class (N,), None
        without losses.

    Raises:
        InputError: names the argument, what was expected, what came and the remedy.
    """
    rows = check_embeddings(embeddings, "embeddings")
    if len(rows) == 0 or rows.shape[1] == 0:
        raise InputError(f"embeddings has shape {tuple(rows.shape)}: there is nothing to fit")
    ids = check_labels(labels, len(rows), several=True)
    right = check_correct(correct, len(rows), several=True)
    if right.shape != ids.shape:
        raise InputError(f"correct has shape {right.shape}, labels {ids.shape}: pass one answer for each label")
    margin = None if loss is None else check_loss(loss, ids, right)
    if ids.ndim == 1:
        return rows, np.arange(len(rows)), ids, right, margin
    there, in_order = ids >= 0, np.sort(ids, axis=1)
    twice = (in_order[:, 1:] == in_order[:, :-1]) & (in_order[:, 1:] >= 0)
    if twice.any():
        raise InputError(f"labels holds a class twice in row {np.nonzero(twice)[0][0]}: name each class of a row once")
    if not there.any():
        raise InputError("labels is below 0 everywhere, which is no class: there is nothing to fit")
    return rows, np.nonzero(there)[0], ids[there], right[there], None if margin is None else margin[there]


def _column(array: Array, name: str, rows: int, several: bool = False) -> NDArray[np.generic]:
    column = to_numpy(array, name)
    if column.ndim != 1 and not (several and column.ndim == 2):
        of_several = f", or ({rows}, k) for rows of several classes" if several else ""
        raise InputError(f"{name} has shape {column.shape}: pass one entry a row, ({rows},){of_several}")
    if len(column) != rows:
        raise InputError(
            f"{name} has {len(column)} entries, embeddings has {rows} rows: pass one {name.rstrip('s')} a row"
        )
    return column


def status_of(right: NDArray[np.bool_], groups: NDArray[np.int64] | None, cv: int, min_errors: int = 0) -> Status:
    """Return whether a class has enough of both kinds for ``cv`` folds: samples, or groups that hold any of them.

    Args:
        right: (n,) of the class's samples.
        groups: (n,) of them, or None.
        cv: number of folds.
        min_errors: fewest wrong ones, where that is more than ``cv``.
    """
    if right.all():
        return Status.NO_ERRORS
    if not right.any():
        return Status.ALL_ERRORS
    n_right, n_wrong = (int(kind.sum()) if groups is None else len(np.unique(groups[kind])) for kind in (right, ~right))
    if n_wrong < max(cv, min_errors):
        return Status.TOO_FEW_ERRORS
    return Status.TOO_FEW_CORRECT if n_right < cv else Status.OK


# --- by class -------------------------------------------------------------------------------------------------------


def group_by_class(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group (n,) class ids; in linear time unless they are scattered over a wide range.

    Returns:
        The ids (k,), ascending; the index (n,) of each sample's class among them; samples of each class (k,).
    """
    lowest, highest = int(labels.min()), int(labels.max())
    if highest - lowest > DENSE * len(labels):
        classes, class_of, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        return classes, class_of, sizes
    counts = np.bincount(labels - lowest)
    present = np.flatnonzero(counts)
    index = np.cumsum(counts > 0) - 1
    return present + lowest, index[labels - lowest], counts[present]


def rows_by_class(class_of: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the rows of each class, in order."""
    kind = np.uint16 if len(sizes) < 1 << 16 else np.int64  # NumPy sorts 16 bits in linear time
    order = np.argsort(class_of.astype(kind), kind="stable")
    return np.split(order, np.cumsum(sizes)[:-1])


@dataclass(frozen=True)
class ClassSamples:
    """A class that is still to be gathered and whitened, which the backend does where and when it wants.

    Attributes:
        index: of the class in ``classes_``, which seeds what is random in it.
        rows: (n,) its samples among all embeddings.
        right: (n,) which of them the model got right.
        embeddings: N rows of d numbers, of all classes, where the caller's lie: no copy of the whole set is ever made.
        whitening: of the embeddings.
        groups: (n,) group of each sample, numbered from 0 in the class; None where each stands for itself.
        margin: (n,) log(p / (1 − p)) of the probability p of the true class; None where it is not known.
    """

    index: int
    rows: NDArray[np.int64]
    right: NDArray[np.bool_]
    embeddings: Rows
    whitening: Whitening
    groups: NDArray[np.int64] | None = None
    margin: NDArray[np.float64] | None = None

    @property
    def n(self) -> int:
        """Samples of the class."""
        return len(self.rows)


def whitened(classes: Sequence[ClassSamples], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Gather the samples of classes of one fit, and whiten them on ``device``: (n, d) unit rows, class by class.

    Each row is taken once, and beside the result there is only a chunk of them.
    """
    own = ChosenRows(classes[0].embeddings, np.concatenate([one.rows for one in classes]))
    out = torch.empty(own.shape, dtype=dtype, device=device)
    step = chunk_rows(out)
    for part, into in zip(own.blocks(step), out.split(step), strict=True):
        classes[0].whitening(to_device(part, device), dtype, into)
    return out
