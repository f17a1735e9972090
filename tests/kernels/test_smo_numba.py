from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC
from sklearn.utils.class_weight import compute_sample_weight

from fdgpu.kernels.folds import folds_of_class
from fdgpu.kernels.smo_numba import cross_validate_jobs, smo_path, smo_reference
from tests.conftest import make_class

PATH = np.logspace(-6, 0, 7)


def problem(n: int, d: int, errors: float, separation: float, seed: int, dtype: type = np.float32):
    data = make_class(n, d, errors, separation, seed)
    x = data.x.astype(dtype)
    return x, x @ x.T, np.where(data.right, 1.0, -1.0), compute_sample_weight("balanced", data.right)


def kkt_violation(gram: np.ndarray, y: np.ndarray, weights: np.ndarray, cost: float, a: np.ndarray) -> float:
    """Largest violation, straight from the definition, in float64."""
    v = y - gram.astype(np.float64) @ a
    upper, lower = np.where(y > 0, cost * weights, 0), np.where(y > 0, 0, -cost * weights)
    return float(v[a < upper].max() - v[a > lower].min())


@pytest.mark.parametrize("n", [8, 63, 256, 500])
@pytest.mark.parametrize(("d", "errors"), [(64, 0.5), (512, 0.05), (64, 0.2)])
def test_every_solution_of_the_path_is_feasible_and_optimal(n: int, d: int, errors: float) -> None:
    _, gram, y, weights = problem(n, d, errors, 1.5, seed=n + d)
    path, _, violations, _ = smo_path(gram, y, weights, PATH)
    for cost, a, violation in zip(PATH, path, violations, strict=True):
        assert abs(a.sum()) < 1e-9 * max(1.0, np.abs(a).sum())
        assert (y * a >= 0).all()
        assert (y * a <= cost * weights * (1 + 1e-12)).all()
        assert kkt_violation(gram, y, weights, cost, a) <= 1e-3
        assert violation == pytest.approx(kkt_violation(gram, y, weights, cost, a), abs=1e-5)


@pytest.mark.parametrize("cost", [1e-2, 1e-1, 1.0, 10.0])
@pytest.mark.parametrize(("n", "d", "errors"), [(63, 64, 0.2), (200, 32, 0.5), (300, 512, 0.05)])
def test_it_agrees_with_libsvm(n: int, d: int, errors: float, cost: float) -> None:
    x, gram, y, weights = problem(n, d, errors, 1.5, seed=n)
    path, intercepts, _, _ = smo_path(gram, y, weights, [cost])
    oracle = SVC(kernel="linear", class_weight="balanced", C=cost).fit(x.astype(np.float64), y)
    w = x.T.astype(np.float64) @ path[0]
    assert np.linalg.norm(w - oracle.coef_[0]) <= 2e-3 * np.linalg.norm(oracle.coef_[0])
    if 0 < np.abs(path[0]).min() < cost * weights.min() * 0.99:  # a free sample fixes b
        assert intercepts[0] == pytest.approx(oracle.intercept_[0], abs=2e-3)


@pytest.mark.parametrize("cost", [1e-3, 1e-1, 1.0])
def test_it_agrees_with_the_plain_reference_to_a_tight_tolerance(cost: float) -> None:
    x, gram, y, weights = problem(101, 33, 0.3, 1.0, seed=1, dtype=np.float64)
    path, intercepts, _, _ = smo_path(gram, y, weights, [cost], tol=1e-8)
    a, intercept = smo_reference(gram, y, weights, cost, tol=1e-8)
    assert np.allclose(x.T @ path[0], x.T @ a, atol=1e-6)
    assert intercepts[0] == pytest.approx(intercept, abs=1e-6)


def test_small_costs_are_solved_at_the_bounds_without_a_step() -> None:
    _, gram, y, weights = problem(128, 512, 0.2, 1.0, seed=3)
    path, _, _, n_iter = smo_path(gram, y, weights, PATH)
    assert (n_iter[:4] == 0).all()
    assert np.allclose(path[0], 1e-6 * weights * y)


def test_where_no_sample_is_free_the_intercept_is_the_middle_of_its_interval() -> None:
    _, gram, y, weights = problem(64, 32, 0.25, 1.0, seed=4)
    path, intercepts, _, _ = smo_path(gram, y, weights, [1e-4])
    v = y - gram.astype(np.float64) @ path[0]
    assert intercepts[0] == pytest.approx((v[y < 0].max() + v[y > 0].min()) / 2, abs=1e-9)


