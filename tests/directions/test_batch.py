from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold

from fdgpu.directions.batch import assign_folds, choose_costs, in_batches, standard_error
from fdgpu.kernels.smo_numba import cross_validate_jobs, fit_jobs
from tests.directions.planting import make_classes


@st.composite
def enough_of_both(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    cv = draw(st.integers(2, 5))
    right = np.array(draw(st.lists(st.booleans(), min_size=2 * cv, max_size=80)))
    right[:cv], right[cv : 2 * cv] = True, False
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return rng.permutation(right), cv


@settings(max_examples=200, deadline=None)
@given(enough_of_both())
def test_folds_are_scikit_learns(case: tuple[np.ndarray, int]) -> None:
    right, cv = case
    folds = assign_folds(signs(right)[None], [len(right)], cv)[0]
    for fold, (_, held) in enumerate(StratifiedKFold(cv).split(np.zeros(len(right)), right)):
        assert np.flatnonzero(folds == fold).tolist() == held.tolist()


@settings(max_examples=50, deadline=None)
@given(enough_of_both(), st.integers(0, 999))
def test_samples_that_take_no_part_change_no_fold(case: tuple[np.ndarray, int], seed: int) -> None:
    right, cv = case
    rng = np.random.default_rng(seed)
    at = np.sort(rng.choice(3 * len(right), len(right), replace=False))
    labels = np.zeros(3 * len(right), np.int8)
    labels[at] = signs(right)
    folds = assign_folds(np.concatenate([labels, signs(right)])[None], [len(labels), len(right)], cv)[0]
    assert (folds[: len(labels)][labels == 0] == -1).all()
    assert np.array_equal(folds[: len(labels)][at], folds[len(labels) :])


@settings(max_examples=30, deadline=None)
@given(enough_of_both(), st.integers(0, 999))
def test_scores_are_the_mean_balanced_accuracy_of_the_held_out_samples(case: tuple[np.ndarray, int], seed: int) -> None:
    right, cv = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(right), 5)) + right[:, None]
    gram, labels, costs = x @ x.T, signs(right)[None], np.array([0.01, 1.0])
    recalls, violation = np.full((1, cv, 2, 2), np.nan), np.full((1, cv), np.nan)
    folds = assign_folds(labels, [len(right)], cv)[0]
    cross_validate_jobs(gram, labels, folds[None].astype(np.int8), cv, 0, cv, costs, 1e-6, 100_000, recalls, violation)
    for fold in range(cv):
        a, b = np.zeros((1, len(right))), np.empty(1)
        masked = np.where(folds == fold, 0, labels).astype(np.int8)
        fit_jobs(gram, masked, np.array([1]), 0, 1, costs, 1e-6, 100_000, a, b, np.empty(1), np.empty(1, np.int64))
        held = folds == fold
        decisions = (gram @ a[0] + b[0])[held]
        if np.abs(decisions).min() > 1e-4:
            expected = balanced_accuracy_score(right[held], decisions > 0)
            assert recalls[0, fold, 1].mean() == pytest.approx(expected, abs=1e-12)


def signs(right: np.ndarray) -> np.ndarray:
    return np.where(right, 1, -1).astype(np.int8)


def test_of_equal_scores_the_smaller_cost_wins() -> None:
    scores = np.array([[0.5, 0.7, 0.7, 0.6], [0.7 - 1e-15, 0.7, 0, 0], [0.6, 0.6 + 1e-9, 0, 0]])
    assert choose_costs(scores).tolist() == [1, 0, 1]


def test_with_slack_the_smallest_of_the_good_ones_is_taken() -> None:
    scores = np.array([[0.5, 0.68, 0.7, 0.69]])
    error = standard_error(scores, np.array([200]), np.array([50]))
    assert error.shape == (1, 1)
    assert error[0, 0] == pytest.approx(np.sqrt(0.7 * 0.3 * (1 / 200 + 1 / 50) / 4))
    assert choose_costs(scores, error).tolist() == [1]


@pytest.mark.parametrize(
    ("sizes", "held"), [([3, 4, 20, 2, 5], [[3, 4], [20], [2, 5]]), ([20], [[20]]), ([], []), ([9, 9], [[9], [9]])]
)
def test_batches_hold_what_fits_in_order(sizes: list[int], held: list[list[int]]) -> None:
    batches = in_batches(make_classes(sizes, 4) if sizes else [], lambda one: one.n, 12, 10)
    assert [[one.n for one in batch] for batch in batches] == held
