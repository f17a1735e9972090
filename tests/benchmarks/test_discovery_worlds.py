"""Synthetic problems: shares and separations as asked for, a model that fails inside, the same data for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from benchmarks.discovery import slices
from benchmarks.discovery.planting import FAMILIES, SEPARATIONS
from benchmarks.discovery.problem import Problem
from benchmarks.discovery.worlds import CURVED, HARD, MODERATE, WORLDS, both_attributes, null, planted, two_clusters

SMALL = {family: partial(planted, family, samples=200) for family in FAMILIES} | {
    name: make for name, make in WORLDS.items() if name not in FAMILIES
}
SHARES = {"moderate": [share for share, _ in MODERATE], "hard": [share for share, _ in HARD]}


@pytest.mark.parametrize("name", WORLDS)
def test_problems_are_whole_differ_by_seed_and_come_again(name: str) -> None:
    def first_three(seed: int) -> Iterator[Problem]:
        return islice(SMALL[name](seed), 3)

    for one, again, other in zip(first_three(3), first_three(3), first_three(8), strict=True):  # of the same strength
        assert (one.setting, one.seed, one.part) == (name, 3, other.part)
        for samples, truth in ((one.val, one.val_truth), (one.test, one.truth)):
            n = len(samples.x)
            assert samples.x.dtype == np.float32
            assert len(samples.labels) == len(samples.correct) == len(truth) == n
            np.testing.assert_allclose(samples.probabilities.sum(axis=1), 1)
            predicted = samples.probabilities.argmax(axis=1)
            np.testing.assert_array_equal((predicted == samples.labels)[samples.loss != np.log(2)], samples.correct)
        np.testing.assert_array_equal(one.val.x, again.val.x)
        np.testing.assert_array_equal(one.test.probabilities, again.test.probabilities)
        assert not np.array_equal(one.val.x, other.val.x)
    parts = [problem.part for problem in SMALL[name](0)]
    assert len(set(parts)) == len(parts)


def test_five_seeds_have_all_strengths_at_both_separations() -> None:
    parts = [problem.part for seed in range(20, 25) for problem in planted("rare", seed, samples=200)]
    assert parts == [f"{strength:g} at {far:g}" for strength in FAMILIES["rare"] for far in SEPARATIONS]


@pytest.mark.parametrize("name", SHARES)
def test_single_classes_have_their_shares_and_separations(name: str) -> None:
    for problem, share in zip(WORLDS[name](0), SHARES[name], strict=True):
        inside = np.concatenate([problem.val_truth, problem.truth])[:, 0]
        assert inside.sum() == round(share * len(inside))
        p = np.exp(-np.concatenate([problem.val.loss, problem.test.loss]))
        assert p[inside].mean() == pytest.approx(0.4, abs=0.12)
        assert p[~inside].mean() == pytest.approx(0.75, abs=0.02)
        far = float(problem.part.split(" at ")[1])
        assert _distance(problem) == pytest.approx(far, rel=0.2)


def _distance(problem: Problem) -> float:
    """Measure how far the slice's mean lies from the others', in deviations of the noise along the best direction."""
    x, inside = np.concatenate([problem.val.x, problem.test.x]).astype(float), _inside(problem)
    gap = x[inside].mean(axis=0) - x[~inside].mean(axis=0)
    rest = np.cov(x[~inside].T)
    noise = np.trace(np.linalg.solve(rest, np.cov(x[~inside].T))) * (1 / inside.sum() + 1 / (~inside).sum())
    return float(np.sqrt(gap @ np.linalg.solve(rest, gap) - noise))


def _inside(problem: Problem) -> np.ndarray:
    return np.concatenate([problem.val_truth, problem.truth])[:, 0]


def test_opposite_clusters_leave_the_mean_where_it_is_and_unrelated_ones_do_not() -> None:
    opposite, unrelated = (list(two_clusters(1, n=4000, d=16))[i] for i in (0, 3))
    assert (opposite.part, unrelated.part) == ("opposite, 0.04 at 6", "unrelated, 0.04 at 6")
    x, inside = opposite.val.x, opposite.val_truth[:, 0]
    gap = np.linalg.norm(x[inside].mean(axis=0) - x[~inside].mean(axis=0))
    spread = np.linalg.eigvalsh(np.cov(x[inside].T))[-1]
    assert spread > 5 * gap**2
    assert _distance(unrelated) > 0.8 * 6 / np.sqrt(2)  # the mean of two orthogonal moves


def test_one_attribute_alone_does_no_harm() -> None:
    problem = list(both_attributes(0, n=8000, d=16))[1]
    inside, p = problem.val_truth[:, 0], np.exp(-problem.val.loss)
    share, _ = CURVED[1]
    assert inside.mean() == pytest.approx(share, abs=0.02)
    x = problem.val.x @ np.linalg.inv(np.cov(problem.val.x.T)).astype(np.float32)
    towards = x @ (problem.val.x[inside].mean(axis=0) - problem.val.x[~inside].mean(axis=0))
    assert towards[inside].mean() - towards[~inside].mean() > 1.5 * towards[~inside].std()
    assert p[inside].mean() == pytest.approx(0.4, abs=0.05)
    assert abs(np.corrcoef(towards[~inside], p[~inside])[0, 1]) < 0.05


def test_null_answers_have_nothing_to_do_with_vectors() -> None:
    independent, duplicates, heavy = null(0, classes=4, samples=120, d=8)
    assert [one.part for one in (independent, duplicates, heavy)] == ["independent", "near-duplicates", "heavy tails"]
    for problem in (independent, duplicates, heavy):
        assert problem.truth.shape == problem.val_truth.shape == (480, 0)
        np.testing.assert_array_equal(np.bincount(problem.val.labels), [120] * 4)
        side = problem.val.x[:, 0] > np.median(problem.val.x[:, 0])
        each = slice(None, None, 6) if problem.groups is not None else slice(None)
        assert ks_2samp(problem.val.loss[each][side[each]], problem.val.loss[each][~side[each]]).pvalue > 0.001
    assert heavy.val.loss.max() > 20 * np.median(heavy.val.loss)
    assert 0.15 < 1 - heavy.val.correct.mean() < 0.35


def test_near_duplicates_are_alike_and_answered_alike() -> None:
    problem = list(null(0, classes=3, samples=60, d=16))[1]
    groups = problem.groups
    assert groups is not None
    np.testing.assert_array_equal(np.bincount(groups), [6] * 30)
    for group in np.split(np.arange(180), 30):
        assert len(set(groups[group])) == len(set(problem.val.labels[group])) == 1
        assert np.ptp(problem.val.loss[group]) == 0
        assert len(np.unique(problem.val.x[group, 0])) == 6
        assert problem.val.x[group].std(axis=0).mean() < 0.4


def test_a_problem_with_groups_is_read_as_it_was_written(tmp_path: Path) -> None:
    for i, problem in enumerate(islice(null(0, classes=2, samples=12, d=4), 2)):
        problem.save(tmp_path / f"{i}.safetensors")
        read = Problem.load(tmp_path / f"{i}.safetensors")
        assert (read.setting, read.part, read.seed) == (problem.setting, problem.part, problem.seed)
        np.testing.assert_array_equal(read.val.x, problem.val.x)
        np.testing.assert_array_equal(read.truth, problem.truth)
        if problem.groups is None:
            assert read.groups is None
        else:
            np.testing.assert_array_equal(read.groups, problem.groups)


@pytest.mark.parametrize("seed", [0, 1, 24])  # at seed 24 the first columns have no three values for a slice that large
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_known_columns_hold_a_slice_of_so_many_values(order: int, seed: int) -> None:
    world = slices.synthetic(slices.WORLDS[order], seed)
    assert len(world.planted) == bool(order)
    for label, values in world.planted:
        inside = np.logical_and.reduce([world.columns[name] == value for name, value in values])
        own = world.labels == label
        assert len(values) == order
        assert slices.LEAST <= inside[own].mean() <= slices.MOST
        assert world.wrong[own & inside].mean() > 0.3 > 0.13 > world.wrong[own & ~inside].mean()
