"""Label matrices, made by compiled loops: folds assigned as scikit-learn does, permutations and resamples drawn.

A label matrix (P, N) holds P labellings of all samples of many classes, one class after the other: +1 right, -1 wrong,
0 for a sample that takes no part.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def assign_folds(labels, cv, folds):
    """Assign ``StratifiedKFold(cv)``'s folds to the samples of one class whose label is not 0, in place; -1 elsewhere.

    scikit-learn deals the sorted labels out like cards, and then fills the folds of each label in order. Its labels
    are numbered by first appearance, which matters when their number does not divide by ``cv``.

    Measured on one core, 256 samples: 1.3 µs, where ``StratifiedKFold`` takes 480 µs. For 200 permutations of 1000
    classes that is 0.3 s and 95 s.
    """
    first, counts = 0, np.zeros(2, np.int64)
    for label in labels:
        if label != 0:
            if first == 0:
                first = label
            counts[0 if label == first else 1] += 1
    until = np.empty((2, cv), np.int64)  # how many of a kind lie in the folds up to this one
    for fold in range(cv):
        dealt = (counts[0] - fold + cv - 1) // cv
        both = (counts[0] + counts[1] - fold + cv - 1) // cv
        until[0, fold] = dealt + (until[0, fold - 1] if fold else 0)
        until[1, fold] = both - dealt + (until[1, fold - 1] if fold else 0)
    seen, current = np.zeros(2, np.int64), np.zeros(2, np.int64)
    for k in range(len(labels)):
        folds[k] = -1
        if labels[k] != 0:
            kind = 0 if labels[k] == first else 1
            while seen[kind] >= until[kind, current[kind]]:
                current[kind] += 1
            folds[k] = current[kind]
            seen[kind] += 1


@njit(nogil=True, cache=True)
def assign_folds_of_matrix(labels, sizes, cv, folds):
    """Do :func:`assign_folds` for every row of ``labels`` (P, N) and class of ``sizes`` (K,), into ``folds`` (P, N)."""
    for p in range(len(labels)):
        start = 0
        for size in sizes:
            assign_folds(labels[p, start : start + size], cv, folds[p, start : start + size])
            start += size


@njit(nogil=True, cache=True)
def draw_permutations(generator, n_wrong, permuted):
    """Fill every row of ``permuted`` (P, n) with a random order of ``n_wrong`` labels -1 and the rest +1.

    Only the wrong ones are drawn, by as many swaps of a Fisher-Yates shuffle: twenty times faster than shuffling rows.
    It may start from any order, so that one row's is the next one's start.
    """
    n = permuted.shape[1]
    order = np.arange(n)
    for p in range(len(permuted)):
        permuted[p] = 1
        for i in range(n_wrong):
            j = i + int(generator.random() * (n - i))
            order[i], order[j] = order[j], order[i]
            permuted[p, order[i]] = -1


@njit(nogil=True, cache=True)
def draw_resamples(generator, labels, resampled):
    """Fill every row of ``resampled`` (B, n) with a random half of ``labels`` (n,), 0 for the others.

    Labels +1 and -1 are drawn apart; of an odd number one more than half is drawn, so that none comes out empty.
    """
    resampled[:] = 0
    of_kind = (np.flatnonzero(labels == 1), np.flatnonzero(labels == -1))
    for row in range(len(resampled)):
        for kind, samples in zip((1, -1), of_kind):  # noqa: B905 - numba's zip knows no strict
            order = samples.copy()  # what one row is does not depend on the rows before it
            n = len(order)
            for i in range((n + 1) // 2):
                j = i + int(generator.random() * (n - i))
                order[i], order[j] = order[j], order[i]
                resampled[row, order[i]] = kind
