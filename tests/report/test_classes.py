from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from fdgpu.findings import Curve, CurveRole, PlantedTruth, ScoredCaption, Thumbnails
from fdgpu.report.classes import class_view, edge_remark
from fdgpu.report.evidence import caption_bars
from fdgpu.report.figures import ROLES, line_chart
from fdgpu.report.masthead import planted_view, rank_verdict
from fdgpu.report.pictures import LADDER, picture_words

from .conftest import BuildClass, BuildFindings


def test_caption_bars_share_one_scale() -> None:
    hard = [
        ScoredCaption("a", 2 * -0.4, -0.4),
        ScoredCaption("b", 2 * -0.1, -0.1),
        ScoredCaption("c", 2 * 0.05, 0.05),
        ScoredCaption("d", math.nan, math.nan),
    ]
    easy = [ScoredCaption("e", 2 * 0.2, 0.2)]
    hard_bars, easy_bars = caption_bars(hard, easy)
    assert [bar.length for bar in hard_bars] == [100, 25, 0, 0]
    assert [bar.length for bar in easy_bars] == [50]
    assert caption_bars([ScoredCaption("a", 2 * 0.0, 0.0)], [])[0][0].length == 0


def test_a_picture_without_thumbnail_has_no_offset(
    build_class: BuildClass, build_findings: BuildFindings, pictures_of: Callable[..., Thumbnails]
) -> None:
    findings = build_findings(build_class())
    thumbnails = pictures_of(findings)
    del thumbnails.pixels["cat/hard/1.png"]
    strip = class_view(0, findings, thumbnails, LADDER[0]).modes[0].strips[0]
    # The rest moves up: the sprite holds three tiles.
    assert [p.offset for p in strip.pictures] == ["", None, "--x:1", "--x:2"]
    assert strip.sprite is not None
    assert strip.sprite.columns == 3
    assert strip.wrong == "4 of 4 wrong"


def test_words_about_a_picture(build_class: BuildClass) -> None:
    example = build_class().hard_examples[0]
    assert picture_words(example) == "Wrong: predicted dog\ndecision −2.000\nconfidence 75.0%\ncat/hard/0.png"


@pytest.mark.parametrize(
    ("role", "colour"),
    [
        (CurveRole.HARD_CAPTION, "hard"),
        (CurveRole.EASY_CAPTION, "easy"),
        (CurveRole.DECISION_VALUE, "hard"),
        (CurveRole.CONFIDENCE, "plain"),
        (CurveRole.CHANCE, "chance"),
    ],
)
def test_a_curve_has_the_colour_of_its_role_whatever_its_name(role: CurveRole, colour: str) -> None:
    chart = line_chart("t", [Curve("nearest to the easy caption", role, (1, 2), (0.5, 0.6))], x_label="x", y_label="y")
    assert chart is not None
    assert [line.role for line in chart.lines] == [colour]
    assert set(ROLES) == set(CurveRole)


def test_an_edge_remark_says_which_way_to_widen() -> None:
    grid = (1e-3, 1e-2, 1e-1)
    assert "10⁻³, is the smallest of the grid (10⁻³ to 10⁻¹)" in edge_remark(1e-3, grid)
    assert "with smaller values" in edge_remark(1e-3, grid)
    assert "is the largest" in edge_remark(1e-1, grid)
    assert "with larger values" in edge_remark(1e-1, grid)


def test_a_tie_at_the_lower_edge_is_no_reason_to_widen() -> None:
    grid = (1e-3, 1e-2, 1e-1)
    assert "would not change" in edge_remark(1e-3, grid, tied=True)
    assert "Widen" not in edge_remark(1e-3, grid, tied=True)


@pytest.mark.parametrize(
    ("rank", "verdict", "role"),
    [
        (1, "named at rank 1", "first"),
        (3, "in the top three, rank 3", "near"),
        (4, "not in the top three, rank 4", "missed"),
        (None, "not named", "missed"),
    ],
)
def test_verdicts(rank: int | None, verdict: str, role: str) -> None:
    words, _, found = rank_verdict(rank)
    assert (words, found) == (verdict, role)


def test_the_mean_of_what_was_planted_leaves_out_what_is_missing(
    build_class: BuildClass, build_findings: BuildFindings, planted: PlantedTruth
) -> None:
    second = replace(planted, share_by_decision=0.5, share_by_confidence=math.nan, named_at=3)
    findings = build_findings(build_class(planted=planted), build_class(), build_class("dog", planted=second))
    table = planted_view([class_view(i, findings, Thumbnails(), LADDER[0]) for i in range(3)])
    assert table is not None
    rows, mean, summary = table
    assert [row.index for row in rows] == [0, 2]
    assert mean.decision == pytest.approx(0.7)
    assert mean.confidence == pytest.approx(0.6)
    assert rows[1].shares.dots["confidence"] is None
    assert rows[0].shares.dots == {"decision": 191.6, "confidence": 130.4, "chance": 110.0}
    assert "Of 2 planted failures, 1 " in summary
    assert "and 2 within the first three" in summary
    assert planted_view([class_view(1, findings, Thumbnails(), LADDER[0])]) is None
