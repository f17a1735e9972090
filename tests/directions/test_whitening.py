from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import rows as module
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


POWERS = st.integers(-1000, 1000)


def unit_rows_in_long_double(whitening: Whitening, rows: torch.Tensor) -> np.ndarray:
    """The formula in a type with 15 bits of exponent, in which nothing overflows."""
    wide = (rows.numpy().astype(np.longdouble) - whitening.mean) / whitening.scale
    lengths = np.sqrt((wide**2).sum(1, keepdims=True))
    return (wide / np.where(lengths == 0, 1, lengths)).astype(np.float64)


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp < 16000, reason="long double is float64 here")
@given(st.integers(0, 99), POWERS, POWERS, st.booleans())
def test_rows_of_any_size_are_whitened_as_in_a_wider_type(seed: int, fitted: int, asked: int, whiten: bool) -> None:
    reference, rows = normal(seed, 20, 6) * 2.0**fitted, normal(seed + 1, 9, 6) * 2.0**asked
    rows[3], rows[4, 2] = 0, 0
    whitening = Whitening.fit(reference) if whiten else Whitening.identity(6)
    expected = unit_rows_in_long_double(whitening, rows)
    assert np.abs(whitening(rows, torch.float64).numpy() - expected).max() <= 1e-15
    assert np.abs(whitening.through_torch(rows, torch.float64).numpy() - expected).max() <= 1e-15


@given(st.integers(0, 99), st.lists(POWERS, min_size=6, max_size=6))
def test_each_dimension_may_have_a_size_of_its_own(seed: int, powers: list[int]) -> None:
    rows, units = normal(seed, 20, 6) + 3, torch.tensor([2.0**power for power in powers], dtype=torch.float64)
    plain, scaled = Whitening.fit(rows), Whitening.fit(rows * units)
    np.testing.assert_array_equal(scaled.scale, plain.scale * units.numpy())
    np.testing.assert_array_equal(scaled.mean, plain.mean * units.numpy())
    for whiten in (scaled, scaled.through_torch):
        assert (whiten(rows * units, torch.float64) - plain(rows, torch.float64)).abs().max() <= 1e-15


@given(st.integers(0, 99), st.integers(-126, 120))
def test_float32_rows_of_any_size(seed: int, power: int) -> None:
    rows = normal(seed, 20, 6).float() + 3
    scaled = rows * 2.0**power
    for plain, other in (
        (Whitening.fit(rows), Whitening.fit(scaled)),
        (Whitening.identity(6), Whitening.identity(6)),
    ):
        expected = plain(rows, torch.float64)
        for whiten in (other, other.through_torch):
            assert (whiten(scaled, torch.float64) - expected).abs().max() <= (1e-15 if power > -100 else 1e-4)


def test_a_column_is_constant_by_what_rounding_does_to_its_own_size() -> None:
    noise = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 0.0, 1.0], size=(40, 1)))
    columns = [
        0.1 + noise * 2**-56,  # the last bit: constant
        1e-300 * (1 + noise * 2**-52),  # likewise
        torch.zeros(40, 1),
        1e-300 * noise,  # tiny, and all of it varies
        1e9 + noise * 1e-2,
    ]
    whitening = Whitening.fit(torch.cat(columns, dim=1).double())
    assert (whitening.scale == 1).tolist() == [True, True, True, False, False]


def test_the_largest_and_the_smallest_numbers_have_a_direction() -> None:
    most, least = torch.finfo(torch.float64).max, 5e-324
    rows = torch.tensor(
        [[most, -most], [-most, most], [most, most], [-most, -most], [least, 0], [least, -least]],
        dtype=torch.float64,
    )
    found = Whitening.identity(2)(rows, torch.float64)
    half = 0.5**0.5
    expected = [[half, -half], [-half, half], [half, half], [-half, -half], [1, 0], [half, -half]]
    assert np.allclose(found, expected, rtol=1e-15, atol=0)
    assert torch.equal(Whitening.identity(2).through_torch(rows, torch.float64).float(), found.float())
    fitted = Whitening.fit(rows[:4])
    assert np.isfinite(fitted.mean).all()
    assert np.isfinite(fitted.scale).all()
    assert np.allclose(fitted(rows[:4]), expected[:4], atol=1e-6)
