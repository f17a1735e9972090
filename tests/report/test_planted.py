"""What was planted, set against what was found."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fdgpu.findings import PlantedTruth, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.classes import class_view
from fdgpu.report.overview import dots, planted_rows, rank_verdict
from fdgpu.report.pictures import LADDER

from .conftest import BuildClass, BuildFindings, BuildMode
from .parsing import read


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
    table = planted_rows([class_view(i, findings, Thumbnails(), LADDER[0]) for i in range(3)])
    assert table is not None
    rows, mean, summary = table
    assert [view.index for view, *_ in rows] == [0, 2]
    assert mean == pytest.approx((0.7, 0.6, 0.5))
    assert dots(rows[1][-1])[1] is None
    assert dots(rows[0][-1]) == [191.6, 130.4, 110.0]
    assert "Of 2 planted failures, 1 " in summary
    assert "and 2 within the first three" in summary
    assert planted_rows([class_view(1, findings, Thumbnails(), LADDER[0])]) is None


def test_what_was_planted_is_judged_by_the_mode_that_names_it(
    build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings, planted: PlantedTruth
) -> None:
    missed = replace(planted, named_at=None, share_by_decision=0.95)
    modes = (build_mode(planted=missed), build_mode(planted=replace(planted, named_at=2, share_by_decision=0.6)))
    findings = build_findings(build_class(modes=modes))
    table = planted_rows([class_view(0, findings, Thumbnails(), LADDER[0])])
    assert table is not None
    ((_, _, (words, _, _), (by_decision, _, _)),) = table[0]
    assert (words, by_decision) == ("in the top three, rank 2, by mode 2", 0.6)


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_what_was_planted_and_withheld_is_not_found(
    rank: int, planted: PlantedTruth, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    assert rank_verdict(rank, withheld=True) == (f"named at rank {rank}, but withheld", "✗", "missed")
    one = build_class(planted=replace(planted, named_at=rank, named_but_withheld=True))
    page = read(render_report(build_findings(one), Thumbnails()))
    assert "Of 1 planted failures, 0 were named" in page.find("section", cls="planted")[0].text
