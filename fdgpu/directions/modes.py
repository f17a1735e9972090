"""Several failure modes in one class, by alternating assignment.

Every error belongs to the direction that flags it most; every direction is a SVM of *all* right answers against *its*
errors; repeat until nothing moves, from several starts. (Deflation does not do it: after the first direction is taken
out, the next one separates the modes from each other and not errors from right answers. And a better prediction of
errors does not say how many modes there are: where either of two attributes makes the model fail, one direction
between them predicts the errors as well as two. What tells modes apart is that errors lie on both sides of the axis
between two directions, and right answers in the middle.)

The starts alternate at the smallest C of the grid, where every alpha is at its bound and a fit costs no step; the
best is polished at the C that cross-validation chooses, which here is the smallest within a standard error of the
best: the raw maximum often takes a large C for a score that is no better, whose direction is noisier.

Whether r modes are there is tested by cross-fitting: they are found on all folds but one, and on the fold held out

- the axis between every two modes must have errors farther out than right answers are, on *both* sides. A mode split in
  two by chance has no errors far out, one split by a nuisance has as many right answers there, and a mode split from
  scattered errors has errors far out on one side only;
- no mode's errors may be mostly flagged by two others as well: that is where two modes meet, and no third one.

The p-value permutes correctness among the held-out samples of a side, and the worst side of all axes decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from fdgpu.directions.batch import (
    ClassBatch,
    Direction,
    Duals,
    Floats,
    Ints,
    Labels,
    assign_folds,
    choose_costs,
    directions_of,
    standard_error,
)
from fdgpu.directions.parameters import SearchSettings
from fdgpu.directions.resampling import resampled_directions

STARTS = 16  # three equal modes are hit by three random errors in two of nine starts
ROUNDS = 30  # alternations of the starts; they settle in 3 to 8
POLISHES = 2
POLISH_ROUNDS = 8
TEST_PERMUTATIONS = 199  # at least: they need no fits
SPLIT_LEVEL = 0.01  # one class in a hundred with one mode is split in two
SHARED = 1 / 3  # a mode of whose errors two others flag more than this is where these two meet


def explain_by(
    r: int, batch: ClassBatch, classes: Sequence[int], seeds: Sequence[Sequence[int]], cv: int, search: SearchSettings
) -> dict[int, tuple[list[Direction], float]]:
    """Find ``r`` failure modes in each of ``classes``, and test that there are so many.

    Args:
        r: number of modes, at least 2.
        batch: K classes.
        classes: those of interest.
        seeds: K.
        cv: folds.
        search: how many permutations and resamples.

    Returns:
        For each class the direction of every mode, the strongest first, and the p-value of there being so many; nothing
        for a class with too few errors for ``r`` modes in every fold.
    """
    layout = batch.layout
    folds = assign_folds(layout.labels, layout.sizes, cv)[0]
    # in every training part each mode needs as many errors as there are folds
    able = [i for i in classes if layout.n_errors[i] - -(-layout.n_errors[i] // cv) >= 2 * r * cv]
    if not able:
        return {}
    generators = {i: np.random.default_rng(seeds[i]) for i in able}
    flags = []  # of the modes found without each fold: (r, N)
    for fold in range(cv):
        part = folds != fold
        labels = _labels(r, batch, part, _find(r, batch, able, part, cv, generators))
        C_index, _ = _choose(batch, able, labels)
        flags.append(_flags(batch, labels, batch.fit(labels, C_index, able)))
    everything = np.ones(len(folds), bool)
    assigned = _find(r, batch, able, everything, cv, generators)
    labels = _labels(r, batch, everything, assigned)
    C_index, scores = _choose(batch, able, labels)
    duals = batch.fit(labels, C_index, able)
    coef, b, n_iter, violation = batch.coef(duals), duals.intercept, duals.n_iter, duals.violation
    modes = [
        directions_of(coef[j], b[j], C_index[j], scores[j], layout.count(assigned == j), n_iter[j], violation[j])
        for j in range(r)
    ]
    count = max(search.n_permutations, TEST_PERMUTATIONS)
    p_values = {}
    for i in able:
        rows = layout.rows(i)
        p_values[i] = _p_value([own[:, rows] for own in flags], layout.right[rows], folds[rows], count, generators[i])
    kept = [i for i in able if p_values[i] <= SPLIT_LEVEL]
    if search.n_resamples and kept:
        # which error belongs to which mode stays as it was found
        resampled = resampled_directions(batch, labels, C_index, seeds, search.n_resamples, kept)
        for j, i in ((j, i) for j in range(r) for i in kept):
            modes[j][i] = replace(modes[j][i], resampled=resampled[j, i])
    return {i: (sorted((own[i] for own in modes), key=lambda mode: -mode.strength), p_values[i]) for i in able}


# --- finding --------------------------------------------------------------------------------------------------------


def _find(
    r: int,
    batch: ClassBatch,
    classes: Sequence[int],
    part: NDArray[np.bool_],
    cv: int,
    generators: dict[int, np.random.Generator],
) -> Ints:
    """Find ``r`` modes among the samples of ``part`` (N,): the mode of each error that takes part, -1 elsewhere."""
    starts = _random_starts(r, batch, classes, part, cv, generators)
    smallest_C = np.zeros((r, len(batch.layout.sizes)), np.int64)
    assigned, value = _alternate(r, batch, classes, part, starts, smallest_C, cv, ROUNDS)
    best = np.argmax(value, axis=0)
    chosen = np.take_along_axis(assigned, best[batch.layout.class_of][None], axis=0)
    for _ in range(POLISHES):
        C_index, _scores = _choose(batch, classes, _labels(r, batch, part, chosen[0]))
        polished, _ = _alternate(r, batch, classes, part, chosen, C_index, cv, POLISH_ROUNDS)
        if (polished == chosen).all():
            break
        chosen = polished
    return np.asarray(chosen[0])


def _labels(r: int, batch: ClassBatch, part: NDArray[np.bool_], assigned: Ints) -> Labels:
    """All right answers of ``part`` against each mode's errors: (r, N)."""
    own = (assigned == np.arange(r)[:, None]).astype(np.int8)
    return np.asarray((batch.layout.right & part).astype(np.int8) - own, np.int8)


