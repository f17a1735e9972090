"""Captions that are shown with their figures, and those that are withheld."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fdgpu.findings import CaptionEvidence, PlantedTruth, ScoredCaption, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.evidence import WHY_WITHHELD, also, proof, withheld
from fdgpu.report.masthead import rank_verdict

from .conftest import BuildClass, BuildFindings, BuildMode
from .parsing import read

FIRM = CaptionEvidence(
    reliable=True, decided_by="rank and gap", rank=1, candidates=64, rank_median=1.0, rank_low=1.0, rank_high=2.0,
    top=3, top_share=0.98, noise_p=0.02, nearest=50, nearest_accuracy=0.22, gap=-0.48, gap_low=-0.6, gap_high=-0.33,
)  # fmt: skip
LOOSE = replace(
    FIRM, reliable=False, decided_by="neither", rank=4, rank_low=2.0, rank_high=31.0, top_share=0.2, gap=-0.02,
    gap_low=-0.2, gap_high=0.1,
)  # fmt: skip


def caption(text: str, evidence: CaptionEvidence | None, *others: str, alignment: float = -0.4) -> ScoredCaption:
    return ScoredCaption(text, 2 * alignment, alignment, others, evidence)


def test_the_figures_that_decided() -> None:
    assert proof(FIRM) == (
        "rank 1 of 64, 1–2 over resamples (top 3 in 98%); nearest 50 are 22% right, −48 points (−60 to −33)"
    )
    nan = math.nan
    assert proof(replace(FIRM, top_share=nan, rank_low=nan, rank_high=nan)).startswith("rank 1 of 64; nearest 50 are")
    assert proof(replace(FIRM, gap=nan)) == "rank 1 of 64, 1–2 over resamples (top 3 in 98%)"
    assert proof(None) == ""


def test_what_else_says_the_same_is_named_without_what_all_of_them_share() -> None:
    head = "a photo of a blue cat"
    assert also(caption(head, FIRM)) == ""
    assert also(caption(head, FIRM, "a photo of a blue cat on grass")) == "also … cat on grass"
    assert also(caption(head, FIRM, "a photo of a blue dog", "a photo of a dark cat")) == "also … blue dog, … dark cat"
    assert also(caption(head, FIRM, "a photo of a blue", "dark cats", "x", "y")) == (
        "also a photo of a blue, dark cats, and 2 more"
    )


def test_withheld_captions_say_why() -> None:
    chance, against = (replace(LOOSE, decided_by=why) for why in ("chance", "contradicted"))
    rows = withheld(
        [caption("a", FIRM), caption("b", LOOSE)], [caption("c", chance), caption("d", against), caption("e", None)]
    )
    assert [(row.side, row.caption) for row in rows] == [("hard", "b"), ("easy", "c"), ("easy", "d")]
    assert [row.why for row in rows] == [WHY_WITHHELD[why] for why in ("neither", "chance", "contradicted")]


def test_a_reliable_caption_is_shown_with_its_figures_and_the_others_are_folded_away(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    hard = (caption("a <b>dark</b> photo", LOOSE), caption("a blue cat", FIRM, "a blue cat at night"))
    one = build_class(hard_captions=hard, easy_captions=(caption("a red cat", LOOSE, alignment=0.3),))
    page = read(render_report(build_findings(one), Thumbnails()))
    hard_side, easy_side = page.find("div", cls="side")
    (shown,) = hard_side.find("li")
    assert shown.text.startswith("a blue cat also … cat at night rank 1 of 64, 1–2 over resamples")
    assert easy_side.find("p")[0].text == "no reliable caption"
    (folded,) = page.find("details", cls="withheld")
    assert folded.find("summary")[0].text == "2 captions withheld as not reliable"
    assert [li.find("span", cls="words")[0].text for li in folded.find("li")] == ["a <b>dark</b> photo", "a red cat"]
    assert "neither its rank nor its accuracy gap holds" in folded.text
    assert page.find("p", cls="quote")[0].text == "a blue cat"
    assert page.find("tbody")[0].find("td", cls="caption")[0].text == "a blue cat"
    assert "the others are withheld" in page.find("section", cls="overview")[0].text


def test_a_class_without_a_reliable_caption_says_so(
    build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    mode = build_mode(hard_captions=(caption("a dark photo", LOOSE),))
    assert mode.hardest_caption == "no reliable caption"
    assert mode.reliable_hard_captions == ()
    page = read(render_report(build_findings(build_class(modes=(mode,))), Thumbnails()))
    (cell,) = page.find("tbody")[0].find("td", cls="caption")
    assert cell.text == "no reliable caption"
    assert "none" in cell.attributes["class"]
    assert page.find("div", cls="side")[0].find("p")[0].text == "no reliable caption"
    assert not page.find("p", cls="quote")
    assert "no reliable caption" in page.find("article")[0].text


def test_where_nobody_judged_nothing_is_withheld(build_class: BuildClass, build_findings: BuildFindings) -> None:
    page = read(render_report(build_findings(build_class(), build_class("dog", hard_captions=())), Thumbnails()))
    assert not page.find("details", cls="withheld")
    assert not page.find("small")
    assert "withheld" not in page.find("section", cls="overview")[0].text
    assert [cell.text for cell in page.find("td", cls="caption")] == ["a photo of a blue cat", "–"]
    assert page.find("section", cls="class")[1].find("div", cls="side")[0].find("p")[0].text == "none"


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_what_was_planted_and_withheld_is_not_found(
    rank: int, planted: PlantedTruth, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    assert rank_verdict(rank, withheld=True) == (f"named at rank {rank}, but withheld", "✗", "missed")
    one = build_class(planted=replace(planted, named_at=rank, named_but_withheld=True))
    page = read(render_report(build_findings(one), Thumbnails()))
    assert "Of 1 planted failures, 0 were named" in page.find("section", cls="planted")[0].text
