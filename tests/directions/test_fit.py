"""What is estimated: one record from which files, attributes and their documentation follow."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.directions.fit import ESTIMATED, Fit
from fdgpu.errors import InputError, NotFittedError
from fdgpu.findings import Status
from tests.conftest import make_class
from tests.directions.planting import plant_modes
from tests.directions.test_estimator import three_classes

BEFORE = Path(__file__).parent / "files" / "before_the_house.safetensors"  # of FailureDirections/2, fdgpu 0.1


def test_the_same_data_give_the_same_fit_as_then() -> None:
    planted, other = plant_modes(600, 24, [0.22, 0.22], seed=5), make_class(80, 24, 0.3, 1.5, seed=1)
    x = np.concatenate([planted.x, other.x, other.x[:6]])
    right = np.concatenate([planted.right, other.right, np.ones(6, bool)])
    then = FailureDirections.load(BEFORE)
    now = FailureDirections.from_settings(then.solver_settings, then.search_settings)
    now.fit(x, np.repeat([2, 5, 9], [600, 80, 6]), right)
    for name in ("C_", "p_value_", "q_value_", "converged_", "n_errors_of_", "n_directions_", "status_", "solver_"):
        assert np.array_equal(
            getattr(now, name), getattr(then, name), equal_nan=name[-6:] == "value_" or name == "C_"
        ), name
    for name in ("coef_", "intercept_", "cv_scores_", "nested_score_", "scale_"):
        mine, its = getattr(now, name), getattr(then, name)
        assert np.allclose(mine, its, rtol=1e-3, atol=1e-3 * np.nanmax(np.abs(its)), equal_nan=True), name


@pytest.fixture(scope="module")
def fitted() -> FailureDirections:
    x, labels, right, _ = three_classes()
    return FailureDirections(whiten=False).fit(x, labels, right)


def test_a_file_that_was_written_before_there_was_a_record_of_a_fit() -> None:
    fit = FailureDirections.load(BEFORE)
    assert (fit.Cs, fit.cv, fit.whiten, fit.tol, fit.max_iter, fit.backend) == (
        (1e-3, 1e-1),
        3,
        True,
        1e-4,
        5000,
        "auto",
    )
    assert (fit.n_directions, fit.n_permutations, fit.stop_after, fit.fdr, fit.nested) == (2, 19, 5, 0.25, True)
    assert (fit.n_resamples, fit.random_state) == (2, 7)
    assert (fit.backend_, fit.backend_reason_[:5]) == ("numba", "auto:")
    assert fit.status_ == [Status.OK, "ok", "no_errors"]
    assert fit.solver_ == ["gram", "gram", ""]
    assert fit.classes_.tolist() == [2, 5, 9]
    assert fit.coef_.shape == (3, 2, 24)
    assert np.allclose(fit.coef_[0, 0, :3], [0.0399455, -0.05894852, -0.04208787])
    nan = np.nan
    for name, expected in {
        "intercept_": [[0.01808848, 0.6592062], [0.00109921, nan], [nan, nan]],
        "C_": [[1e-3, 1e-1], [1e-3, nan], [nan, nan]],
        "C_at_edge_": [[True, True], [True, False], [False, False]],
        "cv_score_": [[0.91033412, 0.93624789], [0.84137427, nan], [nan, nan]],
        "p_value_": [[0.05, 0.05], [0.05, nan], [nan, nan]],
        "q_value_": [[1 / 15, 1 / 15], [1 / 15, nan], [nan, nan]],
        "significant_": [[True, True], [True, False], [False, False]],
        "converged_": [[True] * 2] * 3,
        "n_iter_": [[0, 393], [0, 0], [0, 0]],
        "n_samples_": [600, 80, 6],
        "n_errors_": [220, 24, 0],
        "n_directions_": [2, 1, 0],
        "n_errors_of_": [[126, 94], [24, 0], [0, 0]],
        "n_permutations_": [19, 19, 0],
        "nested_score_": [0.86613367, 0.84137427, nan],
    }.items():
        assert np.allclose(getattr(fit, name), expected, atol=1e-7, equal_nan=True), name
    assert np.allclose(fit.scale_[:3], [0.21971322, 0.27881816, 0.25831371])
    assert np.allclose(fit.cv_scores_[0, 1], [0.91386527, 0.93624789])
    rows = np.tile(np.linspace(-0.5, 0.5, 24), (1, 1))
    assert np.isfinite(fit.decision_function(rows, np.array([2]), direction=1)).all()


def test_saved_and_loaded_it_answers_the_same(fitted: FailureDirections, tmp_path: Path) -> None:
    x, labels, _, _ = three_classes(seed=9)
    fitted.save(tmp_path / "fit.safetensors")
    numpy_settings = FailureDirections(random_state=np.int64(3), fdr=np.float32(0.25)).fit(*three_classes()[:3])
    numpy_settings.save(tmp_path / "numpy.safetensors")
    assert FailureDirections.load(tmp_path / "numpy.safetensors").random_state == 3
    (tmp_path / "numpy.safetensors").unlink()
    again = FailureDirections.load(tmp_path / "fit.safetensors")
    assert np.array_equal(again.decision_function(x, labels), fitted.decision_function(x, labels))
    assert (again.status_, again.backend_, again.Cs) == (fitted.status_, fitted.backend_, fitted.Cs)
    assert [p.name for p in tmp_path.iterdir()] == ["fit.safetensors"]


def test_a_file_that_is_not_a_fit(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    with pytest.raises(InputError, match="does not exist"):
        FailureDirections.load(path)
    path.write_bytes(b"not a tensor in sight")
    with pytest.raises(InputError, match="damaged"):
        FailureDirections.load(path)


def test_a_file_cut_in_half(fitted: FailureDirections, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    fitted.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged"):
        FailureDirections.load(path)


def test_every_field_is_stored_shown_and_documented(fitted: FailureDirections, tmp_path: Path) -> None:
    fitted.save(tmp_path / "fit.safetensors")
    again = FailureDirections.load(tmp_path / "fit.safetensors")
    names = {one.name for one in fields(Fit)} - {"solver_settings", "search_settings"}
    assert names | {"directions", "significant", "C_at_edge", "scale", "most_permutations"} == set(ESTIMATED)
    for name in ESTIMATED:
        assert f"{name}_: " in FailureDirections.__doc__
        assert f"{name}_" in dir(fitted)
        if name not in ("whitening", "resampled_coef", "test_seconds"):
            mine, its = getattr(fitted, f"{name}_"), getattr(again, f"{name}_")
            assert type(mine) is type(its), name
            assert np.array_equal(mine, its, equal_nan=isinstance(mine, np.ndarray) and mine.dtype.kind == "f"), name
    assert np.array_equal(again.whitening_.mean, fitted.whitening_.mean)


def test_results_come_back_in_the_callers_kind_of_array() -> None:
    x, labels, right, _ = three_classes()
    fit = FailureDirections().fit(torch.from_numpy(x), labels, right)
    plain = {"status", "solver", "backend", "backend_reason", "p_value_reason", "whitening", "test_seconds"}
    plain |= {"most_permutations"}
    for name in set(ESTIMATED) - plain:
        assert isinstance(getattr(fit, f"{name}_"), torch.Tensor), name


def test_a_record_is_frozen_and_a_change_is_another_record(fitted: FailureDirections) -> None:
    with pytest.raises(AttributeError):
        fitted._fit.coef = fitted.coef_
    strict = replace(
        fitted._fit, search_settings=replace(fitted.search_settings, fdr=0.5), q_value=fitted.p_value_ * 0 + 0.3
    )
    assert strict.significant.tolist() == (strict.q_value <= 0.5).tolist()


def test_results_before_a_fit() -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        _ = FailureDirections().coef_
    assert not hasattr(FailureDirections(), "coef_")
    for name in ESTIMATED:
        with pytest.raises(NotFittedError, match=f"{name}_ is not there yet"):
            getattr(FailureDirections(), f"{name}_")
    with pytest.raises(AttributeError, match="no attribute 'coefs_'"):
        _ = FailureDirections().coefs_
