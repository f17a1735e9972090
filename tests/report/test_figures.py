from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.findings import Curve, CurveRole, Histogram, Thumbnails, WordEffect
from fdgpu.report import render_report
from fdgpu.report.figures import (
    BOTTOM,
    LEFT,
    MARGIN,
    RIGHT,
    ROLES,
    TOP,
    LinearScale,
    LineChart,
    histogram_chart,
    line_chart,
    round_step,
    word_chart,
)

from .conftest import BuildClass, BuildFindings, BuildMode
from .parsing import read


def chart_of(*curves: Curve, reference: float = math.nan) -> LineChart | None:
    return line_chart("t", curves, x_label="x", y_label="y", reference=reference)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]


@given(data=st.dictionaries(st.integers(1, 5000), st.floats(0, 1), min_size=2, max_size=30))
def test_points_of_a_line_lie_where_their_numbers_say(data: dict[int, float]) -> None:
    ks = tuple(sorted(data))
    chart = chart_of(Curve("c", CurveRole.HARD_CAPTION, ks, tuple(data[k] for k in ks)))
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
    chart = chart_of(
        Curve("a", CurveRole.HARD_CAPTION, (10, 30), (0, 1)),
        Curve("b", CurveRole.HARD_CAPTION, (20,), (0.5,)),
        reference=0.25,
    )
    assert chart is not None
    (_, low), (_, high) = points(chart.lines[0].path)
    ((x, y),) = points(chart.lines[1].path)
    assert (low, high, y) == (BOTTOM, TOP, (BOTTOM + TOP) / 2)
    assert x == (LEFT + RIGHT) / 2
    assert chart.reference is not None
    assert chart.reference[0] == BOTTOM - 0.25 * (BOTTOM - TOP)
    assert [at for at, _ in chart.y_ticks] == [BOTTOM - share * (BOTTOM - TOP) for share in (0, 0.25, 0.5, 0.75, 1)]


def test_missing_values_are_left_out() -> None:
    chart = chart_of(
        Curve("a", CurveRole.HARD_CAPTION, (1, 2, 3), (0.1, math.nan, 0.3)),
        Curve("b", CurveRole.HARD_CAPTION, (1,), (math.nan,)),
    )
    assert chart is not None
    assert len(chart.lines) == 1
    assert len(points(chart.lines[0].path)) == 2
    assert chart_of(Curve("a", CurveRole.HARD_CAPTION, (1,), (math.nan,))) is None
    assert chart_of() is None


def test_a_summary_names_the_first_and_last_point_of_each_line() -> None:
    chart = chart_of(Curve("near", CurveRole.HARD_CAPTION, (5, 50), (0.2, 0.8)))
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
    assert "5 wrong samples, most between −1.0 and 0" in chart.summary


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


def test_a_curve_has_the_colour_of_its_role_whatever_its_name() -> None:
    drawn = list(CurveRole)
    chart = chart_of(*(Curve("easy, hard, confidence and chance", role, (1, 2), (0.1, 0.9)) for role in drawn))
    assert chart is not None
    assert [line.role for line in chart.lines] == ["hard", "easy", "hard", "plain", "chance"]
    assert set(ROLES) == set(CurveRole)
    assert [not line.marks for line in chart.lines] == [role == CurveRole.CHANCE for role in drawn]


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
    # What would still fit at either end is there: no gap is longer than a step.
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


def test_all_slots_share_a_scale_around_zero() -> None:
    chart = word_chart(
        (
            WordEffect("background_colour", "easy", 0.2, 0.1, 9),
            WordEffect("background_colour", "hard", -0.3, 0.1, 9),
            WordEffect("noun", "cat", 0.1, 0.2, 9, "left out"),
        )
    )
    assert chart is not None
    slots, ticks = chart
    assert list(slots) == [("background colour", "against the slot’s average"), ("noun", "against leaving it out")]
    background, noun = slots.values()
    assert [dot.word for dot in background] == ["hard", "easy"]
    half = 50 - MARGIN
    hard, easy, unsure = *background, *noun
    assert (hard.role, easy.role, unsure.role) == ("hard", "easy", "unsure")
    assert hard.at == pytest.approx(50 - half * 0.3 / 0.4, abs=0.06)
    assert (hard.start, hard.length) == (MARGIN, pytest.approx(half * 0.2 / 0.4, abs=0.06))
    assert easy.at == pytest.approx(50 + half * 0.2 / 0.4, abs=0.06)
    assert (unsure.value, hard.value) == ("+0.10 ± 0.20", "−0.30 ± 0.10")
    assert {label: at for at, label in ticks}["0"] == 50


def test_nothing_to_draw_is_no_chart() -> None:
    assert word_chart(()) is None
    assert word_chart((WordEffect("noun", "cat", math.nan, math.nan, 1),)) is None
    assert word_chart((WordEffect("noun", "cat", 0.0, 0.0, 5),)) is None
    drawn = word_chart((WordEffect("noun", "cat", 1e-4, 0.0, 5), WordEffect("noun", "x", 1.0, math.nan, 1)))
    assert drawn is not None
    slots, ticks = drawn
    assert [dot.word for dots in slots.values() for dot in dots] == ["cat"]
    assert len({label for _, label in ticks}) == len(ticks)


def test_a_scale_with_no_round_number_but_zero_has_one_tick() -> None:
    drawn = word_chart((WordEffect("noun", "cat", 0.31, 0.1, 9),))
    assert drawn is not None
    assert drawn[1] == ((50.0, "0"),)


def test_the_page_has_the_words_as_text(build_class: BuildClass, build_findings: BuildFindings) -> None:
    page = read(render_report(build_findings(build_class()), Thumbnails()))
    (figure,) = page.find("figure", cls="effects")
    assert [row.text for row in figure.find("li")] == [
        "blue −0.31 ± 0.04",
        "green −0.02 ± 0.03",
        "red +0.22 ± 0.05",
        "cat −0.01 ± 0.00",
    ]
    assert [row.classes for row in figure.find("li")] == [["hard"], ["unsure"], ["easy"], ["hard"]]
    assert all(svg.attributes["aria-hidden"] == "true" for svg in figure.find("svg"))
    assert figure.find("h3")[0].text == "Which words"
    assert "Words on their own explain 87% of how" in figure.text


def test_every_mode_has_its_own_words_and_none_where_there_are_none(
    build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    modes = (build_mode(explained_by_words=math.nan), build_mode(word_effects=()))
    page = read(render_report(build_findings(build_class(modes=modes)), Thumbnails()))
    (figure,) = page.find("figure", cls="effects")
    assert figure.find("h4")[0].text == "Which words"
    assert "explain" not in figure.text
