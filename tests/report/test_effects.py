"""The chart of word effects."""

from __future__ import annotations

import math

import pytest

from fdgpu.findings import ModeFindings, Thumbnails, WordEffect
from fdgpu.report import render_report
from fdgpu.report.effects import MARGIN, effect_chart

from .conftest import BuildClass, BuildFindings, BuildMode
from .parsing import read


def mode_of(*effects: WordEffect, explained: float = math.nan) -> ModeFindings:
    return ModeFindings(word_effects=effects, explained_by_words=explained)


def test_all_slots_share_a_scale_around_zero() -> None:
    chart = effect_chart(
        mode_of(
            WordEffect("place_name", "easy", 0.2, 0.1, 9),
            WordEffect("place_name", "hard", -0.3, 0.1, 9),
            WordEffect("noun", "cat", 0.1, 0.2, 9, "left out"),
            explained=0.873,
        )
    )
    assert chart is not None
    place, noun = chart.slots
    assert [dot.word for dot in place.dots] == ["hard", "easy"]
    assert (place.slot, place.against, noun.against) == (
        "place name",
        "against the slot’s average",
        "against leaving it out",
    )
    half = 50 - MARGIN
    hard, easy, unsure = *place.dots, *noun.dots
    assert (hard.role, easy.role, unsure.role) == ("hard", "easy", "unsure")
    assert hard.at == pytest.approx(50 - half * 0.3 / 0.4, abs=0.06)
    assert (hard.start, hard.length) == (MARGIN, pytest.approx(half * 0.2 / 0.4, abs=0.06))
    assert easy.at == pytest.approx(50 + half * 0.2 / 0.4, abs=0.06)
    assert (unsure.value, hard.value) == ("+0.10 ± 0.20", "−0.30 ± 0.10")
    assert {tick.label: tick.at for tick in chart.ticks}["0"] == 50
    assert "explain 87% of" in chart.explained


def test_nothing_to_draw_is_no_chart() -> None:
    assert effect_chart(mode_of()) is None
    assert effect_chart(mode_of(WordEffect("noun", "cat", math.nan, math.nan, 1))) is None
    assert effect_chart(mode_of(WordEffect("noun", "cat", 0.0, 0.0, 5))) is None
    drawn = effect_chart(mode_of(WordEffect("noun", "cat", 1e-4, 0.0, 5), WordEffect("noun", "x", 1.0, math.nan, 1)))
    assert drawn is not None
    assert [dot.word for dot in drawn.slots[0].dots] == ["cat"]
    assert (drawn.explained, len({tick.label for tick in drawn.ticks})) == ("", len(drawn.ticks))


def test_the_page_says_the_words_as_text(build_class: BuildClass, build_findings: BuildFindings) -> None:
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
    modes = (build_mode(), build_mode(word_effects=()))
    page = read(render_report(build_findings(build_class(modes=modes)), Thumbnails()))
    (figure,) = page.find("figure", cls="effects")
    assert figure.find("h4")[0].text == "Which words"
