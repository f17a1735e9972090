"""Weights, hard and soft."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fdgpu.errors import InputError
from fdgpu.repair import soft_up_weights, up_weights

values_of = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40)


def test_the_papers_weights() -> None:
    weights = up_weights([-0.5, 0.0, 2.0, np.nan, -1e-9], factor=2)
    assert weights.dtype == np.float32
    assert weights.tolist() == [2, 1, 1, 1, 2]


@given(values_of, st.floats(1, 8))
def test_soft_weights_fall_with_the_value_and_stay_between(values: list[float], factor: float) -> None:
    weights = soft_up_weights(values, factor, width=0.7)
    ordered = weights[np.argsort(values, kind="stable")]
    assert (np.diff(ordered) <= 1e-6).all()
    assert (weights >= 1 - 1e-6).all()
    assert (weights <= factor + 1e-5).all()


@given(values_of.filter(lambda values: min(abs(v) for v in values) > 1e-3), st.floats(0, 8))
def test_a_small_width_is_the_hard_rule(values: list[float], factor: float) -> None:
    hard = np.where(np.array(values) < 0, factor, 1)
    assume(hard.max() > 1e-6)  # weights that sum to zero are refused
    np.testing.assert_allclose(soft_up_weights(values, factor, width=1e-6), hard, rtol=1e-5, atol=1e-6)


def test_half_way_at_the_boundary_and_the_default_width_is_of_the_values() -> None:
    assert soft_up_weights([0.0, 5.0], 3.0)[0] == 2.0
    values = np.array([-2.0, -1.0, 0.5, np.nan])
    np.testing.assert_allclose(soft_up_weights(values, 3.0), soft_up_weights(1000 * values, 3.0), rtol=1e-6)
    assert soft_up_weights(values, 3.0)[3] == 1
    assert soft_up_weights([0.0, 0.0], 3.0).tolist() == [2, 2]
    assert soft_up_weights([np.nan], 3.0).tolist() == [1]


@pytest.mark.parametrize("weigh", [up_weights, soft_up_weights])
def test_factors_that_cannot_be(weigh) -> None:
    with pytest.raises(InputError, match="factor is -1"):
        weigh([1.0], -1.0)
    for factor in (np.inf, np.nan, 1e300, None, "twice", [2, 3]):
        with pytest.raises(InputError, match="factor is"):
            weigh([1.0, -1.0], factor)


def test_weights_that_sum_to_zero_and_a_width_that_is_none() -> None:
    for factor in (0, 1e-60):  # 1e-60 is zero in float32
        with pytest.raises(InputError, match="sum to zero"):
            up_weights([-1.0, -2.0], factor)
        with pytest.raises(InputError, match="sum to zero"):
            soft_up_weights([-1.0, -2.0], factor, width=1e-3)
    assert soft_up_weights([-1.0, 2.0], factor=0, width=1e-3).tolist() == [0, 1]
    with pytest.raises(InputError, match="width is 0"):
        soft_up_weights([1.0], width=0.0)
