from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.report.scales import LinearScale, round_step

number = st.floats(-1e6, 1e6)


@given(low=number, width=st.floats(1e-3, 1e6), start=number, end=number, share=st.floats(0, 1))
def test_a_share_of_the_domain_becomes_the_same_share_of_the_span(
    low: float, width: float, start: float, end: float, share: float
) -> None:
    scale = LinearScale((low, low + width), (start, end))
    assert scale(low) == pytest.approx(start, abs=1e-6)
    assert scale(low + width) == pytest.approx(end, abs=1e-6)
    # What low + share * width loses by rounding, the span can enlarge.
    slack = 1e-9 * (1 + abs(low) / width) * (1 + abs(end - start))
    assert scale(low + share * width) == pytest.approx(start + share * (end - start), abs=slack + 1e-6)


def test_a_vertical_axis_runs_upwards() -> None:
    scale = LinearScale((0, 1), (200, 10))
    assert [scale(0), scale(0.25), scale(1)] == [200, 152.5, 10]


def test_a_domain_of_one_point_lies_in_the_middle() -> None:
    assert LinearScale((5, 5), (0, 10))(5) == 5
    assert LinearScale((5, 5), (0, 10)).ticks() == [5]


@given(start=st.floats(-100, 100), width=st.floats(1e-3, 1e6), about=st.integers(2, 12))
def test_ticks_are_evenly_spaced_and_within_the_domain(start: float, width: float, about: int) -> None:
    low = start * width
    high = low + width
    ticks = LinearScale((low, high), (0, 1)).ticks(about)
    slack = width * 1e-6
    assert len(ticks) <= about + 1
    assert all(low - slack <= t <= high + slack for t in ticks)
    step = round_step(width / (about - 1))
    assert all(b - a == pytest.approx(step, rel=1e-3) for a, b in pairwise(ticks))
    # Whatever would still fit at either end is there: no gap is longer than a step.
    gaps = [ticks[0] - low, high - ticks[-1]] if ticks else [width]
    assert max(gaps) <= step * (1 + 1e-6)


@pytest.mark.parametrize(
    ("domain", "expected"),
    [((0, 1), [0, 0.5, 1]), ((-3, 3), [-2, 0, 2]), ((5, 251), [100, 200]), ((-0.1, 0.2), [-0.1, 0, 0.1, 0.2])],
)
def test_ticks_are_round_numbers(domain: tuple[float, float], expected: list[float]) -> None:
    assert LinearScale(domain, (0, 1)).ticks(4) == expected


@given(rough=st.floats(1e-9, 1e9))
def test_a_step_is_one_two_or_five_times_a_power_of_ten(rough: float) -> None:
    step = round_step(rough)
    leading = step / 10 ** math.floor(math.log10(step * (1 + 1e-9)))
    assert round(leading, 6) in (1, 2, 5)
    assert rough * (1 - 1e-6) <= step <= 2.5 * rough * (1 + 1e-6)
