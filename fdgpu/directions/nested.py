"""Nested cross-validation: the score that choosing C has not made optimistic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fdgpu.directions.batch import ClassBatch
from fdgpu.directions.folds import choose_costs, folds_of_sheets


def nested_scores(batch: ClassBatch, cv: int) -> NDArray[np.float64]:
    """Hold out each fold, choose C by cross-validation on the others alone, fit them, and score the one held out.

    Returns:
        (K,) mean balanced accuracy; NaN for a class with too few samples of a kind to cross-validate inside a fold.
    """
    layout = batch.layout
    folds = folds_of_sheets(layout.labels, layout.sizes, cv)[0]
    outer = np.arange(cv)[:, None]
    labels = np.where(folds == outer, 0, layout.labels).astype(np.int8)
    fewest = np.minimum(layout.total(labels > 0), layout.total(labels < 0)).min(axis=0)
    able = np.flatnonzero(fewest >= cv)
    nested = np.full(len(layout.sizes), np.nan)
    if not len(able):
        return nested
    scores, _ = batch.cross_validate(labels, able.tolist())
    places = choose_costs(scores.mean(axis=2))
    decisions = batch.decide(batch.fit(labels, places, able.tolist()))
    hit = (decisions > 0) == layout.right
    recalls = [
        layout.total(hit & (folds == outer) & (layout.right == kind))
        / np.maximum(1, layout.total((folds == outer) & (layout.right == kind)))
        for kind in (True, False)
    ]
    nested[able] = np.mean(recalls, axis=0).mean(axis=0)[able]
    return nested
