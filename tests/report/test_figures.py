from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.findings import Curve, Histogram
from fdgpu.report.figures import BOTTOM, LEFT, RIGHT, TOP, LineChart, histogram_chart, line_chart


def chart_of(*curves: Curve, reference: float = math.nan) -> LineChart | None:
    return line_chart("t", curves, ["hard"] * len(curves), x_label="x", y_label="y", reference=reference)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


@given(data=st.dictionaries(st.integers(1, 5000), st.floats(0, 1), min_size=2, max_size=30))
def test_points_of_a_line_lie_where_their_numbers_say(data: dict[int, float]) -> None:
    ks = tuple(sorted(data))
    chart = chart_of(Curve("c", ks, tuple(data[k] for k in ks)))
    assert chart is not None
    drawn = points(chart.lines[0].path)
    assert len(drawn) == len(ks)
    inner_left, inner_right = LEFT + 6, RIGHT - 6
    for k, (x, y) in zip(ks, drawn, strict=True):
        assert (x - inner_left) / (inner_right - inner_left) == pytest.approx((k - ks[0]) / (ks[-1] - ks[0]), abs=1e-3)
        assert (BOTTOM - y) / (BOTTOM - TOP) == pytest.approx(data[k], abs=1e-3)
    marks = points(chart.lines[0].marks)
    assert set(marks) <= set(drawn)
    assert marks[0] == drawn[0]
    assert marks[-1] == drawn[-1]


def test_curves_share_their_scale_and_the_reference_lies_at_its_height() -> None:
    chart = chart_of(Curve("a", (10, 30), (0, 1)), Curve("b", (20,), (0.5,)), reference=0.25)
    assert chart is not None
    (_, low), (_, high) = points(chart.lines[0].path)
    ((x, y),) = points(chart.lines[1].path)
    assert (low, high, y) == (BOTTOM, TOP, (BOTTOM + TOP) / 2)
    assert x == (LEFT + RIGHT) / 2
    assert chart.reference is not None
    assert chart.reference.at == BOTTOM - 0.25 * (BOTTOM - TOP)
    assert [t.at for t in chart.y_ticks] == [BOTTOM - share * (BOTTOM - TOP) for share in (0, 0.25, 0.5, 0.75, 1)]


def test_missing_values_are_left_out() -> None:
    chart = chart_of(Curve("a", (1, 2, 3), (0.1, math.nan, 0.3)), Curve("b", (1,), (math.nan,)))
    assert chart is not None
    assert len(chart.lines) == 1
    assert len(points(chart.lines[0].path)) == 2
    assert chart_of(Curve("a", (1,), (math.nan,))) is None
    assert chart_of() is None


def test_a_summary_says_the_ends_of_each_line() -> None:
    chart = chart_of(Curve("near", (5, 50), (0.2, 0.8)))
    assert chart is not None
    assert chart.summary == "t. near: 20.0% at K = 5, 80.0% at K = 50."


def test_a_histogram_mirrors_shares_of_each_group() -> None:
    chart = histogram_chart(Histogram((-1.0, 0.0, 1.0), (10, 30), (4, 1)))
    assert chart is not None
    middle, half = (LEFT + RIGHT) / 2, (BOTTOM - TOP) / 2
    axis = (TOP + BOTTOM) / 2
    assert chart.axis == axis
    assert chart.zero == middle
    # The tallest bar, 80% of the wrong, touches the bottom; the others are in proportion.
    heights = [float(v) for v in re.findall(r"V([\d.]+)", chart.wrong)]
    assert heights == pytest.approx([BOTTOM, axis + half * 0.2 / 0.8, axis], abs=0.06)
    heights = [float(v) for v in re.findall(r"V([\d.]+)", chart.right)]
    assert heights == pytest.approx([axis - half * 0.25 / 0.8, axis - half * 0.75 / 0.8, axis], abs=0.06)
    assert [float(h) for h in re.findall(r"H([\d.]+)", chart.right)] == [middle, RIGHT]
    assert (chart.n_right, chart.n_wrong) == (40, 5)
    assert "5 wrong samples, most between −1.00 and 0.00" in chart.summary


def test_a_histogram_without_zero_in_its_range_has_no_zero_line() -> None:
    chart = histogram_chart(Histogram((1.0, 2.0), (3,), (0,)))
    assert chart is not None
    assert chart.zero is None


@pytest.mark.parametrize(
    "histogram",
    [Histogram((), (), ()), Histogram((0.0, 1.0), (0,), (0,)), Histogram((math.nan, 1.0), (1,), (1,))],
)
def test_an_empty_histogram_is_no_chart(histogram: Histogram) -> None:
    assert histogram_chart(histogram) is None
