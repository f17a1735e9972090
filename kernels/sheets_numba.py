"""Sheets of labels, made by compiled loops: folds dealt out as scikit-learn deals them, and permutations drawn.

A sheet is a row of labels over all samples of many classes, one class after the other: +1 right, -1 wrong, 0 for a
sample that takes no part.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def assign_folds(labels, cv, folds):
    """Assign ``StratifiedKFold(cv)``'s folds to the samples of one class whose label is not 0, in place; -1 elsewhere.

    scikit-learn deals the sorted labels out like cards, and then fills the folds of each label in order. Its labels
    are numbered by first appearance, which matters when their number does not divide by ``cv``.
    """
    first, counts = 0, np.zeros(2, np.int64)
    for label in labels:
        if label != 0:
            if first == 0:
                first = label
            counts[0 if label == first else 1] += 1
    ends = np.empty((2, cv), np.int64)  # how many of a kind lie in the folds up to this one
    for fold in range(cv):
        dealt = (counts[0] - fold + cv - 1) // cv
        both = (counts[0] + counts[1] - fold + cv - 1) // cv
        ends[0, fold] = dealt + (ends[0, fold - 1] if fold else 0)
        ends[1, fold] = both - dealt + (ends[1, fold - 1] if fold else 0)
    seen, place = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for k in range(len(labels)):
        folds[k] = -1
        if labels[k] != 0:
            kind = 0 if labels[k] == first else 1
            while seen[kind] >= ends[kind, place[kind]]:
                place[kind] += 1
            folds[k] = place[kind]
            seen[kind] += 1


@njit(nogil=True, cache=True)
def assign_folds_of_sheets(sheets, sizes, cv, folds):
    """Do :func:`assign_folds` for every sheet (P, N) and class of ``sizes`` (K,), into ``folds`` (P, N)."""
    for sheet in range(len(sheets)):
        start = 0
        for size in sizes:
            assign_folds(sheets[sheet, start : start + size], cv, folds[sheet, start : start + size])
            start += size


@njit(nogil=True, cache=True)
def draw_permutations(generator, n_wrong, sheets):
    """Fill every row of ``sheets`` (P, n) with a random order of ``n_wrong`` labels -1 and the rest +1.

    Only the wrong ones are drawn, by as many swaps of a Fisher-Yates shuffle: twenty times faster than shuffling rows.
    It may start from any order, so that one row's is the next one's start.
    """
    n = sheets.shape[1]
    order = np.arange(n)
    for sheet in range(len(sheets)):
        sheets[sheet] = 1
        for i in range(n_wrong):
            j = i + int(generator.random() * (n - i))
            order[i], order[j] = order[j], order[i]
            sheets[sheet, order[i]] = -1


@njit(nogil=True, cache=True)
def draw_halves(generator, labels, sheets):
    """Fill every row of ``sheets`` (P, n) with a random half of ``labels`` (n,), 0 for the others.

    Labels +1 and -1 are halved apart; of an odd number one more than half is drawn, so that none comes out empty.
    """
    sheets[:] = 0
    of_kind = (np.flatnonzero(labels == 1), np.flatnonzero(labels == -1))
    for sheet in range(len(sheets)):
        for kind, samples in zip((1, -1), of_kind):  # noqa: B905 - numba's zip knows no strict
            order = samples.copy()  # what one row is does not depend on the rows before it
            n = len(order)
            for i in range((n + 1) // 2):
                j = i + int(generator.random() * (n - i))
                order[i], order[j] = order[j], order[i]
                sheets[sheet, order[i]] = kind
