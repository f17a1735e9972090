from __future__ import annotations

import math

import pytest

from fdgpu.report.wording import (
    chance,
    count,
    duration,
    fixed,
    percent,
    plural,
    power,
    precise,
    signed,
    significant,
    tick_labels,
)


@pytest.mark.parametrize("form", [fixed, signed, percent, chance, precise, power, duration, significant])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_a_dash(form, value: float) -> None:  # type: ignore[no-untyped-def]
    assert form(value) == "–"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (significant(-5e-5), "−5.0 × 10⁻⁵"),
        (significant(-0.3141), "−0.31"),
        (significant(12.34, 3), "12.3"),
        (significant(-0.00123, 2), "−0.0012"),
        (significant(2.5e7), "2.5 × 10⁷"),
        (significant(0.0), "0"),
        (fixed(-0.3), "−0.30"),
        (fixed(-0.001), "0.00"),
        (signed(0.3, 3), "+0.300"),
        (signed(-0.3, 3), "−0.300"),
        (signed(0.0001, 2), "0.00"),
        (percent(0.0801), "8.0%"),
        (percent(1.0, 0), "100%"),
        (count(1234567), "1,234,567"),
        (chance(0.0004), "<0.001"),
        (chance(0.0321), "0.032"),
        (precise(1 / 201), "0.005"),
        (precise(1 / 58), "0.017"),
        (precise(1 / 100_001), "0.00001"),
        (precise(0.5), "0.5"),
        (precise(5.0), "5"),
        (precise(100.0), "100"),
        (precise(0.0), "0"),
        (power(1e-6), "10⁻⁶"),
        (power(1.0), "1"),
        (power(100.0), "10²"),
        (power(0.25), "0.25"),
        (power(0.0), "0"),
        (duration(0.418), "0.42 s"),
        (duration(9.997), "10.0 s"),
        (duration(59.97), "1 min 00 s"),
        (duration(185), "3 min 05 s"),
        (duration(3725), "1 h 02 min"),
        (plural(1, "class", "classes"), "1 class"),
        (plural(1200, "image"), "1,200 images"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert shown == expected


@pytest.mark.parametrize(
    ("ticks", "labels", "times"),
    [
        ([-1.0, -0.5, 0.0, 0.5], ["−1.0", "−0.5", "0.0", "0.5"], ""),
        ([-5e-5, 0.0, 5e-5], ["−5", "0", "5"], " × 10⁻⁵"),
        ([-2e-4, -1e-4, 0.0, 1e-4], ["−2", "−1", "0", "1"], " × 10⁻⁴"),
        ([0.0, 2e6, 4e6], ["0", "2", "4"], " × 10⁶"),
        ([0.0, 20.0, 40.0], ["0", "20", "40"], ""),
        ([3.0], ["3"], ""),
        ([0.0], ["0"], ""),
        ([], [], ""),
    ],
)
def test_no_tick_of_an_axis_is_written_with_an_e(ticks: list[float], labels: list[str], times: str) -> None:
    assert tick_labels(ticks) == (labels, times)
