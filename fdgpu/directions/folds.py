"""Stratified folds, and the choice of C by the scores on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.kernels.sheets_numba import assign_folds_of_sheets

SCORE_ROUNDING = 1e-12  # two scores closer than this are a tie, which the smaller C wins


def folds_of_sheets(labels: NDArray[np.int8], sizes: Sequence[int], cv: int) -> NDArray[np.int16]:
    """Assign folds class by class as ``StratifiedKFold(cv)`` without shuffling does; -1 where the label is 0.

    Args:
        labels: (P, N) +1, -1 or 0, the classes one after the other.
        sizes: samples of each class.
        cv: number of folds; no class has fewer of either label.

    Returns:
        (P, N) fold of each sample.
    """
    folds = np.empty(labels.shape, np.int16)
    assign_folds_of_sheets(np.ascontiguousarray(labels), np.asarray(sizes, np.int64), cv, folds)
    return folds


def balanced_weights(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) s(y) = n / (2 n_y): both kinds weigh the same in total."""
    n, n_right = len(right), int(right.sum())
    return np.where(right, n / (2 * n_right), n / (2 * (n - n_right)))


def choose_costs(scores: NDArray[Any], slack: NDArray[Any] | float = 0.0) -> NDArray[np.int64]:
    """Return the place of the smallest C whose score is the best, or within ``slack`` of it.

    Args:
        scores: (…, c); NaN where nothing was scored, for which the place is 0.
        slack: (…, 1) or a number.
    """
    best = scores.max(axis=-1, keepdims=True)
    return np.asarray(np.argmax(scores >= best - slack - SCORE_ROUNDING, axis=-1), np.int64)


def standard_error(
    scores: NDArray[np.float64], n_right: NDArray[np.int64], n_wrong: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the binomial standard error of the best mean balanced accuracy.

    Args:
        scores: (…, c) means over the folds.
        n_right: (…) right samples, each held out once.
        n_wrong: (…) wrong samples.

    Returns:
        (…, 1).
    """
    best = scores.max(axis=-1)
    counts = 1 / np.maximum(1, n_right) + 1 / np.maximum(1, n_wrong)
    return np.asarray(np.sqrt(best * (1 - best) * counts / 4)[..., None])
