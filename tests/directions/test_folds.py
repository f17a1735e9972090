from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.utils.class_weight import compute_sample_weight

from fdgpu.directions.folds import balanced_weights, choose_cost, cross_validation_scores, stratified_folds


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
    folds = stratified_folds(right, cv)
    for fold, (_, held) in enumerate(StratifiedKFold(cv).split(np.zeros(len(right)), right)):
        assert np.flatnonzero(folds == fold).tolist() == held.tolist()


@settings(max_examples=50, deadline=None)
@given(enough_of_both(), st.integers(0, 999))
def test_scores_are_the_mean_balanced_accuracy(case: tuple[np.ndarray, int], seed: int) -> None:
    right, cv = case
    decisions = np.random.default_rng(seed).normal(size=(3, len(right)))
    folds = stratified_folds(right, cv)
    expected = [
        np.mean([balanced_accuracy_score(right[folds == f], row[folds == f] > 0) for f in range(cv)])
        for row in decisions
    ]
    assert np.allclose(cross_validation_scores(decisions, right, folds, cv), expected, atol=1e-12)


def test_weights_are_balanced() -> None:
    right = np.array([True] * 7 + [False] * 2)
    assert np.allclose(balanced_weights(right), compute_sample_weight("balanced", right))


def test_of_equal_scores_the_smaller_cost_wins() -> None:
    assert choose_cost(np.array([0.5, 0.7, 0.7, 0.6])) == 1
    assert choose_cost(np.array([0.7 - 1e-15, 0.7])) == 0
    assert choose_cost(np.array([0.6, 0.6 + 1e-9])) == 1