def _choose(batch: ClassBatch, classes: Sequence[int], labels: Labels) -> tuple[Ints, Floats]:
    """Choose C for every mode and class: the smallest within a standard error of the best; (r, K) and (r, K, c)."""
    by_fold, _ = batch.cross_validate(labels, classes)
    scores = by_fold.mean(axis=2)
    error = standard_error(scores, batch.layout.count(labels > 0), batch.layout.count(labels < 0))
    return choose_costs(scores, error), scores


def _flags(batch: ClassBatch, labels: Labels, duals: Duals) -> Floats:
    """Signed distance of every sample from the mean right answer along each direction, (P, N); negative is hard."""
    layout = batch.layout
    along = batch.decide(duals) - duals.intercept[:, layout.class_of]
    length = np.sqrt(np.maximum(layout.total(duals.a * along), 1e-30))  # ‖w‖² = aᵀ K a
    is_right = labels > 0
    centre = layout.total(np.where(is_right, along, 0.0)) / np.maximum(1, layout.count(is_right))
    return np.asarray((along - centre[:, layout.class_of]) / length[:, layout.class_of])


def _random_starts(
    r: int,
    batch: ClassBatch,
    classes: Sequence[int],
    part: NDArray[np.bool_],
    least: int,
    generators: dict[int, np.random.Generator],
) -> Ints:
    """Seed each mode with one random error, and assign every error to the seed that lies nearest: (STARTS, N)."""
    layout = batch.layout
    labels = np.zeros((STARTS, r, len(part)), np.int8)
    for i in classes:
        rows = layout.rows(i)
        errors = rows.start + np.flatnonzero(~layout.right[rows] & part[rows])
        labels[:, :, rows] = (layout.right[rows] & part[rows]).astype(np.int8)
        for s in range(STARTS):
            labels[s, np.arange(r), generators[i].choice(errors, r, replace=False)] = -1
    matrix = labels.reshape(STARTS * r, -1)
    smallest_C = np.zeros((len(matrix), len(layout.sizes)), np.int64)
    flags = _flags(batch, matrix, batch.fit(matrix, smallest_C, classes))
    nearest = flags.reshape(labels.shape).argmin(axis=1)
    wrong = np.zeros(len(part), bool)
    for i in classes:
        wrong[layout.rows(i)] = (~layout.right & part)[layout.rows(i)]
    # where a seed attracts too few, deal the errors out like cards
    dealt = (np.cumsum(wrong) - 1) % r
    return np.where(wrong, np.where(_enough(r, batch, np.where(wrong, nearest, -1), least), nearest, dealt), -1)


def _enough(r: int, batch: ClassBatch, assigned: Ints, least: int) -> NDArray[np.bool_]:
    """Whether every mode of a sample's class has at least ``least`` errors, (S, N)."""
    fewest = np.min([batch.layout.count(assigned == j) for j in range(r)], axis=0)
    return np.asarray((fewest >= least)[:, batch.layout.class_of])


