"""From a batch of classes to what was found in each, and from all classes to the record of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import bring_down, to_device
from fdgpu.device import Backend, Choice
from fdgpu.directions.batch import ClassBatch, Directions, Solve, SvmBatch
from fdgpu.directions.fit import Fit, Floats, Ints
from fdgpu.directions.latent import LatentBatch
from fdgpu.directions.modes import SPLIT_LEVEL, TEST_PERMUTATIONS, able_to_split, explain_by
from fdgpu.directions.parameters import SearchSettings, Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.directions.testing import PermutationTests, false_discovery_rates, permutation_test, resampled_directions
from fdgpu.directions.whitening import Whitening
from fdgpu.findings import Status
from fdgpu.progress import Reporter, silent

Kind = TypeVar("Kind", bound=np.generic)


@dataclass(frozen=True)
class BatchSolution:
    """What was found in K classes; on the host but for the resamples.

    Attributes:
        indices: of the classes among all.
        explanations: ``explanations[r]`` by r + 1 failure modes, the strongest of each class first.
        exceeded: (K,) permutations that scored at least as high.
        n_permutations: (K,) that were drawn.
        split_p_values: (R - 1, K) how surely there are two and more modes; NaN where that was not tested.
        counts: (K,) explanations that hold: modes of a class, before false discoveries are controlled.
        resampled: (K, r + 1, B, d) on the device for each explanation; without resamples none.
        nested_scores: (K,).
        solver: of all of them.
        test_seconds: that permutations took; on a device that the host did not wait for, until they were queued.
    """

    indices: tuple[int, ...]
    explanations: list[Directions[Floats]]
    exceeded: Ints
    n_permutations: Ints
    split_p_values: list[Floats]
    counts: Ints
    resampled: list[torch.Tensor]
    nested_scores: Floats
    solver: Solver
    test_seconds: float


def distil(batch: ClassBatch, search: SearchSettings, most: int = 0, progress: Reporter = silent) -> BatchSolution:
    """Find and test the failure directions of every class of ``batch``.

    On a device the host waits at the end, for all tables at once; and before it looks for one more failure mode, for
    the p-values that say in which classes.

    Args:
        batch: K classes, each with enough right and wrong samples.
        search: what is looked for and how it is tested.
        most: permutations of a test that needs no fits, where fewer do not reject; see :func:`most_permutations`.
        progress: is told how many permutations a class was given.
    """
    layout, seed = batch.layout, search.random_state
    directions = batch.one_direction()
    resampled, nothing = list[torch.Tensor](), torch.full_like(directions.intercept[0], torch.nan).double()
    if search.n_resamples:
        resampled.append(resampled_directions(batch, layout.labels, directions.C_index, seed, search.n_resamples))
    exceeded = drawn = torch.zeros_like(nothing)
    start = perf_counter()
    if search.n_permutations:
        draws = range(search.n_permutations)
        exceeded, drawn = permutation_test(
            batch, directions.statistic[0], seed, draws, search.stop_after, progress=progress
        )
    test_seconds = perf_counter() - start
    nested = batch.nested_scores() if search.nested else nothing
    found, split_p_values, counts = [directions], list[Floats](), np.ones(len(layout.sizes), np.int64)
    if search.n_directions > 1:
        (surest,) = bring_down(
            "p-values, by which more failure modes are looked for", (1 + exceeded.double()) / (1 + drawn)
        )
        for modes, p_values, kept, again in _further_modes(batch, search, most, surest):
            found.append(modes)
            split_p_values.append(p_values)
            counts[kept] = len(found)
            resampled += again
    down = bring_down("what was found", exceeded, drawn, nested, *(values for one in found for values in one))
    width = len(directions)
    explanations = [Directions(*down[at : at + width]) for at in range(3, len(down), width)]
    return BatchSolution(
        layout.indices, explanations, down[0].astype(np.int64), down[1].astype(np.int64), split_p_values, counts,
        resampled, down[2], batch.solver, test_seconds,
    )  # fmt: skip


def _further_modes(
    batch: ClassBatch, search: SearchSettings, most: int, surest: Floats
) -> Iterator[tuple[Directions[torch.Tensor], Floats, list[int], list[torch.Tensor]]]:
    """Look for two failure modes, and for one more as long as a class has one less.

    Args:
        batch: K classes.
        search: what is looked for.
        most: permutations where fewer do not reject.
        surest: (K,) p-values of one mode.

    Yields:
        For each number of modes: their directions, p-values (K,) of there being so many, the classes that have them,
        and the resamples.
    """
    own = batch.explain_by if isinstance(batch, LatentBatch) else partial(explain_by, batch=cast(SvmBatch, batch))
    kept, count = list(range(len(surest))), max(search.n_permutations, TEST_PERMUTATIONS)
    for r in range(2, search.n_directions + 1):
        open_ = [i for i in kept if not (search.n_permutations and surest[i] > search.fdr)]
        able = able_to_split(batch, open_, r)
        if not able:
            return
        modes, labels, test = own(r, classes=able, search=search)
        (p_split,) = bring_down("p-values of one more failure mode", test(count, able))
        p_values = np.full(len(surest), np.nan)
        p_values[able] = p_split[able]
        surest = np.maximum(surest, np.nan_to_num(p_values))
        kept = [i for i in able if p_split[i] <= SPLIT_LEVEL]
        if kept and most > count:
            (sharper,) = bring_down("sharper p-values of one more failure mode", test(most, kept))
            p_values[kept] = sharper[kept]
        again = []
        if search.n_resamples:
            # which error belongs to which mode stays as it was found
            again.append(
                resampled_directions(batch, labels, modes.C_index, search.random_state, search.n_resamples, kept)
            )
        yield modes, p_values, kept, again


def draw_further(
    batch: ClassBatch,
    *,
    search: SearchSettings,
    draws: range,
    observed: Mapping[int, float],
    exceeded: Mapping[int, int],
    progress: Reporter = silent,
) -> tuple[tuple[int, ...], Ints, Ints]:
    """Draw on permutations of a batch's classes.

    Args:
        batch: K classes.
        search: how they are tested.
        draws: numbers of the permutations.
        observed: score of each class, by its index among all.
        exceeded: permutations before ``draws`` that scored at least as high, likewise.
        progress: is told how many permutations a class was given.

    Returns:
        The indices (K,) of the classes, how many permutations scored as high by now, and how many were drawn.
    """
    indices, device = batch.layout.indices, batch.layout.device
    score, before = (to_device(np.array([own[index] for index in indices]), device) for own in (observed, exceeded))
    counts = permutation_test(batch, score, search.random_state, draws, search.stop_after, before, progress)
    now, drawn = bring_down("permutations that were drawn on", *counts)
    return indices, now.astype(np.int64), drawn.astype(np.int64)


def draw_on(
    solve: Solve,
    parts: Sequence[Sequence[ClassSamples]],
    search: SearchSettings,
    solutions: Sequence[BatchSolution],
) -> PermutationTests:
    """Draw on where classes are undecided, until it is known which are significant (:mod:`fdgpu.directions.testing`).

    Args:
        solve: does work on classes.
        parts: classes that are tested; those of a part can be in one batch.
        search: how they are tested.
        solutions: what was found in them, and in others.
    """
    at = {index: (one, i) for one in solutions for i, index in enumerate(one.indices)}
    indices = np.array([one.index for part in parts for one in part], np.int64)
    row_of = {int(index): row for row, index in enumerate(indices)}
    own = [at[index] for index in row_of]
    exceeded = np.array([one.exceeded[i] for one, i in own], np.int64)
    drawn = np.array([one.n_permutations[i] for one, i in own], np.int64)
    observed = [one.explanations[0].statistic[0, i] for one, i in own]
    tests = PermutationTests(search, indices, exceeded, drawn)
    while (undecided := tests.undecided).any():
        draw = partial(
            draw_further,
            search=search,
            draws=range(int(drawn[undecided].max()), tests.next_look()),
            observed=dict(zip(row_of, observed, strict=True)),
            exceeded=dict(zip(row_of, exceeded.tolist(), strict=True)),
        )
        for part in parts:
            for found, *counts in solve([one for one in part if undecided[row_of[one.index]]], draw):
                rows = [row_of[index] for index in found]
                exceeded[rows], drawn[rows] = counts
    return tests


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
    tests: PermutationTests,
    reasons: Sequence[str],
    test_seconds: float,
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
        tests: of the classes that were tested.
        reasons: why each other class's p-value would mean nothing; "" where it has one.
        test_seconds: what the tests took.
    """
    k, r, d = len(classes), search.n_directions, len(whitening.mean)
    p = np.full((k, r), np.nan)
    n_directions, n_permutations, nested_score = np.zeros(k, np.int64), np.zeros(k, np.int64), np.full(k, np.nan)
    solver = [Solver.NONE] * k
    for one in solutions:
        own = list(one.indices)
        for direction, split in enumerate(one.split_p_values, start=1):
            p[own, direction] = split
        n_directions[own], n_permutations[own], nested_score[own] = one.counts, one.n_permutations, one.nested_scores
        for index in own:
            solver[index] = one.solver
    if search.n_permutations:
        p[tests.indices, 0], n_permutations[tests.indices] = tests.p_values, tests.drawn
    p = np.maximum.accumulate(p, axis=1)  # more modes cannot be surer than fewer; NaN where there was no test of one
    q = false_discovery_rates(p)
    if search.n_permutations:
        sure = np.maximum(1, (q <= search.fdr).sum(axis=1))
        n_directions = np.minimum(n_directions, sure)
    is_kept = np.arange(r) < n_directions[:, None]  # (k, r)

    def table(
        value: Callable[[Directions[Floats]], NDArray[np.generic]], empty: float, dtype: type[Kind], *shape: int
    ) -> NDArray[Kind]:
        """One value of every direction that is kept, (k, r, *shape)."""
        array = np.full((k, r, *shape), empty, dtype)
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
        shift=table(lambda one: one.shift if one.shift.shape[-1] else one.coef, np.nan, np.float32, d),
        C=table(lambda one: costs[one.C_index.astype(np.int64)], np.nan, np.float64),
        cv_score=table(_chosen_score, np.nan, np.float64),
        cv_scores=table(lambda one: one.cv_scores, np.nan, np.float64, len(settings.Cs)),
        p_value_reason=reasons,
        p_value=np.where(is_kept, p, np.nan),
        q_value=np.where(is_kept, q, np.nan),
        converged=table(lambda one: one.violation <= settings.tol, True, np.bool_),
        n_iter=table(lambda one: one.n_iter, 0, np.int64),
        n_samples=n_samples,
        n_errors=n_errors,
        n_directions=n_directions,
        n_errors_of=table(lambda one: one.n_errors, 0, np.int64),
        n_permutations=n_permutations,
        nested_score=nested_score,
        loss_weight=table(lambda one: one.loss_weight, np.nan, np.float64),
        loss_intercept=table(lambda one: one.loss_intercept, np.nan, np.float64),
        share=table(lambda one: one.share, np.nan, np.float64),
        explained=table(lambda one: one.explained, np.nan, np.float64, 3),
        solver=solver,
        backend=Backend(backend.name),
        backend_reason=backend.reason,
        test_seconds=test_seconds,
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
