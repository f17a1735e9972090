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

All classes go together, and nothing waits for the device: there, a class that has settled is passed over by the solver
while the others alternate on, a fixed number of times; on the CPU, where a look costs nothing, they end with the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, permutations

import torch

from fdgpu.arrays import to_device
from fdgpu.directions.batch import ClassBatch, Directions, Duals, SvmBatch, choose_costs, mean_scores, standard_error
from fdgpu.directions.labellings import Layout, Stream, Tensor, some_errors, states_of
from fdgpu.directions.parameters import SearchSettings
from fdgpu.kernels.draws import choose

STARTS = 16  # three equal modes are hit by three random errors in two of nine starts
ROUNDS = 30  # alternations of the starts; they settle in 3 to 8
POLISHES = 2
POLISH_ROUNDS = 8
TEST_PERMUTATIONS = 199  # at least: they need no fits
SIDE_DRAWS = 1 << 26  # permuted samples of a side's test at once
SPLIT_LEVEL = 0.01  # one class in a hundred with one mode is split in two
SHARED = 1 / 3  # a mode of whose errors two others flag more than this is where these two meet


def able_to_split(batch: ClassBatch, classes: Sequence[int], r: int) -> list[int]:
    """Return the classes with enough errors for ``r`` modes: in every training part each needs as many as folds."""
    cv, n_errors = batch.settings.cv, batch.layout.n_errors
    return [i for i in classes if n_errors[i] - -(-n_errors[i] // cv) >= 2 * r * cv]


def explain_by(
    r: int, batch: SvmBatch, classes: Sequence[int], search: SearchSettings
) -> tuple[Directions[Tensor], Tensor, Callable[[int, Sequence[int]], Tensor]]:
    """Find ``r`` failure modes in each of ``classes``.

    Args:
        r: number of modes, at least 2.
        batch: K classes.
        classes: those of interest, each :func:`able_to_split`.
        search: has the seed.

    Returns:
        The direction of every mode, the strongest of each class first; the label matrix (r, N) of each; and the test
        that there are so many: of a number of permutations and the classes of interest, their p-values (K,). What
        stands for other classes has no meaning.
    """
    layout, cv, seed = batch.layout, batch.settings.cv, search.random_state
    folds = batch.folds(layout.labels)[0]
    flags = []  # of the modes found without each fold: (r, N)
    for fold in range(cv):
        part = folds != fold
        labels = _labels(r, layout, part, _find(r, batch, classes, part, (seed, r, fold)))
        C_index, _ = _choose(batch, classes, labels)
        flags.append(_flags(layout, labels, _fitted(batch, labels, C_index, classes)))
    everything = torch.ones_like(layout.right)
    assigned = _find(r, batch, classes, everything, (seed, r, cv))
    labels = _labels(r, layout, everything, assigned)
    C_index, scores = _choose(batch, classes, labels)
    duals = batch.fit(labels, C_index, classes)
    n_errors = layout.count(labels < 0)
    strength = n_errors * (2 * scores.take_along_dim(C_index[..., None], dim=2)[..., 0] - 1)
    order = (-strength).argsort(dim=0, stable=True)  # (r, K)
    found = Directions.of_svms(
        batch.coef(duals), duals.intercept, C_index, scores, n_errors, duals.n_iter, duals.violation
    )
    ordered = Directions(*(_reordered(values, order) for values in found))

    def test(n_permutations: int, asked: Sequence[int]) -> Tensor:
        return _p_value(layout, flags, folds, n_permutations, (seed, r), asked)

    return ordered, labels.take_along_dim(layout.each(order), dim=0), test


def _reordered(values: Tensor, order: Tensor) -> Tensor:
    """Bring the modes of (r, K, …) into the ``order`` (r, K) of each class."""
    return values.take_along_dim(order.reshape(*order.shape, *[1] * (values.ndim - 2)), dim=0)


# --- finding --------------------------------------------------------------------------------------------------------


def _find(r: int, batch: SvmBatch, classes: Sequence[int], part: Tensor, stream: tuple[int, int, int]) -> Tensor:
    """Find ``r`` modes among the samples of ``part`` (N,): the mode of each error that takes part, -1 elsewhere."""
    layout = batch.layout
    starts = _random_starts(r, batch, classes, part, stream)
    smallest_C = torch.zeros((r, len(layout.sizes)), dtype=torch.int64, device=layout.device)
    assigned, value = _alternate(r, batch, classes, part, starts, smallest_C, ROUNDS)
    chosen = assigned.take_along_dim(layout.each(value.argmax(dim=0))[None], dim=0)
    for _ in range(POLISHES):
        C_index, _scores = _choose(batch, classes, _labels(r, layout, part, chosen[0]))
        before = chosen
        chosen, _ = _alternate(r, batch, classes, part, before, C_index, POLISH_ROUNDS)
        if layout.device.type == "cpu" and bool((chosen == before).all()):
            break
    return chosen[0]


def _labels(r: int, layout: Layout, part: Tensor, assigned: Tensor) -> Tensor:
    """All right answers of ``part`` against each mode's errors: (…, r, N) of ``assigned`` (…, N)."""
    own = assigned[..., None, :] == torch.arange(r, device=assigned.device)[:, None]
    return torch.where(own, -1, (layout.right & part).to(torch.int8))


def _fitted(batch: SvmBatch, labels: Tensor, C_index: Tensor, classes: Sequence[int]) -> tuple[Duals, Tensor]:
    """Fit, and decide every sample; NaN where a class was not asked for."""
    duals = batch.fit(labels, C_index, classes)
    return duals, batch.decide(duals)


def _choose(batch: SvmBatch, classes: Sequence[int], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Choose C for every mode and class: the smallest within a standard error of the best; (r, K) and (r, K, c)."""
    by_fold, _ = batch.cross_validate(labels, classes)
    scores = mean_scores(by_fold)
    error = standard_error(scores, batch.layout.count(labels > 0), batch.layout.count(labels < 0))
    return choose_costs(scores, error), scores


def _flags(layout: Layout, labels: Tensor, fitted: tuple[Duals, Tensor]) -> Tensor:
    """Signed distance of every sample from the mean right answer along each direction, (P, N); negative is hard."""
    duals, decisions = fitted
    along = decisions - layout.each(duals.intercept)
    length = layout.total(duals.a * along).clamp(min=1e-30).sqrt()  # ‖w‖² = aᵀ K a
    is_right = labels > 0
    centre = layout.total(torch.where(is_right, along, 0.0)) / layout.count(is_right).clamp(min=1)
    return (along - layout.each(centre)) / layout.each(length)


def _random_starts(
    r: int, batch: SvmBatch, classes: Sequence[int], part: Tensor, stream: tuple[int, int, int]
) -> Tensor:
    """Seed each mode with one random error, and assign every error to the seed that lies nearest: (STARTS, N)."""
    layout = batch.layout
    seed, *of_find = stream
    drawn = some_errors(layout, part, r, seed, *of_find, draws=STARTS, classes=classes)
    place = drawn.cumsum(dim=1) - _before(layout, drawn) - 1  # of each drawn error among those of its class
    labels = _labels(r, layout, part, torch.where(drawn, place, -1)).flatten(0, 1)
    smallest_C = torch.zeros((len(labels), len(layout.sizes)), dtype=torch.int64, device=layout.device)
    flags = _flags(layout, labels, _fitted(batch, labels, smallest_C, classes))
    wrong = ~layout.right & part
    nearest = torch.where(wrong, flags.unflatten(0, (STARTS, r)).argmin(dim=1), -1)
    # where a seed attracts too few, deal the errors out like cards
    dealt = torch.where(wrong, (wrong.cumsum(dim=0) - _before(layout, wrong) - 1) % r, -1)
    return torch.where(_enough(r, batch, nearest), nearest, dealt)


def _before(layout: Layout, chosen: Tensor) -> Tensor:
    """Count the True of (…, N) before each sample's class."""
    running = torch.nn.functional.pad(chosen.cumsum(dim=-1), (1, 0))
    return layout.each(running[..., layout.segments.starts[:-1]])


def _enough(r: int, batch: SvmBatch, assigned: Tensor) -> Tensor:
    """Whether every mode of a sample's class has as many errors as there are folds, (S, N)."""
    fewest = torch.stack([batch.layout.count(assigned == j) for j in range(r)]).amin(dim=0)
    return batch.layout.each(fewest >= batch.settings.cv)


def _alternate(
    r: int, batch: SvmBatch, classes: Sequence[int], part: Tensor, assigned: Tensor, C_index: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """Alternate between fitting and assigning from every start at once.

    Args:
        r: modes.
        batch: K classes.
        classes: those of interest.
        part: (N,) samples that take part.
        assigned: (S, N) mode of every error, -1 of other samples. A start of which a mode would fall below as many
            errors as there are folds stays where it is.
        C_index: (r, K) C of every mode.
        rounds: most alternations.

    Returns:
        The last assignments (S, N), and how far out they leave the errors, (S, K), the larger the better.
    """
    layout, s = batch.layout, len(assigned)
    moving = torch.ones(len(layout.sizes), dtype=torch.bool, device=layout.device)
    value = torch.full((s, len(moving)), -torch.inf, dtype=torch.float64, device=layout.device)
    for _ in range(rounds):
        labels = _labels(r, layout, part, assigned).flatten(0, 1)
        own_C = torch.where(moving, C_index, -1).repeat(s, 1)
        flags = _flags(layout, labels, _fitted(batch, labels, own_C, classes)).unflatten(0, (s, r))
        wrong = assigned >= 0
        value = torch.where(moving, -layout.total(torch.where(wrong, flags.amin(dim=1), 0.0)), value)
        wanted = torch.where(wrong, flags.argmin(dim=1), -1)
        after = torch.where(_enough(r, batch, wanted) & layout.each(moving), wanted, assigned)
        moving = moving & (layout.count(after != assigned).sum(dim=0) > 0)
        assigned = after
        if layout.device.type == "cpu" and not bool(moving.any()):
            break
    return assigned, value


# --- testing --------------------------------------------------------------------------------------------------------


def _p_value(
    layout: Layout,
    flags: Sequence[Tensor],
    folds: Tensor,
    n_permutations: int,
    stream: tuple[int, int],
    classes: Sequence[int],
) -> Tensor:
    """Test every class on held-out samples: (K,); see the top of the file.

    Args:
        layout: K classes.
        flags: (r, N) of the modes found without each fold.
        folds: (N,).
        n_permutations: B.
        stream: of the permutations.
        classes: those of interest.
    """
    aligned = [flags[0], *(_aligned(layout, own, flags[0]) for own in flags[1:])]
    meets = torch.stack([_is_a_meeting(layout, own, folds == fold) for fold, own in enumerate(aligned)]).any(dim=0)
    worst = torch.zeros(len(layout.sizes), dtype=torch.float64, device=layout.device)
    held_out = torch.stack(aligned).take_along_dim(folds.long()[None, None], dim=0)[0]  # (r, N)
    for axis, (i, j) in enumerate(combinations(range(len(flags[0])), 2)):
        for sign in (1, -1):
            on_axis = sign * (held_out[i] - held_out[j])
            draws = (*stream, 2 * axis + (sign < 0))
            worst = torch.maximum(
                worst, _side_p_value(layout, on_axis, folds, len(flags), n_permutations, draws, classes)
            )
    return torch.where(meets, 1.0, worst)


def _aligned(layout: Layout, flags: Tensor, to: Tensor) -> Tensor:
    """Return the modes (r, N) of every class in the order in which they resemble those of another fold most."""
    r, n = len(to), layout.lengths
    centred = [values - layout.each(layout.total(values) / n) for values in (to, flags)]
    one, other = (values / layout.each(layout.total(values**2).sqrt()) for values in centred)
    alike = torch.stack([layout.total(own * other) for own in one])  # (r, r, K)
    orders = list(permutations(range(r)))
    fit = torch.stack([sum((alike[i, j] for i, j in enumerate(order)), torch.zeros_like(n)) for order in orders])
    table = to_device(torch.tensor(orders), flags.device)  # (orders, r)
    best = table[fit.argmax(dim=0)].T  # (r, K)
    return flags.take_along_dim(layout.each(best), dim=0)


def _is_a_meeting(layout: Layout, flags: Tensor, held: Tensor) -> Tensor:
    """Whether some mode's held-out errors are mostly flagged by two other modes as well: (K,)."""
    r, mine, wrong = len(flags), flags.argmin(dim=0), ~layout.right
    is_mine = mine == torch.arange(r, device=flags.device)[:, None]  # (r, N)
    fitted = is_mine & wrong & ~held
    count = layout.count(fitted)
    mean = layout.total(torch.where(fitted, flags, 0.0)) / count.clamp(min=1)
    # halfway between right answers, at 0, and its errors
    hard = (flags < layout.each(mean) / 2) & layout.each(count > 0)
    others = hard.sum(dim=0) - hard.long()
    own = is_mine & wrong & held
    shared = layout.count(own & (others >= 2)).double() / layout.count(own).clamp(min=1)
    return (shared > SHARED).any(dim=0)


def _side_p_value(
    layout: Layout,
    axis: Tensor,
    folds: Tensor,
    cv: int,
    n_permutations: int,
    stream: tuple[int, int, int],
    classes: Sequence[int],
) -> Tensor:
    """P-values (K,) of errors lying farther out than right answers on the positive side of an axis, over all folds."""
    of = layout.segments.of * cv + folds  # a stratum is a class and a fold
    k = len(layout.sizes)
    side = axis > _median_of_right(layout, axis, of, k * cv)[of]
    standard, n_wrong, n = _standard_ranks(layout, axis, side, of, k * cv)
    tested = ((n_wrong > 0) & (n_wrong < n))[of] & side
    standard = torch.where(tested, standard, 0.0)
    observed = layout.total(torch.where(layout.right, 0.0, standard))
    seed, *rest = stream
    states = states_of(layout, seed, Stream.SIDE, *rest)[None]
    strata = torch.where(tested, folds, -1).to(torch.int8)[None]
    quota = n_wrong.reshape(1, k, cv)
    reached = torch.zeros_like(observed)
    per_round = max(1, SIDE_DRAWS // max(1, len(axis)))
    for done in range(0, n_permutations, per_round):
        count = min(per_round, n_permutations - done)
        drawn = choose(layout.segments, states, strata, quota, done, count, classes)[0]
        null = layout.total(torch.where(drawn, standard, 0.0))
        reached = reached + (null >= observed - 1e-9).sum(dim=0)
    return (1 + reached).double() / (1 + n_permutations)


def _median_of_right(layout: Layout, axis: Tensor, of: Tensor, strata: int) -> Tensor:
    """Median of the right samples' ``axis`` (N,) in each stratum (S,); NaN where there is none."""
    values = torch.where(layout.right, axis, torch.inf)  # the wrong ones come after them
    ordered = values[_sorted_within(values, of)]
    n_right, first = _sizes(layout.right, of, strata), _firsts(of, strata)
    last = len(axis) - 1
    low, high = ((first + (n_right - 1).clamp(min=0) // 2).clamp(max=last), (first + n_right // 2).clamp(max=last))
    return torch.where(n_right > 0, (ordered[low] + ordered[high]) / 2, torch.nan)


def _standard_ranks(
    layout: Layout, axis: Tensor, side: Tensor, of: Tensor, strata: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the ranks (N,) of each stratum's samples on the ``side``, standardised, its wrong ones and all (S,)."""
    n, n_wrong = _sizes(side, of, strata), _sizes(side & ~layout.right, of, strata)
    order = _sorted_within(torch.where(side, axis, torch.inf), of)
    place = torch.arange(len(axis), device=axis.device)
    ranks = torch.empty_like(axis).scatter_(0, order, (place - _firsts(of, strata)[of[order]]).to(axis.dtype))
    # ranks 0 to n - 1 have the mean (n - 1) / 2 and the variance (n² - 1) / 12
    deviation = ((n.double() ** 2 - 1).clamp(min=1e-30) / 12 * n).sqrt()
    return (ranks - ((n - 1) / 2)[of]) / deviation[of], n_wrong, n


def _sorted_within(values: Tensor, of: Tensor) -> Tensor:
    """Return the order of (N,) values, stratum by stratum."""
    by_value = values.argsort(stable=True)
    return by_value[of[by_value].argsort(stable=True)]


def _sizes(chosen: Tensor, of: Tensor, strata: int) -> Tensor:
    return torch.zeros(strata, dtype=torch.int64, device=of.device).scatter_add_(0, of, chosen.long())


def _firsts(of: Tensor, strata: int) -> Tensor:
    sizes = _sizes(torch.ones_like(of, dtype=torch.bool), of, strata)
    return sizes.cumsum(0) - sizes
