"""How well the best of a method's proposals matches a planted slice (Domino, ICLR 2022: precision at k)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FOUND = 0.8  # precision of the top 10 from which a slice counts as found


def precision_at(k: int, proposals: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the precision of the top k of the best-matching proposal, for every slice.

    Args:
        k: how many of the highest scores are looked at.
        proposals: (n, p) score of every sample under every proposal, higher is likelier inside; -inf is never shown,
            and a proposal that shows fewer than k is still divided by k.
        truth: (n, s) which samples lie in which slice.

    Returns:
        (s,) precisions; 0 where nothing is proposed.

    Raises:
        ValueError: for NaN, or numbers of rows that differ.
    """
    if len(proposals) != len(truth):
        raise ValueError(f"proposals has {len(proposals)} rows, truth has {len(truth)}: score every held-out sample")
    if np.isnan(proposals).any():
        raise ValueError("proposals holds NaN: leave out a proposal that has no scores, or give -inf")
    best = np.zeros(truth.shape[1])
    for scores in proposals.T:
        top = np.argsort(-scores, kind="stable")[:k]
        top = top[scores[top] > -np.inf]
        best = np.maximum(best, truth[top].sum(axis=0) / k)
    return best
