"""The paper's fit of a batch of classes, step by step: cross-validate, choose C, fit (2.1)."""

from __future__ import annotations

import numpy as np

from fdgpu.directions.batch import ClassBatch, PaperFits
from fdgpu.directions.folds import choose_costs


def paper_fits_in_turn(batch: ClassBatch) -> PaperFits:
    """Do what :meth:`~fdgpu.directions.batch.ClassBatch.paper_fits` says by the batch's other methods."""
    labels = batch.layout.labels
    by_fold, cv_violation = batch.cross_validate(labels)
    scores = by_fold.mean(axis=2)
    places = choose_costs(scores)
    fits = batch.fit(labels, places)
    violation = np.maximum(cv_violation, fits.violation)
    return PaperFits(scores[0], places[0], batch.coef(fits)[0], fits.intercept[0], fits.n_iter[0], violation[0])
