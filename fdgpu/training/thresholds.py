"""Where to cut a score in two: the threshold of the best F1 on held-out images (ChestX-ray14, A.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fdgpu.arrays import to_numpy
from fdgpu.errors import InputError


def best_f1_threshold(scores: Any, labels: Any) -> float:
    """Return the threshold t for which "score ≥ t" has the best F1; the highest among the best.

    Args:
        scores: (n,) of one label.
        labels: (n,) 0 or 1.

    Raises:
        InputError: if no label is 1, or the numbers differ.
    """
    values, truth = to_numpy(scores, "scores").astype(np.float64), to_numpy(labels, "labels").astype(bool)
    if values.ndim != 1 or values.shape != truth.shape:
        raise InputError(f"scores has shape {values.shape}, labels has {truth.shape}: pass (n,) of one label, both")
    if not truth.any():
        raise InputError("labels has no 1: F1 needs at least one positive")
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(values) + 1) + truth.sum())
    ends = np.append(np.diff(values[order]) != 0, True)  # equal scores fall on the same side
    return float(values[order][np.argmax(np.where(ends, f1, -1.0))])
