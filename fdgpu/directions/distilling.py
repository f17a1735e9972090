"""From a batch of classes to what was found in each, and from all classes to the record of a fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from fdgpu.device import Backend, Choice
from fdgpu.directions.batch import ClassBatch, Direction, Floats, Ints
from fdgpu.directions.fit import Fit
from fdgpu.directions.modes import SPLIT_LEVEL, explain_by
from fdgpu.directions.parameters import SearchSettings, Solver, SolverSettings
from fdgpu.directions.resampling import nested_scores, permutation_test, resampled_directions
from fdgpu.directions.whitening import Whitening
from fdgpu.findings import Status


@dataclass(frozen=True)
class ClassSolution:
    """What was found in one class.

    ``candidates[r]`` are the r + 1 directions of the explanation by r + 1 failure modes, the strongest first, and
    ``p_values[r]`` says how surely there are so many: one for each explanation that was tested, kept or not.
    """

    candidates: list[list[Direction]]
    p_values: list[float]
    n_permutations: int
    nested_score: float
    solver: Solver


def distil(batch: ClassBatch, indices: Sequence[int], cv: int, search: SearchSettings) -> list[ClassSolution]:
    """Find and test the failure directions of every class of ``batch``.

    Args:
        batch: K classes, each with enough right and wrong samples.
        indices: K indices in ``classes_``, which seed what is random.
        cv: folds.
        search: what is looked for and how it is tested.
    """
    k, layout = len(batch.layout.sizes), batch.layout

    def seeds(stream: int) -> list[tuple[int, int, int]]:
        return [(search.random_state, index, stream) for index in indices]

    directions = batch.paper_directions()
    if search.n_resamples:
        C_index = np.array([[direction.C_index for direction in directions]])
        resampled = resampled_directions(batch, layout.labels, C_index, seeds(1), search.n_resamples)[0]
        directions = [replace(one, resampled=own) for one, own in zip(directions, resampled, strict=True)]
    p, drawn = np.full(k, np.nan), np.zeros(k, np.int64)
    if search.n_permutations:
        observed = np.array([direction.cv_score for direction in directions])
        p, drawn = permutation_test(batch, observed, seeds(0), search.n_permutations, search.stop_after)
    nested = nested_scores(batch, cv) if search.nested else np.full(k, np.nan)
    candidates, p_values = [[[direction]] for direction in directions], [[float(value)] for value in p]
    for r in range(2, search.n_directions + 1):
        # one more mode is only looked for where there is one less
        open_ = [i for i in range(k) if len(candidates[i]) == r - 1 and not p_values[i][-1] > search.fdr]
        if not open_:
            break
        for i, (modes, p_split) in explain_by(r, batch, open_, seeds(r), cv, search).items():
            if p_split <= SPLIT_LEVEL:
                candidates[i].append(modes)
            # so many modes cannot be surer than fewer
            p_values[i].append(max(p_split, p_values[i][-1]) if search.n_permutations else np.nan)
    return [ClassSolution(candidates[i], p_values[i], int(drawn[i]), float(nested[i]), batch.solver) for i in range(k)]


def gather(
    solutions: Mapping[int, ClassSolution],
    *,
    classes: Ints,
    status: Sequence[Status],
    n_samples: Ints,
    n_errors: Ints,
    whitening: Whitening,
    backend: Choice,
    settings: SolverSettings,
    search: SearchSettings,
) -> Fit:
    """Control false discoveries over everything that was tested, and keep of each class as many directions as hold.

    Args:
        solutions: of the classes that were solved, by their index in ``classes``.
        classes: (k,) ids.
        status: of each class.
        n_samples: (k,) of each class.
        n_errors: (k,) of which the model got wrong.
        whitening: of the embeddings.
        backend: that solved them.
        settings: the solver's.
        search: how many directions were looked for, and how they were tested.
    """
    k, r = len(classes), search.n_directions
    tested = np.full((len(solutions), r), np.nan)
    for row, solution in zip(tested, solutions.values(), strict=True):
        row[: len(solution.p_values)] = solution.p_values
    q = false_discovery_rates(tested)
    p_value, q_value = np.full((k, r), np.nan), np.full((k, r), np.nan)
    n_directions, n_permutations, nested_score = np.zeros(k, np.int64), np.zeros(k, np.int64), np.full(k, np.nan)
    solver = [Solver.NONE] * k
    kept: dict[tuple[int, int], Direction] = {}  # by index of class and direction
    for i, (index, solution) in enumerate(solutions.items()):
        count = len(solution.candidates)
        if search.n_permutations:
            count = max(1, min(count, int((q[i] <= search.fdr).sum())))
        p_value[index, :count], q_value[index, :count] = tested[i, :count], q[i, :count]
        n_directions[index], n_permutations[index] = count, solution.n_permutations
        nested_score[index], solver[index] = solution.nested_score, solution.solver
        kept |= {(index, j): direction for j, direction in enumerate(solution.candidates[count - 1])}

    def table(value: Callable[[Direction], object], empty: object, dtype: type, *shape: int) -> NDArray[Any]:
        """One value of every direction that is kept, (k, r, *shape)."""
        array: NDArray[Any] = np.full((k, r, *shape), empty, dtype)
        for at, direction in kept.items():
            array[at] = value(direction)
        return array

    d = len(whitening.mean)
    return Fit(
        solver_settings=settings,
        search_settings=search,
        classes=classes,
        status=status,
        coef=table(lambda one: one.w, np.nan, np.float32, d),
        intercept=table(lambda one: one.intercept, np.nan, np.float64),
        C=table(lambda one: settings.Cs[one.C_index], np.nan, np.float64),
        cv_score=table(lambda one: one.cv_score, np.nan, np.float64),
        cv_scores=table(lambda one: one.cv_scores, np.nan, np.float64, len(settings.Cs)),
        p_value=p_value,
        q_value=q_value,
        converged=table(lambda one: one.violation <= settings.tol, True, np.bool_),
        n_iter=table(lambda one: one.n_iter, 0, np.int64),
        n_samples=n_samples,
        n_errors=n_errors,
        n_directions=n_directions,
        n_errors_of=table(lambda one: one.n_errors, 0, np.int64),
        n_permutations=n_permutations,
        nested_score=nested_score,
        solver=solver,
        backend=Backend(backend.name),
        backend_reason=backend.reason,
        whitening=whitening,
        resampled_coef=table(lambda one: one.resampled, np.nan, np.float32, search.n_resamples, d),
    )


def false_discovery_rates(p: Floats) -> Floats:
    """Return Benjamini-Hochberg q-values of all p-values that are not NaN, in the shape of ``p``."""
    q, tested = np.full(p.shape, np.nan), ~np.isnan(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q
