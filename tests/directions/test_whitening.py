from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.directions.whitening import CHUNK, Whitening


@pytest.mark.parametrize("m", [2, 100, CHUNK + 7])
def test_mean_and_deviation_are_numpys(m: int) -> None:
    reference = np.random.default_rng(0).normal(3, 2, size=(m, 5)).astype(np.float32)
    whitening = Whitening.fit(reference)
    assert np.allclose(whitening.mean, reference.astype(np.float64).mean(0))
    assert np.allclose(whitening.scale, reference.astype(np.float64).std(0, ddof=1))


def test_rows_are_whitened_and_unit() -> None:
    rng = np.random.default_rng(1)
    reference, rows = rng.normal(1, 3, size=(50, 8)), rng.normal(size=(CHUNK + 3, 8))
    expected = (rows - reference.mean(0)) / reference.std(0, ddof=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(Whitening.fit(reference)(rows), expected, atol=1e-6)


def test_a_constant_dimension_is_left_unscaled() -> None:
    reference = np.random.default_rng(2).normal(size=(30, 3)).astype(np.float32)
    reference[:, 1] = 0.1
    whitening = Whitening.fit(reference)
    assert whitening.scale[1] == 1
    assert np.isfinite(whitening(reference)).all()


def test_a_row_at_the_mean_stays_zero_instead_of_nan() -> None:
    whitening = Whitening(np.ones(4), np.full(4, 2.0))
    assert (whitening(np.ones((1, 4))) == 0).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 100), st.floats(-10, 10))
def test_whitened_rows_do_not_see_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    rows = np.random.default_rng(seed).normal(size=(20, 6))
    moved = rows * scale + shift
    assert np.allclose(Whitening.fit(rows)(rows), Whitening.fit(moved)(moved), atol=1e-5)


def test_identity_only_normalises() -> None:
    rows = np.random.default_rng(3).normal(size=(4, 3))
    assert np.allclose(Whitening.identity(3)(rows), rows / np.linalg.norm(rows, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_callers_rows_are_not_changed(dtype: type) -> None:
    rows = np.random.default_rng(4).normal(size=(10, 3)).astype(dtype)
    before = rows.copy()
    Whitening.fit(rows)(rows)
    assert (rows == before).all()
