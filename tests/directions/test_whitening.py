from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.directions import whitening as module
from fdgpu.directions.whitening import Whitening


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.fixture(params=[1 << 25, 8 * 8 * 7], ids=["one chunk", "seven rows a chunk"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", {"cpu": request.param})


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("m", [2, 100])
def test_mean_and_deviation_are_numpys(m: int) -> None:
    reference = (normal(0, m, 8) * 2 + 3).float()
    whitening = Whitening.fit(reference)
    assert np.allclose(whitening.mean, reference.double().numpy().mean(0))
    assert np.allclose(whitening.scale, reference.double().numpy().std(0, ddof=1))


@pytest.mark.usefixtures("chunks")
def test_rows_are_whitened_and_unit() -> None:
    reference, rows = normal(1, 50, 8).numpy() * 3 + 1, normal(2, 31, 8).numpy()
    expected = (rows - reference.mean(0)) / reference.std(0, ddof=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = Whitening.fit(torch.from_numpy(reference))(torch.from_numpy(rows))
    assert found.dtype == torch.float32
    assert np.allclose(found, expected, atol=1e-6)


def test_a_constant_dimension_is_left_unscaled() -> None:
    reference = normal(2, 30, 3).float()
    reference[:, 1] = 0.1
    whitening = Whitening.fit(reference)
    assert whitening.scale[1] == 1
    assert whitening(reference).isfinite().all()


def test_a_row_at_the_mean_stays_zero_instead_of_nan() -> None:
    whitening = Whitening(np.ones(4), np.full(4, 2.0))
    assert (whitening(torch.ones((1, 4))) == 0).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 100), st.floats(-10, 10))
def test_whitened_rows_do_not_see_scale_and_shift(seed: int, scale: float, shift: float) -> None:
    rows = normal(seed, 20, 6)
    moved = rows * scale + shift
    assert np.allclose(Whitening.fit(rows)(rows), Whitening.fit(moved)(moved), atol=1e-5)


def test_identity_only_normalises() -> None:
    rows = normal(3, 4, 3)
    assert np.allclose(Whitening.identity(3)(rows), rows / rows.norm(dim=1, keepdim=True), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_callers_rows_are_not_changed(dtype: torch.dtype) -> None:
    rows = normal(4, 10, 3).to(dtype)
    before = rows.clone()
    Whitening.fit(rows)(rows)
    Whitening.identity(3)(rows)
    assert torch.equal(rows, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("out", [torch.float32, torch.float64])
def test_the_compiled_loop_is_its_plain_twin(dtype: torch.dtype, out: torch.dtype) -> None:
    rows = (normal(5, 63, 31) + 2).to(dtype)
    rows[7] = 0
    for whitening in (Whitening.fit(rows), Whitening.identity(31)):
        expected = whitening.through_torch(rows, out)
        assert torch.allclose(whitening(rows, out), expected, rtol=0, atol=2e-7 if out == torch.float32 else 1e-14)


def test_a_far_mean_takes_nothing_from_the_deviation() -> None:
    reference = normal(6, 400, 5) + 1e6
    reference[0] -= 50  # a first row that is far from the mean
    whitening = Whitening.fit(reference)
    assert np.allclose(whitening.scale, reference.numpy().std(0, ddof=1), rtol=1e-12)
    assert np.allclose(whitening.mean, reference.numpy().mean(0), rtol=1e-14)
