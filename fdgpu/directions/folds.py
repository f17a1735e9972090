"""Stratified folds and the score that chooses C: scikit-learn's assignment, without its overhead per class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORE_ROUNDING = 1e-12  # two scores closer than this are a tie, which the smaller C wins


def stratified_folds(right: NDArray[np.bool_], cv: int) -> NDArray[np.int64]:
    """Assign folds as ``StratifiedKFold(cv)`` without shuffling does.

    Args:
        right: (n,) bool, at least ``cv`` of each kind.
        cv: number of folds.

    Returns:
        (n,) fold of each sample.
    """
    # scikit-learn deals the sorted labels out like cards, and then fills the folds of each label in order. Its
    # labels are numbered by first appearance, which matters when n does not divide by cv.
    kinds = np.array([right[0], not right[0]])
    counts = [int((right == kind).sum()) for kind in kinds]
    dealt = np.repeat([0, 1], counts)
    folds = np.empty(len(right), np.int64)
    for kind, value in enumerate(kinds):
        sizes = [int((dealt[fold::cv] == kind).sum()) for fold in range(cv)]
        folds[right == value] = np.repeat(np.arange(cv), sizes)
    return folds


def balanced_weights(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (n,) s(y) = n / (2 n_y): both kinds weigh the same in total."""
    n_right = int(right.sum())
    n = len(right)
    return np.where(right, n / (2 * n_right), n / (2 * (n - n_right)))


def cross_validation_scores(
    decisions: NDArray[np.float64], right: NDArray[np.bool_], folds: NDArray[np.int64], cv: int
) -> NDArray[np.float64]:
    """Mean over the folds of the balanced accuracy, the mean of the two recalls (A.2).

    Args:
        decisions: (c, n) held-out decision values for each C.
        right: (n,) bool.
        folds: (n,) fold in which each sample was held out.
        cv: number of folds.

    Returns:
        (c,) scores.
    """
    hit = (decisions > 0) == right
    # one column per fold and kind, each holding 1/size on its members: the recalls are one matrix product
    cells = folds * 2 + right
    sizes = np.bincount(cells, minlength=2 * cv)
    recalls = np.zeros((len(decisions), 2 * cv))
    for cell in range(2 * cv):
        recalls[:, cell] = hit[:, cells == cell].sum(axis=1) / sizes[cell]
    return np.asarray(recalls.mean(axis=1))


def choose_cost(scores: NDArray[Any]) -> int:
    """Return the place of the best score; of equal scores, that of the smallest C, which comes first."""
    return int(np.flatnonzero(scores >= scores.max() - SCORE_ROUNDING)[0])