def _alternate(
    r: int,
    batch: ClassBatch,
    classes: Sequence[int],
    part: NDArray[np.bool_],
    assigned: Ints,
    C_index: Ints,
    least: int,
    rounds: int,
) -> tuple[Ints, Floats]:
    """Alternate between fitting and assigning from every start at once.

    Args:
        r: modes.
        batch: K classes.
        classes: those of interest.
        part: (N,) samples that take part.
        assigned: (S, N) mode of every error, -1 of other samples.
        C_index: (r, K) C of every mode.
        least: errors that a mode may not fall below; a start that would stays where it is.
        rounds: most alternations.

    Returns:
        The last assignments (S, N), and how far out they leave the errors, (S, K), the larger the better.
    """
    layout, s = batch.layout, len(assigned)
    moving = list(classes)
    value = np.full((s, len(layout.sizes)), -np.inf)
    for _ in range(rounds):
        labels = np.concatenate([_labels(r, batch, part, own) for own in assigned])
        duals = batch.fit(labels, np.tile(C_index, (s, 1)), moving)
        flags = _flags(batch, labels, duals).reshape(s, r, -1)
        wrong = assigned >= 0
        value[:, moving] = -layout.total(np.where(wrong, flags.min(axis=1), 0.0))[:, moving]
        wanted = np.where(wrong, flags.argmin(axis=1), -1)
        still = ~np.isin(layout.class_of, moving)
        after = np.where(_enough(r, batch, wanted, least) & ~still, wanted, assigned)
        moved = layout.count(after != assigned).sum(axis=0)
        assigned = after
        moving = [i for i in moving if moved[i]]
        if not moving:
            break
    return assigned, value


# --- testing --------------------------------------------------------------------------------------------------------


def _p_value(
    flags: list[Floats],
    right: NDArray[np.bool_],
    folds: NDArray[np.int16],
    n_permutations: int,
    generator: np.random.Generator,
) -> float:
    """Test one class on held-out samples; see the top of the file.

    Args:
        flags: (r, n) of the modes found without each fold.
        right: (n,).
        folds: (n,).
        n_permutations: B.
        generator: of randomness.
    """
    aligned = [flags[0], *[_aligned(own, flags[0]) for own in flags[1:]]]
    if any(_is_a_meeting(own, right, folds == fold) for fold, own in enumerate(aligned)):
        return 1.0
    worst = 0.0
    for i, j in combinations(range(len(flags[0])), 2):
        for sign in (1, -1):
            axes = [sign * (own[i] - own[j]) for own in aligned]
            worst = max(worst, _side_p_value(axes, right, folds, n_permutations, generator))
    return worst


def _aligned(flags: Floats, to: Floats) -> Floats:
    """Return the modes in the order in which they resemble those of another fold most."""
    r = len(to)
    alike = np.corrcoef(to, flags)[:r, r:]
    best = max(permutations(range(r)), key=lambda order: sum(alike[i, j] for i, j in enumerate(order)))
    return flags[list(best)]


def _is_a_meeting(flags: Floats, right: NDArray[np.bool_], held: NDArray[np.bool_]) -> bool:
    """Whether some mode's held-out errors are mostly flagged by two other modes as well."""
    r = len(flags)
    mine = flags.argmin(axis=0)
    hard = np.zeros(flags.shape, bool)
    for j in range(r):
        own = ~held & ~right & (mine == j)
        if own.any():
            hard[j] = flags[j] < flags[j][own].mean() / 2  # halfway between right answers, at 0, and its errors
    for j in range(r):
        own = held & ~right & (mine == j)
        others = np.delete(hard[:, own], j, axis=0).sum(axis=0)
        if own.any() and (others >= 2).mean() > SHARED:
            return True
    return False


def _side_p_value(
    axes: list[Floats],
    right: NDArray[np.bool_],
    folds: NDArray[np.int16],
    n_permutations: int,
    generator: np.random.Generator,
) -> float:
    """P-value of errors lying farther out than right answers on the positive side of an axis, over all folds."""
    observed, null = 0.0, np.zeros(n_permutations)
    for fold, axis in enumerate(axes):
        held = folds == fold
        side = held & (axis > np.median(axis[held & right]))
        wrong = ~right[side]
        if wrong.all() or not wrong.any():
            continue
        ranks = np.argsort(np.argsort(axis[side])).astype(float)
        standard = (ranks - ranks.mean()) / (ranks.std() * np.sqrt(len(ranks)))
        observed += standard[wrong].sum()
        drawn = generator.permuted(np.repeat(wrong[None], n_permutations, axis=0), axis=1)
        null += drawn @ standard
    return float((1 + (null >= observed - 1e-9).sum()) / (1 + n_permutations))
