"""From a batch of classes to what was found in each, and from all classes to the record of a fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from fdgpu.arrays import bring_down, to_device
from fdgpu.device import Backend, Choice
from fdgpu.directions.batch import ClassBatch, Directions
from fdgpu.directions.fit import Fit, Floats, Ints
from fdgpu.directions.modes import SPLIT_LEVEL, able_to_split, explain_by
from fdgpu.directions.parameters import SearchSettings, Solver, SolverSettings
from fdgpu.directions.resampling import nested_scores, permutation_test, resampled_directions
from fdgpu.directions.whitening import Whitening
from fdgpu.findings import Status


@dataclass(frozen=True)
class BatchSolution:
    """What was found in K classes; on the host but for the resamples.

    Attributes:
        indices: of the classes among all.
        explanations: ``explanations[r]`` by r + 1 failure modes, the strongest of each class first.
        p_values: (R, K) how surely there are so many modes; NaN where that was not tested.
        counts: (K,) explanations that hold: modes of a class, before false discoveries are controlled.
        resampled: (K, r + 1, B, d) on the device for each explanation; without resamples none.
        n_permutations: (K,) that were drawn.
        nested_scores: (K,).
        solver: of all of them.
    """

    indices: tuple[int, ...]
    explanations: list[Directions[Floats]]
    p_values: Floats
    counts: Ints
    resampled: list[torch.Tensor]
    n_permutations: Ints
    nested_scores: Floats
    solver: Solver


def distil(batch: ClassBatch, search: SearchSettings) -> BatchSolution:
    """Find and test the failure directions of every class of ``batch``.

    On a device the host waits at the end, for all tables at once; and before it looks for one more failure mode, for
    the p-values that say in which classes.

    Args:
        batch: K classes, each with enough right and wrong samples.
        search: what is looked for and how it is tested.
    """
    layout, seed = batch.layout, search.random_state
    directions = batch.paper_directions()
    found, resampled, nothing = [directions], [], torch.full_like(directions.intercept[0], torch.nan).double()
    if search.n_resamples:
        resampled.append(resampled_directions(batch, layout.labels, directions.C_index, seed, search.n_resamples))
    p, drawn, nested = nothing, torch.zeros_like(nothing), nothing
    if search.n_permutations:
        observed = directions.cv_scores.take_along_dim(directions.C_index[..., None], dim=2)[0, :, 0]
        p, drawn = permutation_test(batch, observed, seed, search.n_permutations, search.stop_after)
    if search.nested:
        nested = nested_scores(batch)
    p_values, counts = [], np.ones(len(layout.sizes), np.int64)
    if search.n_directions > 1:
        (first,) = bring_down("p-values, by which more failure modes are looked for", p)
        p_values.append(first)
    for r in range(2, search.n_directions + 1):
        # one more mode is only looked for where there is one less
        open_ = np.flatnonzero((counts == r - 1) & ~(p_values[-1] > search.fdr)).tolist()
        able = able_to_split(batch, open_, r)
        if not able:
            break
        modes, labels, p_split_there = explain_by(r, batch, able, search)
        (p_split,) = bring_down("p-values of one more failure mode", p_split_there)
        # so many modes cannot be surer than fewer
        p_values.append(np.full(len(counts), np.nan))
        if search.n_permutations:
            p_values[-1][able] = np.maximum(p_split, p_values[-2])[able]
        kept = [i for i in able if p_split[i] <= SPLIT_LEVEL]
        counts[kept] = r
        found.append(modes)
        if search.n_resamples:
            # which error belongs to which mode stays as it was found
            resampled.append(resampled_directions(batch, labels, modes.C_index, seed, search.n_resamples, kept))
    down = bring_down("what was found", p, drawn, nested, *(values for one in found for values in one))
    width = len(directions)
    explanations = [Directions(*down[at : at + width]) for at in range(3, len(down), width)]
    return BatchSolution(
        layout.indices, explanations, np.stack(p_values or down[:1]), counts, resampled, down[1].astype(np.int64),
        down[2], batch.solver,
    )  # fmt: skip


def gather(
    solutions: Sequence[BatchSolution],
    *,
    classes: Ints,
    status: Sequence[Status],
    n_samples: Ints,
    n_errors: Ints,
    whitening: Whitening,
    backend: Choice,
    settings: SolverSettings,
    search: SearchSettings,
    reasons: Sequence[str],
) -> Fit:
    """Control false discoveries over everything that was tested, and keep of each class as many directions as hold.

    Args:
        solutions: of the classes that were solved.
        classes: (k,) ids.
        status: of each class.
        n_samples: (k,) of each class.
        n_errors: (k,) of which the model got wrong.
        whitening: of the embeddings.
        backend: that solved them.
        settings: the solver's.
        search: how many directions were looked for, and how they were tested.
        reasons: why each class's p-value would mean nothing; "" where it does.
    """
    k, r, d = len(classes), search.n_directions, len(whitening.mean)
    tested = np.full((k, r), np.nan)
    n_directions, n_permutations, nested_score = np.zeros(k, np.int64), np.zeros(k, np.int64), np.full(k, np.nan)
    solver = [Solver.NONE] * k
    for one in solutions:
        own = list(one.indices)
        tested[own, : len(one.p_values)] = one.p_values.T
        n_directions[own], n_permutations[own], nested_score[own] = one.counts, one.n_permutations, one.nested_scores
        for index in own:
            solver[index] = one.solver
    tested[[bool(reason) for reason in reasons]] = np.nan
    q = false_discovery_rates(tested)
    if search.n_permutations:
        sure = np.maximum(1, (q <= search.fdr).sum(axis=1))
        n_directions = np.minimum(n_directions, sure)
    is_kept = np.arange(r) < n_directions[:, None]  # (k, r)

    def table(
        value: Callable[[Directions[Floats]], NDArray[Any]], empty: object, dtype: type, *shape: int
    ) -> NDArray[Any]:
        """One value of every direction that is kept, (k, r, *shape)."""
        array: NDArray[Any] = np.full((k, r, *shape), empty, dtype)
        for one in solutions:
            own = np.array(one.indices)
            for count, explanation in enumerate(one.explanations, start=1):
                here = np.flatnonzero(n_directions[own] == count)
                array[own[here], :count] = np.moveaxis(value(explanation)[:, here], 0, 1)
        return array

    costs = np.array(settings.Cs)
    return Fit(
        solver_settings=settings,
        search_settings=search,
        classes=classes,
        status=status,
        coef=table(lambda one: one.coef, np.nan, np.float32, d),
        intercept=table(lambda one: one.intercept, np.nan, np.float64),
        C=table(lambda one: costs[one.C_index.astype(np.int64)], np.nan, np.float64),
        cv_score=table(_chosen_score, np.nan, np.float64),
        cv_scores=table(lambda one: one.cv_scores, np.nan, np.float64, len(settings.Cs)),
        p_value_reason=reasons,
        p_value=np.where(is_kept, tested, np.nan),
        q_value=np.where(is_kept, q, np.nan),
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
        resampled_coef=_resampled(solutions, n_directions, (k, r, search.n_resamples, d)),
    )


def _chosen_score(one: Directions[Floats]) -> Floats:
    """Return (r, K) the mean balanced accuracy at the chosen C."""
    at = one.C_index.astype(np.int64)[..., None]
    return np.asarray(np.take_along_axis(one.cv_scores, at, axis=2)[..., 0])


def _resampled(
    solutions: Sequence[BatchSolution], n_directions: Ints, shape: tuple[int, int, int, int]
) -> torch.Tensor:
    """Return the resamples of every direction that is kept, where they are; NaN elsewhere."""
    there = [one for solution in solutions for one in solution.resampled]
    device = there[0].device if there else torch.device("cpu")
    resampled = torch.full(shape, torch.nan, device=device)
    for solution in solutions:
        own = np.array(solution.indices)
        for count, one in enumerate(solution.resampled, start=1):
            here = np.flatnonzero(n_directions[own] == count)
            resampled[to_device(own[here], device), :count] = one[to_device(here, device)]
    return resampled


def false_discovery_rates(p: Floats) -> Floats:
    """Return Benjamini-Hochberg q-values of all p-values that are not NaN, in the shape of ``p``."""
    q, tested = np.full(p.shape, np.nan), ~np.isnan(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q
