from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.class_weight import compute_sample_weight

from fdgpu.directions.folds import balanced_weights, choose_costs, folds_of_sheets, standard_error
from fdgpu.kernels.sheets_numba import draw_permutations
from fdgpu.kernels.smo_numba import cross_validate_jobs, fit_jobs


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
    folds = folds_of_sheets(signs(right)[None], [len(right)], cv)[0]
    for fold, (_, held) in enumerate(StratifiedKFold(cv).split(np.zeros(len(right)), right)):
        assert np.flatnonzero(folds == fold).tolist() == held.tolist()


@settings(max_examples=50, deadline=None)
@given(enough_of_both(), st.integers(0, 999))
def test_samples_that_take_no_part_change_no_fold(case: tuple[np.ndarray, int], seed: int) -> None:
    right, cv = case
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(3 * len(right), len(right), replace=False))
    labels = np.zeros(3 * len(right), np.int8)
    labels[places] = signs(right)
    folds = folds_of_sheets(np.concatenate([labels, signs(right)])[None], [len(labels), len(right)], cv)[0]
    assert (folds[: len(labels)][labels == 0] == -1).all()
    assert np.array_equal(folds[: len(labels)][places], folds[len(labels) :])


@settings(max_examples=30, deadline=None)
@given(enough_of_both(), st.integers(0, 999))
def test_scores_are_the_mean_balanced_accuracy_of_the_held_out_samples(case: tuple[np.ndarray, int], seed: int) -> None:
    right, cv = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(right), 5)) + right[:, None]
    gram, sheet, costs = x @ x.T, signs(right)[None], np.array([0.01, 1.0])
    recalls, violation = np.full((1, cv, 2, 2), np.nan), np.full((1, cv), np.nan)
    cross_validate_jobs(gram, sheet, cv, 0, cv, costs, 1e-6, 100_000, recalls, violation)
    folds = folds_of_sheets(sheet, [len(right)], cv)[0]
    for fold in range(cv):
        a, b = np.zeros((1, len(right))), np.empty(1)
        masked = np.where(folds == fold, 0, sheet).astype(np.int8)
        fit_jobs(gram, masked, np.array([1]), 0, 1, costs, 1e-6, 100_000, a, b, np.empty(1), np.empty(1, np.int64))
        held = folds == fold
        decisions = (gram @ a[0] + b[0])[held]
        if np.abs(decisions).min() > 1e-4:
            expected = balanced_accuracy_score(right[held], decisions > 0)
            assert recalls[0, fold, 1].mean() == pytest.approx(expected, abs=1e-12)


def signs(right: np.ndarray) -> np.ndarray:
    return np.where(right, 1, -1).astype(np.int8)


def test_weights_are_balanced() -> None:
    right = np.array([True] * 7 + [False] * 2)
    assert np.allclose(balanced_weights(right), compute_sample_weight("balanced", right))


def test_of_equal_scores_the_smaller_cost_wins() -> None:
    scores = np.array([[0.5, 0.7, 0.7, 0.6], [0.7 - 1e-15, 0.7, 0, 0], [0.6, 0.6 + 1e-9, 0, 0]])
    assert choose_costs(scores).tolist() == [1, 0, 1]


def test_with_slack_the_smallest_of_the_good_ones_is_taken() -> None:
    scores = np.array([[0.5, 0.68, 0.7, 0.69]])
    error = standard_error(scores, np.array([200]), np.array([50]))
    assert error.shape == (1, 1)
    assert error[0, 0] == pytest.approx(np.sqrt(0.7 * 0.3 * (1 / 200 + 1 / 50) / 4))
    assert choose_costs(scores, error).tolist() == [1]


@given(seed=st.integers(0, 1000), n=st.integers(2, 30), sheets=st.integers(1, 5))
@settings(deadline=None, max_examples=50)
def test_permutations_keep_the_number_of_errors_and_repeat_with_their_seed(seed: int, n: int, sheets: int) -> None:
    n_wrong = seed % (n + 1)
    drawn = [np.zeros((sheets, n), np.int8) for _ in range(2)]
    for one in drawn:
        draw_permutations(np.random.default_rng(seed), n_wrong, one)
    assert np.array_equal(*drawn)
    assert set(np.unique(drawn[0])) <= {-1, 1}
    assert ((drawn[0] == -1).sum(axis=1) == n_wrong).all()


def test_every_permutation_is_as_likely() -> None:
    drawn = np.zeros((60_000, 5), np.int8)
    draw_permutations(np.random.default_rng(0), 2, drawn)
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 10
    assert chisquare(counts).pvalue > 1e-3
    _, after = np.unique(np.concatenate([drawn[::2], drawn[1::2]], axis=1), axis=0, return_counts=True)
    assert len(after) == 100  # one says nothing of the next
    assert chisquare(after).pvalue > 1e-3
