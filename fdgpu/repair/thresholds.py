"""Where to cut a score in two: the threshold of the best F1 on held-out images (ChestX-ray14, A.3)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fdgpu.arrays import doubles, to_torch
from fdgpu.errors import InputError


def best_f1_threshold(scores: Any, labels: Any) -> float:
    """Return the threshold t for which "score ≥ t" has the best F1; the highest among the best.

    Args:
        scores: (n,) of one label.
        labels: (n,) 0 or 1.

    Raises:
        InputError: if no label is 1, one is neither 0 nor 1, a score is not finite, or the numbers differ.
    """
    values, given = doubles(to_torch(scores, "scores")), doubles(to_torch(labels, "labels"))
    if values.ndim != 1 or values.shape != given.shape:
        raise InputError(f"scores has shape {values.shape}, labels has {given.shape}: pass (n,) of one label, both")
    if not np.isfinite(values).all():
        raise InputError(
            f"scores holds NaN or infinity, the first at {int((~np.isfinite(values)).argmax())}: see what made it"
        )
    truth = given == 1
    if not (truth | (given == 0)).all():
        raise InputError(f"labels holds {given[~truth & (given != 0)][0]:g}: pass 1 where it applies and 0 elsewhere")
    if not truth.any():
        raise InputError("labels has no 1: F1 needs at least one positive")
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(values) + 1) + truth.sum())
    ends = np.append(np.diff(values[order]) != 0, True)  # equal scores fall on the same side
    return float(values[order][np.argmax(np.where(ends, f1, -1.0))])
