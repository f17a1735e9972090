"""Labels (n, k) of several conditions an image: each is a binary problem of its own (paper, C.3).

Condition j has two classes, without it and with it, whose ids are 2 j and 2 j + 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import Array, is_array, to_numpy
from fdgpu.auditing.columns.class_names import ClassNames, given_classes
from fdgpu.captions.recipe import distinct_names
from fdgpu.checks import shown
from fdgpu.errors import InputError
from fdgpu.findings import AnswerKind, Condition, Split

Floats = NDArray[np.float64]
UNKNOWN = -1  # the class id of an image of which a condition is not known
LISTED = 5  # conditions in a doubt


@dataclass(frozen=True)
class JudgedConditions:
    """k conditions of n images, as the 2 k classes of N = n k samples, image by image.

    ``labels`` (N,) are :data:`UNKNOWN` where a condition takes no part; ``confidence`` (N,) is the probability of the
    side that was predicted, and ``true_probability`` (N,) that of the true one, None where answers are decisions.
    """

    conditions: tuple[Condition, ...]
    given_names: tuple[str, ...]
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    confidence: Floats | None
    true_probability: Floats | None
    doubts: tuple[str, ...]


def has_conditions(labels: Array) -> bool:
    """Whether labels are (n, k), or n rows of k entries, rather than one class an image."""
    if isinstance(labels, (np.ndarray, torch.Tensor)) or is_array(labels):
        return bool(labels.ndim == 2)
    first = labels[0] if isinstance(labels, Sequence) and not isinstance(labels, str) and len(labels) else None
    return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) == 1


def judge_conditions(
    labels: Array, answers: Array, class_names: ClassNames | None, splits: NDArray[np.str_]
) -> JudgedConditions:
    """Make two classes of every condition, and decide what was answered.

    Probabilities become answers by the threshold with the best F1 on the training images; where these do not hold both
    images with the condition and without it, on the validation images, with a doubt.

    Args:
        labels: (n, k) of 0 and 1; NaN or -1 where a condition is not known.
        answers: (n, k) probabilities, logits (known by lying outside of [0, 1]), or decisions of 0 and 1.
        class_names: the k conditions, or a mapping of column to condition.
        splits: (n,) of each image.

    Raises:
        InputError: names what was expected, what came, and the remedy.
    """
    truth = _matrix(labels, "labels")
    odd = ~(np.isin(truth, (0, 1, UNKNOWN)) | np.isnan(truth))
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise InputError(
            f"labels has shape {truth.shape} and holds {truth[row, column]:g} in row {row}, column {column}: for "
            "several conditions an image pass 1, 0, and -1 or NaN where it is not known; for one class an image (n,) "
            "names or ids, of scores the argmax over the classes"
        )
    if (truth == UNKNOWN).any() and not (truth == 0).any():
        raise InputError("labels holds 1 and -1, and no 0: write 0 where a condition is absent, -1 means not known")
    k = truth.shape[1]
    names = _names(class_names, k)
    scores = _matrix(answers, "predictions")
    if scores.shape != truth.shape:
        raise InputError(f"predictions has shape {scores.shape}, labels {truth.shape}: pass one answer for each label")
    missing = np.argwhere(np.isnan(scores))
    if len(missing):
        raise InputError(
            f"predictions holds no value (NaN) in row {missing[0][0]} for {shown(names[missing[0][1]])} "
            f"({len(missing)} such): see why the model gave none, or leave these images out"
        )
    kind, probabilities = _read(scores)
    known = np.isin(truth, (0, 1))
    columns = zip(names, known.T, truth.T == 1, probabilities.T, strict=True)
    judged, answered = zip(*(_judge(*column, kind, splits) for column in columns), strict=True)
    flagged = np.stack(answered, axis=1)
    _check_some_audited(judged)
    takes_part = known & ~np.array([one.left_out for one in judged])
    by_side = np.where(flagged, probabilities, 1 - probabilities)
    of_truth = np.where(truth == 1, probabilities, 1 - probabilities)
    given = tuple(own for name in names for own in (f"no {name}", name))
    classes, decided = 2 * np.arange(k), kind is AnswerKind.DECISIONS
    return JudgedConditions(
        conditions=tuple(judged),
        given_names=given,
        class_names=tuple(distinct_names(given, [(str(own),) for own in range(2 * k)])),
        labels=np.where(takes_part, classes + (truth == 1), UNKNOWN).ravel(),
        predictions=(classes + flagged).ravel(),
        confidence=None if decided else by_side.ravel(),
        true_probability=None if decided else of_truth.ravel(),
        doubts=tuple(_doubts(judged, probabilities, splits)),
    )


def _judge(
    name: str,
    known: NDArray[np.bool_],
    positive: NDArray[np.bool_],
    probabilities: Floats,
    kind: AnswerKind,
    splits: NDArray[np.str_],
) -> tuple[Condition, NDArray[np.bool_]]:
    """Choose the threshold of one condition, and say which images (n,) are flagged by it."""
    split = _deciding_split(known, positive, splits)
    rows, threshold = known & (splits == split), float("nan")
    if split is not None and kind is not AnswerKind.DECISIONS:
        threshold = best_f1_threshold(probabilities[rows], positive[rows])
    flagged = probabilities >= (0.5 if kind is AnswerKind.DECISIONS else threshold)
    f1 = f1_score(flagged[rows], positive[rows]) if split is not None else float("nan")
    return Condition(name, kind, threshold, f1, split, int((~known).sum())), flagged


def nouns_without(conditions: Iterable[Condition]) -> dict[str, str]:
    """Return what captions call an image without a condition, by its class: for recipes that do not know it."""
    return {f"no {one.name}": f"picture without {one.name}" for one in conditions}


def best_f1_threshold(scores: Floats, positive: NDArray[np.bool_]) -> float:
    """Return the threshold t for which "score ≥ t" has the best F1 (paper, A.3): of several the highest.

    Args:
        scores: (n,), at least one.
        positive: (n,) of which one is.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + hits[-1])
    ends = np.append(ranked[1:] < ranked[:-1], True)  # of equal scores all are flagged, or none
    return float(ranked[np.where(ends, f1, -1).argmax()])


