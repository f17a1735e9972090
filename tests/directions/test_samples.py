"""Rows of several classes: an image that is judged for k conditions is a sample of each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import FailureDirections
from fdgpu.directions.samples import check_samples
from fdgpu.errors import InputError

D, SETTINGS = 6, {"n_resamples": 3, "Cs": (0.01, 0.1, 1.0)}


def conditions(seed: int, n: int, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rows, conditions (n, k) of 0 and 1 or -1 where unknown, their class ids 2 j + y, and who is right."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, D)).astype(np.float32)
    y = np.where(rng.random((n, k)) < 0.15, -1, rng.integers(0, 2, (n, k)))
    return x, y, np.where(y < 0, -1, 2 * np.arange(k) + y), rng.random((n, k)) < 0.5 + 0.3 * (x[:, :k] > 0)


@given(st.integers(0, 10**6), st.integers(40, 120), st.integers(1, 4))
@settings(deadline=None, max_examples=6)
def test_it_is_one_fit_a_condition(seed: int, n: int, k: int) -> None:
    x, y, ids, right = conditions(seed, n, k)
    groups = np.random.default_rng(seed).integers(0, n, n)
    together = FailureDirections(**SETTINGS).fit(x, ids, right, groups=groups)
    decided = together.decision_function(x, ids)
    assert np.isnan(decided[y < 0]).all()
    for j in range(k):
        known = y[:, j] >= 0
        own = FailureDirections(**SETTINGS).fit(x[known], ids[known, j], right[known, j], x, groups[known])
        at = np.isin(together.classes_, own.classes_)
        for name in ("coef_", "intercept_", "C_", "cv_scores_", "n_samples_", "n_errors_"):
            np.testing.assert_array_equal(getattr(together, name)[at], getattr(own, name), err_msg=name)
        np.testing.assert_array_equal(decided[known, j], own.decision_function(x[known], ids[known, j]))


def test_false_discoveries_are_controlled_over_the_classes_of_all_conditions() -> None:
    x, _, ids, right = conditions(1, 200, 3)
    fit = FailureDirections(n_permutations=30).fit(x, ids, right)
    p, q = np.sort(fit.p_value_[:, 0]), np.sort(fit.q_value_[:, 0])
    assert q[-1] == p[-1]
    assert q[0] == pytest.approx((p * 6 / np.arange(1, 7)).min())


def test_vectors_are_not_copied_for_every_condition() -> None:
    x, _, ids, right = conditions(0, 50, 4)
    embeddings, rows, labels, *_ = check_samples(torch.from_numpy(x), ids, right)
    assert embeddings.tensor.data_ptr() == torch.from_numpy(x).data_ptr()
    assert (ids[rows, labels // 2] == labels).all()
    assert len(rows) == (ids >= 0).sum()


@pytest.mark.parametrize(
    ("labels", "correct", "message"),
    [
        (np.zeros((4, 2), int), np.ones(4, bool), r"correct has shape \(4,\), labels \(4, 2\): pass one answer"),
        (np.full((4, 2), -1), np.ones((4, 2), bool), "below 0 everywhere"),
        (np.array([[0, 1], [0, 1], [-1, -1], [3, 3]]), np.ones((4, 2), bool), "a class twice in row 3"),
        (np.zeros((4, 2, 1), int), np.ones(4, bool), r"pass one entry a row, \(4,\), or \(4, k\)"),
        (np.zeros((3, 2), int), np.ones((4, 2), bool), "labels has 3 entries, embeddings has 4 rows"),
    ],
)
def test_what_does_not_fit_is_named(labels: np.ndarray, correct: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FailureDirections().fit(np.eye(4, D), labels, correct)
