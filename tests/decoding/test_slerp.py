"""Rotation between unit vectors, held to its formula in float64 and to the laws of an arc."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import fdgpu
from fdgpu import slerp
from fdgpu.errors import InputError
from tests.conftest import load_jax


def plain(a: np.ndarray, b: np.ndarray, alpha: float) -> np.ndarray:
    """The paper's formula, one pair of vectors, float64."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    theta = np.arccos(np.clip(a @ b, -1, 1))
    return (np.sin((1 - alpha) * theta) * a + np.sin(alpha * theta) * b) / np.sin(theta)


def pair(seed: int, d: int = 64) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=d) * 3, rng.normal(size=d)


def angle(a: Any, b: Any) -> float:
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


SHARES = st.floats(-1, 1, allow_subnormal=False)


@settings(deadline=None)
@given(st.integers(0, 10**6), SHARES, st.integers(2, 700))
@example(3164, 0.46875, 2)  # 0.017 from opposite, where sin θ is small
def test_equals_the_formula_in_float64(seed: int, alpha: float, d: int) -> None:
    a, b = pair(seed, d)
    if not 1e-2 < angle(a / np.linalg.norm(a), b / np.linalg.norm(b)) < np.pi - 1e-2:
        return  # the formula itself loses its digits there
    np.testing.assert_allclose(slerp(a, b, alpha), plain(a, b, alpha), atol=1e-11)
    a32, b32 = a.astype(np.float32), b.astype(np.float32)
    rounded = slerp(a32, b32, alpha)
    assert rounded.dtype == np.float32
    np.testing.assert_allclose(rounded, plain(a32.astype(float), b32.astype(float), alpha), rtol=0, atol=1e-7)


@settings(deadline=None)
@given(st.integers(0, 10**6), SHARES)
def test_is_a_unit_vector_at_the_asked_share_of_the_angle(seed: int, alpha: float) -> None:
    a, b = pair(seed)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    z = slerp(a, b, alpha)
    assert np.linalg.norm(z) == pytest.approx(1, abs=1e-12)
    assert angle(a, z) == pytest.approx(abs(alpha) * angle(a, b), abs=1e-9)
    if alpha >= 0:
        np.testing.assert_allclose(z, slerp(b, a, 1 - alpha), atol=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-12, 5e-3), SHARES)
def test_next_to_equal_vectors_have_an_arc_too(seed: int, gap: float, alpha: float) -> None:
    a, side = pair(seed)
    a /= np.linalg.norm(a)
    side -= (side @ a) * a
    b = a + gap * side / np.linalg.norm(side)
    z = slerp(a, b, alpha)
    assert np.linalg.norm(z) == pytest.approx(1, abs=1e-12)
    assert angle(a, z) == pytest.approx(abs(alpha) * np.arctan(gap), abs=2e-9)


def test_alpha_of_0_and_1_and_equal_vectors() -> None:
    a, b = pair(0)
    np.testing.assert_allclose(slerp(a, b, 0), a / np.linalg.norm(a), atol=1e-15)
    np.testing.assert_allclose(slerp(a, b, 1), b / np.linalg.norm(b), atol=1e-15)
    np.testing.assert_allclose(slerp(a, 5 * a, 0.3), a / np.linalg.norm(a), atol=1e-15)


def test_broadcasts_classes_against_shares() -> None:
    rng = np.random.default_rng(0)
    r, w, alphas = rng.normal(size=(5, 1, 16)), rng.normal(size=(5, 1, 16)), np.linspace(-0.3, 0.3, 7)
    z = slerp(r, w, alphas)
    assert z.shape == (5, 7, 16)
    for i in range(5):
        for j, alpha in enumerate(alphas):
            np.testing.assert_allclose(z[i, j], plain(r[i, 0], w[i, 0], alpha), atol=1e-12)
    one = slerp(r[0, 0], w[:, 0], 0.1)  # one reference, many directions
    np.testing.assert_allclose(one[3], plain(r[0, 0], w[3, 0], 0.1), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_gives_back_the_kind_and_type(dtype: torch.dtype) -> None:
    a, b = (torch.from_numpy(v).to(dtype) for v in pair(1))
    z = slerp(a, b, 0.2)
    assert isinstance(z, torch.Tensor)
    assert z.dtype == dtype
    expected = plain(a.double().numpy(), b.double().numpy(), 0.2)
    torch.testing.assert_close(z.double(), torch.from_numpy(expected), atol=2 * torch.finfo(dtype).eps, rtol=0)


def test_takes_jax_lists_and_integers() -> None:
    jax = load_jax()
    a, b = pair(2, 8)
    z = slerp(jax.numpy.asarray(a), b, 0.5)
    assert type(z).__module__.startswith("jax")
    np.testing.assert_allclose(np.asarray(z), plain(a, b, 0.5), atol=1e-6)
    np.testing.assert_allclose(slerp([3, 0], [0, 5], 0.5), [2**-0.5, 2**-0.5], atol=1e-6)


UNIT = [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("a", "b", "alpha", "says"),
    [
        (UNIT, [0.0, 1.0, 0.0], 1.5, r"alpha holds 1.5: .* in \[-1, 1\]"),
        (UNIT, [0.0, 1.0, 0.0], float("nan"), "alpha holds nan"),
        (UNIT, [0.0, 1.0, 0.0], [0.1, -2.0], "alpha holds -2"),
        (UNIT, [-2.0, 0.0, 0.0], 0.1, "opposite"),
        (UNIT, [-2.0, 1e-6, 0.0], 0.1, "opposite"),
        (UNIT, [0.0, 0.0, 0.0], 0.1, "b holds a vector that is zero"),
        ([float("inf"), 0.0, 0.0], UNIT, 0.1, "a holds a vector that is zero or not finite"),
        (UNIT, [0.0, 1.0], 0.1, "3 numbers, b of 2: both come from one CLIP space"),
        (1.0, UNIT, 0.1, "a is one number"),
        ([UNIT] * 2, [UNIT] * 3, 0.1, "do not broadcast"),
        ([UNIT] * 2, [0.0, 1.0, 0.0], [0.1] * 3, "do not broadcast"),
    ],
)
def test_says_what_is_wrong(a: Any, b: Any, alpha: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        slerp(np.asarray(a), np.asarray(b), np.asarray(alpha))


def test_is_public() -> None:
    assert fdgpu.slerp is slerp
