"""Data that no model makes and every pipeline meets: constant features, repeated rows, one-hot embeddings.

Such data has no unique dual, but one w: it is compared with libsvm's, over every backend that runs here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from fdgpu import FailureDirections
from fdgpu.device import Choice
from fdgpu.directions import estimator, parameters
from fdgpu.directions.batch import SolverBackend
from fdgpu.directions.cuml_backend import CumlBackend
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.triton_backend import TritonBackend
from tests.directions.cuml_stand_in import stand_in
from tests.kernels.interpreting import DEVICE, comparison

N = 48
RIGHT = np.arange(N) % 3 > 0
ONE_CLASS = np.zeros(N, int)
Case = tuple[np.ndarray, np.ndarray]


def constant_features() -> Case:
    x = np.random.default_rng(0).normal(size=(N, 6)) + RIGHT[:, None]
    x[:, [1, 4]] = 0.1
    return x.astype(np.float32), RIGHT


def duplicate_rows() -> Case:
    rng = np.random.default_rng(1)
    return np.repeat(rng.normal(size=(N // 4, 6)), 4, axis=0).astype(np.float32), np.repeat(rng.random(N // 4) < 0.6, 4)


def some_rows_with_both_labels() -> Case:
    x = np.random.default_rng(2).normal(size=(N, 6)).astype(np.float32) + RIGHT[:, None]
    x[1::3] = x[::3]  # every wrong row is also a right one
    return x, RIGHT


def one_hot() -> Case:
    return np.eye(5, dtype=np.float32)[np.random.default_rng(3).integers(0, 5, N)], RIGHT


def one_feature() -> Case:
    return (np.arange(N)[:, None] % 7 - 3).astype(np.float32), RIGHT


CASES = [constant_features, duplicate_rows, some_rows_with_both_labels, one_hot, one_feature]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[SolverBackend], str]:
    """Have ``FailureDirections(backend=…)`` run a backend that is made here; returns the name to ask for."""

    def using(backend: SolverBackend) -> str:
        monkeypatch.setattr(parameters, "choose_backend", lambda name: Choice(name, "asked for by name"))
        monkeypatch.setattr(estimator, "backend_named", lambda *_: backend)
        if backend.name == "cuml":
            stand_in(monkeypatch)
        return backend.name

    return using


def assert_finds_the_w_of_libsvm(name: str, case: Case, whiten: bool, costs: tuple[float, ...]) -> None:
    x, right = case
    fit = FailureDirections(Cs=costs, whiten=whiten, tol=1e-4, backend=name).fit(x, ONE_CLASS, right)
    assert fit.status_ == ["ok"]
    assert fit.converged_.all()
    rows = fit.transform(x).astype(np.float64)
    oracle = SVC(kernel="linear", class_weight="balanced", C=float(fit.C_[0, 0]), tol=1e-5).fit(rows, right)
    w = fit.coef_[0, 0]
    assert np.linalg.norm(w - oracle.coef_[0]) <= 2e-3 * np.linalg.norm(oracle.coef_[0]) + 1e-6
    values = fit.decision_function(x, ONE_CLASS)
    assert np.isfinite(values).all()
    same = {row.tobytes(): values[k] for k, row in enumerate(x)}
    assert np.allclose(values, [same[row.tobytes()] for row in x], rtol=0, atol=1e-12)  # equal rows are decided alike
    assert 0 <= fit.cv_score_[0, 0] <= 1


@pytest.mark.parametrize("backend", [NumbaBackend(2), CumlBackend("cpu")], ids=lambda backend: backend.name)
@pytest.mark.parametrize("whiten", [True, False], ids=["whitened", "as it is"])
@pytest.mark.parametrize("case", CASES)
def test_it_finds_the_w_of_libsvm(
    case: Callable[[], Case], whiten: bool, backend: SolverBackend, use: Callable[[SolverBackend], str]
) -> None:
    assert_finds_the_w_of_libsvm(use(backend), case(), whiten, (1e-6, 1e-2, 1.0))


@comparison
@pytest.mark.parametrize("case", CASES)
def test_it_finds_the_w_of_libsvm_on_a_device(case: Callable[[], Case], use: Callable[[SolverBackend], str]) -> None:
    assert_finds_the_w_of_libsvm(use(TritonBackend(DEVICE)), case(), True, (1e-2, 1.0))


def test_a_constant_feature_has_no_part_in_the_direction() -> None:
    x, right = constant_features()
    fit = FailureDirections().fit(x, ONE_CLASS, right)
    assert (fit.coef_[0, 0, [1, 4]] == 0).all()
    without = FailureDirections().fit(np.delete(x, [1, 4], axis=1), ONE_CLASS, right)
    assert np.allclose(np.delete(fit.coef_[0, 0], [1, 4]), without.coef_[0, 0], atol=1e-6)
    assert np.allclose(fit.cv_scores_, without.cv_scores_)


@pytest.mark.parametrize("backend", [NumbaBackend(2), CumlBackend("cpu")], ids=lambda backend: backend.name)
@pytest.mark.parametrize(
    ("x", "right"),
    [
        (np.ones((N, 4), np.float32), RIGHT),
        (np.zeros((N, 4), np.float32), RIGHT),
        (np.repeat(np.random.default_rng(4).normal(size=(N // 2, 4)), 2, axis=0), np.arange(N) % 2 > 0),
    ],
    ids=["only constant features", "zeros", "every row with both labels"],
)
def test_where_nothing_tells_errors_apart_there_is_no_direction_and_a_score_of_chance(
    x: np.ndarray, right: np.ndarray, backend: SolverBackend, use: Callable[[SolverBackend], str]
) -> None:
    model = FailureDirections(n_permutations=19, nested=True, n_directions=2, backend=use(backend))
    fit = model.fit(x, ONE_CLASS, right)
    length = np.linalg.norm(fit.coef_[0, 0])
    assert length <= 1e-6 * fit.C_[0, 0]  # zero, or the rounding of a sum that is
    assert np.isnan(fit.directions_[0, 0]).all() == (length == 0)
    assert fit.cv_score_[0, 0] == 0.5
    assert fit.nested_score_[0] == 0.5
    assert fit.p_value_[0, 0] > 0.5
    assert not fit.significant_.any()
    assert fit.converged_[0, 0]
    assert np.allclose(fit.decision_function(x, ONE_CLASS), fit.intercept_[0, 0], rtol=0, atol=1e-9)
    assert np.allclose(fit.score_captions(np.eye(4), np.full(4, 0.5), 0), 0, atol=1e-9)


def test_one_hot_embeddings_of_integers_and_of_booleans_are_taken() -> None:
    x, right = one_hot()
    expected = FailureDirections().fit(x, ONE_CLASS, right).coef_
    for dtype in (np.int64, np.uint8, bool):
        assert np.array_equal(FailureDirections().fit(x.astype(dtype), ONE_CLASS, right).coef_, expected)


@pytest.mark.parametrize(("cv", "n"), [(5, 24), (11, 24), (30, 24)])
def test_more_folds_than_errors_or_samples_is_a_status(cv: int, n: int) -> None:
    x, right = np.random.default_rng(5).normal(size=(2 * n, 4)), np.ones(2 * n, bool)
    right[:4] = False  # of the first class; of the second half are wrong
    right[n : n + n // 2] = False
    fit = FailureDirections(cv=cv).fit(x, np.repeat([0, 1], n), right)
    second = "ok" if cv <= n // 2 else "too_few_errors"
    assert fit.status_ == ["too_few_errors", second]
    assert np.isnan(fit.coef_[0]).all()
    assert np.isfinite(fit.coef_[1]).all() == (second == "ok")


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e4, 1e18])
def test_the_scale_of_the_embeddings_does_not_matter(scale: float) -> None:
    x, right = constant_features()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for whiten in (True, False):
            fit = FailureDirections(whiten=whiten).fit(x * np.float32(scale), ONE_CLASS, right)
            expected = FailureDirections(whiten=whiten).fit(x, ONE_CLASS, right)
            assert np.allclose(fit.directions_, expected.directions_, atol=1e-3)


def planted_in_doubles() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    labels, right = np.arange(120) % 2, rng.random(120) < 0.7
    return rng.normal(size=(120, 6)) + right[:, None] * [1.5, 0, 0, -1, 0, 0] + 0.5, labels, right


@settings(max_examples=25)
@given(st.integers(-1000, 1000), st.booleans(), st.sampled_from([1e-3, 1e-6]))
def test_the_size_of_all_embeddings_is_of_no_account(power: int, whiten: bool, tol: float) -> None:
    x, labels, right = planted_in_doubles()
    plain = FailureDirections(whiten=whiten, tol=tol, backend="numba").fit(x, labels, right)
    scaled = FailureDirections(whiten=whiten, tol=tol, backend="numba").fit(x * 2.0**power, labels, right)
    assert scaled.status_ == plain.status_ == ["ok", "ok"]
    np.testing.assert_array_equal(scaled.C_, plain.C_)
    np.testing.assert_array_equal(scaled.cv_scores_, plain.cv_scores_)
    np.testing.assert_allclose(scaled.directions_, plain.directions_, atol=1e-5)
    np.testing.assert_allclose(
        scaled.decision_function(x * 2.0**power, labels), plain.decision_function(x, labels), atol=1e-5
    )
    captions, reference = np.eye(6), np.full(6, 6**-0.5)
    np.testing.assert_allclose(
        scaled.score_captions(captions, reference, 0), plain.score_captions(captions, reference, 0), atol=1e-5
    )


@settings(max_examples=25)
@given(st.integers(-110, 120), st.booleans())
def test_the_size_of_float32_embeddings_is_of_no_account(power: int, whiten: bool) -> None:
    x, labels, right = planted_in_doubles()
    x = x.astype(np.float32)
    plain = FailureDirections(whiten=whiten, backend="numba").fit(x, labels, right)
    scaled = FailureDirections(whiten=whiten, backend="numba").fit(np.ldexp(x, power), labels, right)
    np.testing.assert_array_equal(scaled.cv_scores_, plain.cv_scores_)
    np.testing.assert_allclose(scaled.directions_, plain.directions_, atol=1e-5)


@pytest.mark.parametrize("size", [1e150, 1e200, 1e300, 1e-150, 1e-200, 1e-300])
def test_sizes_whose_squares_no_float_holds(size: float) -> None:
    x, labels, right = planted_in_doubles()
    plain, scaled = (FailureDirections(n_permutations=19).fit(one, labels, right) for one in (x, x * size))
    assert np.isfinite(scaled.directions_).all()
    np.testing.assert_allclose(scaled.directions_, plain.directions_, atol=1e-5)
    np.testing.assert_allclose(scaled.p_value_, plain.p_value_)