def test_the_warm_path_ends_where_a_cold_start_does() -> None:
    x, gram, y, weights = problem(150, 24, 0.3, 1.0, seed=5)
    warm, *_ = smo_path(gram, y, weights, np.logspace(-4, 1, 6))
    for c, cost in enumerate(np.logspace(-4, 1, 6)):
        cold, *_ = smo_path(gram, y, weights, [cost])
        w_warm, w_cold = x.T @ warm[c], x.T @ cold[0]
        assert np.linalg.norm(w_warm - w_cold) <= 3e-3 * np.linalg.norm(w_cold)


def test_equal_samples_with_opposite_labels_end_at_their_bounds() -> None:
    x = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)
    y = np.tile([1.0, -1.0], 4)
    path, _, violations, _ = smo_path(x @ x.T, y, np.ones(8), [1.0])
    assert np.allclose(path[0], y)
    assert violations[0] <= 2.0 + 1e-9
    assert np.allclose(x.T @ path[0], 0)


def test_duplicate_rows_and_constant_features_do_not_stop_it() -> None:
    x = np.ones((20, 3), np.float32) / np.sqrt(3)
    x[:10, 0] += 0.1
    y = np.where(np.arange(20) < 10, 1.0, -1.0)
    _, _, violations, _ = smo_path(x @ x.T, y, np.ones(20), PATH)
    assert (violations <= 1e-3).all()


def test_the_iteration_bound_is_kept_and_reported() -> None:
    _, gram, y, weights = problem(200, 16, 0.5, 0.2, seed=6)
    _, _, violations, n_iter = smo_path(gram, y, weights, [100.0], max_iter=10)
    assert n_iter[0] == 10
    assert violations[0] > 1e-3


@settings(max_examples=40, deadline=None)
@given(
    st.integers(8, 60), st.integers(2, 40), st.floats(0.1, 0.9), st.integers(0, 10_000), st.sampled_from([1e-3, 0.3, 5])
)
def test_the_dual_and_primal_values_close_the_gap(n: int, d: int, errors: float, seed: int, cost: float) -> None:
    x, gram, y, weights = problem(n, d, errors, 0.5, seed)
    path, intercepts, _, _ = smo_path(gram, y, weights, [cost], tol=1e-3)
    a = path[0]
    w = x.T.astype(np.float64) @ a
    slack = np.maximum(0, 1 - y * (x @ w + intercepts[0]))
    primal = 0.5 * w @ w + cost * (weights * slack).sum()
    dual = y @ a - 0.5 * w @ w
    assert dual <= primal + 1e-4 * max(1, abs(primal))
    assert primal - dual <= 1e-3 * cost * weights.sum() + 1e-4 * max(1, abs(primal))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_swapping_the_labels_turns_the_direction_around(seed: int) -> None:
    x, gram, y, weights = problem(40, 12, 0.4, 0.7, seed)
    one, other = (smo_path(gram, labels, weights, [0.5], tol=1e-4)[0] for labels in (y, -y))
    w = x.T @ one[0]
    assert np.allclose(w, -(x.T @ other[0]), atol=2e-3 * np.linalg.norm(w) + 1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(12, 50), st.integers(2, 20), st.floats(0, 0.6), st.integers(0, 10_000))
def test_held_out_recalls_are_those_of_the_plain_reference(cv: int, n: int, d: int, no_part: float, seed: int) -> None:
    """Labellings that share a Gram matrix, of which some are solved in place and some in a copy of their part."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + 2 * cv, d))
    gram, costs = x @ x.T / d, np.array([1e-4, 1e-2, 0.3, 2.0])
    labels = np.where(rng.random((3, len(x))) < 0.3, -1, 1).astype(np.int8)
    labels[rng.random(labels.shape) < no_part] = 0
    for own in labels:
        own[rng.permutation(len(x))[: 2 * cv]] = np.repeat([1, -1], cv)
    folds = folds_of_class(labels, cv)
    recalls, violation = np.full((3, cv, len(costs), 2), np.nan), np.full((3, cv), np.nan)
    middle = 3 * cv // 2  # two calls, which part in the midst of a labelling
    for first, last in ((0, middle), (middle, 3 * cv)):
        cross_validate_jobs(gram, labels, folds, cv, first, last, costs, 1e-8, 10**6, recalls, violation)
    assert (violation <= 1e-8).all()
    for p, fold in np.ndindex(3, cv):
        train, held = (folds[p] >= 0) & (folds[p] != fold), folds[p] == fold
        y = labels[p, train].astype(float)
        weights = compute_sample_weight("balanced", y)
        for c, cost in enumerate(costs):
            a, b = smo_reference(gram[np.ix_(train, train)], y, weights, cost, tol=1e-8)
            decisions = gram[np.ix_(held, train)] @ a + b
            if np.abs(decisions).min() > 1e-5:
                for kind, sign in enumerate((-1, 1)):
                    of_kind = decisions[labels[p, held] == sign]
                    assert recalls[p, fold, c, kind] == pytest.approx((of_kind * sign > 0).mean())
