"""Precision, area and discoveries, on cases that can be counted by hand and against a plain count."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.discovery.metric import Found, area, discoveries, judge, precision_at
from benchmarks.discovery.problem import Problem, Samples

TRUTH = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]], bool)
TWO = np.array([[5, 0], [4, 1], [0, 5], [1, 2], [2, 4]], float)
LEFT_OUT = -np.inf


def problem(truth: np.ndarray, labels: list[int] | None = None, correct: list[bool] | None = None) -> Problem:
    n = len(truth)
    p = np.where(np.ones(n, bool) if correct is None else correct, 0.9, 0.1)
    classes = np.zeros(n, int) if labels is None else np.array(labels)
    samples = Samples(np.zeros((n, 2), np.float32), classes, np.stack([p, 1 - p], axis=1), p > 0.5)
    return Problem("a", "", 0, samples, samples, truth, truth, samples.x)


def test_every_slice_takes_its_own_best_proposal() -> None:
    np.testing.assert_allclose(precision_at(2, TWO, TRUTH), [1.0, 0.5])
    np.testing.assert_allclose(precision_at(2, TWO[:, :1], TRUTH), [1.0, 0.0])
    np.testing.assert_allclose(area(TWO, TRUTH), [1.0, 0.75])


def test_a_proposal_that_shows_too_few_is_divided_by_k() -> None:
    proposals = np.array([[1.0], *[[LEFT_OUT]] * 4])
    np.testing.assert_allclose(precision_at(4, proposals, TRUTH), [0.25, 0.0])
    np.testing.assert_allclose(precision_at(10, proposals, TRUTH), [0.1, 0.0])
    np.testing.assert_allclose(area(proposals, TRUTH), [(1 + 0.5) / 2, 0.0])


def test_no_proposal_finds_nothing() -> None:
    none = np.empty((5, 0))
    np.testing.assert_array_equal(precision_at(2, none, TRUTH), [0, 0])
    np.testing.assert_array_equal(area(none, TRUTH), [0, 0])
    assert discoveries(none, TRUTH) == (0, 0)
    np.testing.assert_array_equal(Found(none).ranked, np.full(5, LEFT_OUT))


@given(st.integers(0, 2**32 - 1))
def test_precision_and_area_are_plain_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random((30, 2)) < 0.3
    proposals = np.where(rng.random((30, 3)) < 0.8, rng.permuted(np.arange(90.0).reshape(30, 3), axis=0), LEFT_OUT)
    shown = [sorted(np.flatnonzero(one > LEFT_OUT), key=lambda i: -one[i]) for one in proposals.T]

    def precision(order: list[int], k: int, j: int) -> float:
        return float(sum(truth[i, j] for i in order[:k])) / k

    for j in range(2):
        np.testing.assert_allclose(precision_at(7, proposals, truth)[j], max(precision(one, 7, j) for one in shown))
        ks = range(1, max(1, truth[:, j].sum()) + 1)
        plain = max(np.mean([precision(one, k, j) for k in ks]) for one in shown)
        np.testing.assert_allclose(area(proposals, truth)[j], plain)


@given(st.integers(0, 2**32 - 1))
def test_telling_the_truth_is_perfect_and_order_is_all_that_counts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.zeros((40, 2), bool)
    truth[:10, 0], truth[10:25, 1] = True, True
    scores = np.where(truth, 1.0, -1.0) * (0.5 + rng.random(truth.shape))
    found = judge(Found(scores), problem(truth))
    best = dict.fromkeys(("precision@10", "found", "area", "discovered"), 1.0)
    assert found == best | {"false discoveries": 0, "proposals": 2, "precision@25": pytest.approx((10 + 15) / 50)}
    assert judge(Found(np.sign(scores) * scores**2), problem(truth)) == found


def test_discoveries_as_spotcheck_defines_them() -> None:
    truth = np.zeros((20, 2), bool)
    truth[:10, 0], truth[10:15, 1] = True, True

    def holding(*rows: list[int]) -> np.ndarray:
        return np.stack([np.where(np.isin(np.arange(20), own), 1.0, -1.0) for own in rows], axis=1)

    half, other_half = [0, 1, 2, 3, 4], [5, 6, 7]
    assert discoveries(holding(half), truth) == (0, 0)  # precise, and recalls a half
    assert discoveries(holding(half, other_half), truth) == (0.5, 0)  # together they recall 8 of 10
    assert discoveries(holding(half, [*other_half, 15]), truth) == (0, 0.5)  # 3 of 4 are not precise
    assert discoveries(holding(half, other_half, [10, 11, 12, 13]), truth) == (1, 0)
    assert discoveries(holding(half, [], other_half), truth) == (0.5, 0)  # one that holds nobody is none
    assert discoveries(holding(*[[19]] * 10, list(range(10))), truth) == (0, 1)  # the eleventh is not looked at


def test_minority_is_counted_within_each_class_that_has_one() -> None:
    truth = np.array([1, 0, 1, 0, 0, 1, 0, 0], bool)[:, None]
    labels = [0, 0, 0, 0, 1, 1, 1, 2]
    suspicion = np.array([9, 8, 7, 6, 5, 4, 3, 99.0])  # class 0: in, out, in, out; class 1: out, in, out
    found = Found(np.empty((8, 0)), suspicion)
    assert judge(found, problem(truth, labels), [1, 2]) == {
        "minority in top 1": 0.5,
        "minority in top 2": 0.5,
        "area": pytest.approx(((1 + 1 / 2) / 2 + 0) / 2),
    }


def test_errors_stand_in_where_nothing_is_planted() -> None:
    wrong = [False, True, True, False]
    measured = judge(Found(np.empty((4, 0)), np.arange(4.0)), problem(np.zeros((4, 0), bool), correct=wrong), [2])
    assert measured == {"errors in top 2": 0.5, "area": pytest.approx((1 + 1 / 2) / 2)}


def test_null_worlds_count_p_values_of_those_that_test() -> None:
    nothing = problem(np.zeros((4, 0), bool))
    found = Found(np.zeros((4, 1)), p_values=np.array([0.01, 0.05, 0.2, 1]))
    assert judge(found, nothing) == {"p ≤ .05": 0.5}
    assert judge(replace(found, p_values=None), nothing) == {}


def test_bad_proposals_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        Found(np.full((5, 1), np.nan))
    with pytest.raises(ValueError, match="3 rows, truth has 5"):
        judge(Found(np.zeros((3, 1))), problem(TRUTH))
