"""What is estimated: one record from which files, attributes and their documentation follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fdgpu import FailureDirections
from fdgpu.findings import Status

BEFORE = Path(__file__).parent / "files" / "before_the_house.safetensors"  # of FailureDirections/2, fdgpu 0.1


def test_a_file_that_was_written_before_there_was_a_record_of_a_fit() -> None:
    fit = FailureDirections.load(BEFORE)
    assert (fit.Cs, fit.cv, fit.whiten, fit.tol, fit.max_iter, fit.backend) == ((1e-3, 1e-1), 3, True, 1e-4, 5000, "auto")
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
