"""From a batch of classes to what was found in each: the paper's direction, its tests, and further failure modes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fdgpu.directions.batch import ClassBatch
from fdgpu.directions.modes import SPLIT_LEVEL, explain_by
from fdgpu.directions.nested import nested_scores
from fdgpu.directions.problem import ClassSolution, Mode, SearchSettings, SolverSettings
from fdgpu.directions.significance import permutation_test
from fdgpu.directions.stability import resampled_directions


def distil(
    batch: ClassBatch, indices: Sequence[int], settings: SolverSettings, tests: SearchSettings
) -> list[ClassSolution]:
    """Find and test the failure directions of every class of ``batch``.

    Args:
        batch: K classes, each with enough right and wrong samples.
        indices: K places in ``classes_``, which seed what is random.
        settings: the solver's.
        tests: what is tested.
    """
    k = len(batch.layout.sizes)
    modes = _resampled(batch, paper_directions(batch, settings), indices, settings, tests)
    p, drawn = np.full(k, np.nan), np.zeros(k, np.int64)
    if tests.n_permutations:
        seeds = [(tests.seed, index, 0) for index in indices]
        observed = np.array([mode.cv_score for mode in modes])
        p, drawn = permutation_test(batch, observed, seeds, tests.n_permutations, tests.stop_after)
    nested = nested_scores(batch, settings.cv) if tests.nested else np.full(k, np.nan)
    candidates, p_values = [[[mode]] for mode in modes], [[float(value)] for value in p]
    for r in range(2, tests.n_directions + 1):
        # one more mode is only looked for where there is one less
        open_ = [i for i in range(k) if len(candidates[i]) == r - 1 and not p_values[i][-1] > tests.level]
        if not open_:
            break
        seeds = [(tests.seed, index, r) for index in indices]
        for i, explanation in explain_by(r, batch, open_, seeds, settings, tests).items():
            if explanation.p_value <= SPLIT_LEVEL:
                candidates[i].append(explanation.modes)
            # so many modes cannot be surer than fewer
            p_values[i].append(float(max(explanation.p_value, p_values[i][-1])) if tests.n_permutations else np.nan)
    return [ClassSolution(candidates[i], p_values[i], int(drawn[i]), float(nested[i]), batch.solver) for i in range(k)]


def _resampled(
    batch: ClassBatch, modes: list[Mode], indices: Sequence[int], settings: SolverSettings, tests: SearchSettings
) -> list[Mode]:
    """Add to the paper's directions those of halves of the samples, where they are asked for."""
    if not tests.n_resamples:
        return modes
    places = np.array([[settings.costs.index(mode.cost) for mode in modes]])
    seeds = [(tests.seed, index, 1) for index in indices]
    halves = resampled_directions(batch, batch.layout.labels, places, seeds, tests.n_resamples)[0]
    return [replace(mode, resampled=own) for mode, own in zip(modes, halves, strict=True)]


def paper_directions(batch: ClassBatch, settings: SolverSettings) -> list[Mode]:
    """Fit the paper's one SVM a class: C by cross-validation, then all samples (2.1)."""
    fits = batch.paper_fits()
    return [
        Mode(
            w=fits.coef[i],
            intercept=float(fits.intercept[i]),
            cost=settings.costs[fits.places[i]],
            cv_score=float(fits.scores[i, fits.places[i]]),
            cv_scores=fits.scores[i],
            n_errors=int(batch.layout.n_errors[i]),
            n_iter=int(fits.n_iter[i]),
            violation=float(fits.violation[i]),
        )
        for i in range(len(batch.layout.sizes))
    ]