def f1_score(flagged: NDArray[np.bool_], positive: NDArray[np.bool_]) -> float:
    """Return 2 TP / (2 TP + FP + FN); 0 where there is neither a flag nor a positive."""
    both = int(flagged.sum() + positive.sum())
    return 2 * int((flagged & positive).sum()) / both if both else 0.0


def _matrix(given: Array, name: str) -> Floats:
    """Bring (n, k) of any kind to the host, as float64."""
    if isinstance(given, Sequence) and len(given) and isinstance(given[0], torch.Tensor):
        try:
            given = torch.stack(list(given))
        except (RuntimeError, TypeError) as error:
            raise InputError(f"{name} holds rows that do not go together ({error}): pass (n, k)") from None
    host = to_numpy(given, name)
    if host.ndim != 2 or host.dtype.kind not in "biuf" or not host.size:
        raise InputError(
            f"{name} has shape {host.shape} and type {host.dtype}: for several conditions an image pass (n, k) numbers"
        )
    return host.astype(np.float64)


def _names(class_names: ClassNames | None, k: int) -> list[str]:
    if class_names is None:
        return [f"condition {j}" for j in range(k)]
    ids, names = given_classes(class_names)
    if ids != [str(j) for j in range(k)]:
        raise InputError(
            f"class_names has {len(names)} entries, labels has {k} columns: name the condition of every column"
        )
    return list(names)


def _read(scores: Floats) -> tuple[AnswerKind, Floats]:
    """Tell what kind of answers these are, and return them as probabilities."""
    if np.isin(scores, (0, 1)).all():
        return AnswerKind.DECISIONS, scores
    if (scores >= 0).all() and (scores <= 1).all():
        return AnswerKind.PROBABILITIES, scores
    return AnswerKind.LOGITS, np.exp(-np.logaddexp(0, -scores))


def _deciding_split(known: NDArray[np.bool_], positive: NDArray[np.bool_], splits: NDArray[np.str_]) -> Split | None:
    """Return the first of train and val that holds images with the condition and without it."""
    for split in (Split.TRAIN, Split.VAL):
        own = positive[known & (splits == split)]
        if own.any() and not own.all():
            return split
    return None


def _check_some_audited(judged: Sequence[Condition]) -> None:
    if all(one.left_out for one in judged):
        raise InputError(
            f"labels has no condition ({_some([one.name for one in judged])}) of which train or val holds images with "
            "it and without it, by which a threshold is chosen: add some, or pass predictions of 0 and 1"
        )


def _doubts(judged: Sequence[Condition], probabilities: Floats, splits: NDArray[np.str_]) -> Iterable[str]:
    left_out = [one.name for one in judged if one.left_out]
    if left_out:
        yield (
            f"{len(left_out)} of {len(judged)} conditions were left out ({_some(left_out)}): neither train nor val "
            "holds images both with and without them, by which a threshold is chosen. Add some, or pass predictions of "
            "0 and 1."
        )
    cut = [(j, one) for j, one in enumerate(judged) if np.isfinite(one.threshold)]
    on_val = [one.name for _, one in cut if one.split is Split.VAL]
    if on_val:
        yield (
            f"The thresholds of {len(on_val)} of {len(judged)} conditions ({_some(on_val)}) have the best F1 on val, "
            "since train does not hold images both with and without them: what is wrong there looks better than it is. "
            "Pass the answers to training images too, or predictions of 0 and 1."
        )
    everything = [one.name for j, one in cut if (probabilities[splits == one.split, j] >= one.threshold).all()]
    if everything:
        yield (
            f"F1 is best where every image is flagged for {len(everything)} of {len(judged)} conditions "
            f"({_some(everything)}): the answers do not tell who has them. Are the columns of labels and predictions "
            "in the same order?"
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
