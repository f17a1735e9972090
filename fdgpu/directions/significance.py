"""Is it real? Permutation p-values (paper's score, the whole choice of C repeated), and false discovery control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.directions.batch import ClassBatch
from fdgpu.directions.folds import SCORE_ROUNDING
from fdgpu.kernels.sheets_numba import draw_permutations

ROUND = 50  # permutations between two looks at which classes are settled
ROUND_LABELS = 1 << 27  # labels of one round: 128 MB


def permutation_test(
    batch: ClassBatch, observed: NDArray[np.float64], seeds: Sequence[Any], n_permutations: int, stop_after: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Permute correctness within each class, repeat the choice of C, and count scores at least as high.

    With ``stop_after`` h > 0 a class stops at its h-th null score that is at least as high as the observed one, after
    m permutations, and p = h / m (Besag and Clifford, 1991, which is exact too: such a class is far from significant
    and its p-value is known well enough). Otherwise p = (1 + #{null ≥ observed}) / (1 + B).

    Args:
        batch: K classes.
        observed: (K,) their best scores.
        seeds: K seeds, so that a class's p-value does not depend on the classes around it.
        n_permutations: B.
        stop_after: h, or 0 to draw all.

    Returns:
        p-values (K,) and how many permutations were drawn (K,).
    """
    k = len(observed)
    generators = [np.random.default_rng(seed) for seed in seeds]
    exceeded, drawn = np.zeros(k, np.int64), np.zeros(k, np.int64)
    p = np.full(k, np.nan)
    layout = batch.layout
    per_round = max(1, min(ROUND, ROUND_LABELS // max(1, len(layout.right))))
    done = 0
    active = np.arange(k)
    while done < n_permutations and len(active):
        count = min(per_round, n_permutations - done)
        labels = np.zeros((count, len(layout.right)), np.int8)
        for i in active.tolist():
            draw_permutations(generators[i], layout.n_errors[i], labels[:, layout.rows(i)])
        scores, _ = batch.cross_validate(labels, active.tolist())
        null = scores[:, active].mean(axis=2).max(axis=-1)
        reached = null >= observed[active] - SCORE_ROUNDING
        for column, i in enumerate(active.tolist()):
            so_far = np.cumsum(reached[:, column]) + exceeded[i]
            at = np.flatnonzero(so_far >= stop_after) if stop_after else so_far[:0]
            used = int(at[0]) + 1 if len(at) else count
            exceeded[i] += int(reached[:used, column].sum())
            drawn[i] += used
            if len(at) and drawn[i] < n_permutations:
                p[i] = stop_after / drawn[i]
        done += count
        active = active[np.isnan(p[active])]
    left = np.isnan(p)
    p[left] = (1 + exceeded[left]) / (1 + drawn[left])
    return p, drawn


def benjamini_hochberg(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return q-values of all p-values that are not NaN (Benjamini and Hochberg, 1995), in the shape of ``p``."""
    q = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    values = p[tested]
    if not len(values):
        return q
    order = np.argsort(values)
    scaled = values[order] * len(values) / np.arange(1, len(values) + 1)
    own = np.empty_like(values)
    own[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    q[tested] = own
    return q
