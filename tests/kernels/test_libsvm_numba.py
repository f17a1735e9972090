"""Against libsvm itself, which scikit-learn's ``SVC`` is: step by step the same, to the rounding of a sum."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from fdgpu.kernels.folds import folds_of_class
from fdgpu.kernels.libsvm_numba import cross_validate_jobs, fit_jobs, gram_of
from tests.conftest import make_class

COSTS = np.logspace(-6, 1, 8)


def svc(cost: float, tol: float = 1e-3) -> SVC:
    return SVC(kernel="linear", class_weight="balanced", C=cost, tol=tol)


@settings(max_examples=20)
@example(6, 108, 0.25, 0.0, 337)  # one ulp in a diagonal is a step
@example(6, 108, 0.25, 0.0, 195)
@given(st.integers(6, 150), st.integers(2, 200), st.floats(0.02, 0.9), st.floats(0, 3), st.integers(0, 10_000))
def test_every_fit_takes_libsvms_steps(n: int, d: int, errors: float, separation: float, seed: int) -> None:
    data = make_class(n, d, min(errors, 1 - 2 / n), separation, seed)
    x, labels = data.x.astype(np.float64), np.where(data.right, 1, -1).astype(np.int8)[None]
    for c, cost in enumerate(COSTS):
        a, figures = np.zeros((1, n)), [np.zeros(1), np.zeros(1), np.zeros(1, np.int64)]
        fit_jobs(gram_of(x), labels, np.array([c]), 0, 1, COSTS, 1e-3, 10**6, a, *figures)
        intercept, violation, steps = (float(one[0]) for one in figures)
        oracle = svc(cost).fit(x, data.right)
        dual = np.zeros(n)
        dual[oracle.support_] = oracle.dual_coef_[0]
        assert steps == oracle.n_iter_[0]
        assert np.abs(a[0] - dual).max() <= 1e-9 * cost
        assert intercept == pytest.approx(oracle.intercept_[0], abs=1e-9)
        assert violation < 1e-3


def test_samples_that_are_left_out_for_a_while_come_back() -> None:
    """More samples than steps between two looks, and steps enough that it shrinks, reconstructs and goes on."""
    data = make_class(1300, 6, 0.4, 0.4, seed=1)
    x, labels = data.x.astype(np.float64), np.where(data.right, 1, -1).astype(np.int8)[None]
    a, figures = np.zeros((1, 1300)), [np.zeros(1), np.zeros(1), np.zeros(1, np.int64)]
    fit_jobs(gram_of(x), labels, np.array([0]), 0, 1, np.array([3.0]), 1e-4, 10**6, a, *figures)
    oracle = svc(3.0, 1e-4).fit(x, data.right)
    assert figures[2][0] == oracle.n_iter_[0] > 2 * 1000
    assert np.abs(x.T @ a[0] - oracle.coef_[0]).max() <= 1e-9


@settings(max_examples=10)
@given(st.integers(2, 4), st.integers(10, 60), st.floats(0, 0.5), st.integers(0, 10_000))
def test_held_out_recalls_are_those_of_scikit_learns_folds(cv: int, n: int, no_part: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + 2 * cv, 12))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.where(rng.random((2, len(x))) < 0.3, -1, 1).astype(np.int8)
    labels[rng.random(labels.shape) < no_part] = 0
    for own in labels:
        own[rng.permutation(len(x))[: 2 * cv]] = np.repeat([1, -1], cv)
    recalls, violation = np.full((2, cv, len(COSTS), 2), np.nan), np.full((2, cv), np.nan)
    for first, last in ((0, cv + 1), (cv + 1, 2 * cv)):  # two calls, which part in the midst of a labelling
        folds = folds_of_class(labels, cv)
        cross_validate_jobs(gram_of(x), labels, folds, cv, first, last, COSTS, 1e-3, 10**6, recalls, violation)
    for own, found in zip(labels, recalls, strict=True):
        part, right = x[own != 0], own[own != 0] > 0
        for fold, (train, held) in enumerate(StratifiedKFold(cv).split(part, right)):
            for c, cost in enumerate(COSTS):
                told = svc(cost).fit(part[train], right[train]).predict(part[held])
                assert found[fold, c].mean() == balanced_accuracy_score(right[held], told)


def test_a_fold_that_lacks_a_kind_is_left_as_it_is() -> None:
    x = np.eye(4)
    labels, folds = np.array([[1, 1, -1, 1]], np.int8), np.array([[0, 1, 0, 1]], np.int8)
    recalls, violation = np.full((1, 2, 1, 2), np.nan), np.full((1, 2), np.nan)
    cross_validate_jobs(x, labels, folds, 2, 0, 2, np.ones(1), 1e-3, 100, recalls, violation)
    assert np.isnan(recalls).all()
    assert np.isnan(violation).all()


def test_max_iter_ends_it_and_the_violation_says_so() -> None:
    data = make_class(60, 8, 0.4, 0.2, seed=2)
    x, labels = data.x.astype(np.float64), np.where(data.right, 1, -1).astype(np.int8)[None]
    a, figures = np.zeros((1, 60)), [np.zeros(1), np.zeros(1), np.zeros(1, np.int64)]
    fit_jobs(gram_of(x), labels, np.array([0]), 0, 1, np.ones(1), 1e-3, 5, a, *figures)
    assert figures[2][0] == 5
    assert figures[1][0] > 1e-3
