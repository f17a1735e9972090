"""Findings in words: captions with their figures or withheld, pictures, the solver's C."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fdgpu.findings import (
    CaptionEvidence,
    ClassFindings,
    DecidedBy,
    Findings,
    Interface,
    ScoredCaption,
    Status,
    Tally,
    Thumbnails,
)
from fdgpu.report import render_report
from fdgpu.report.classes import class_view
from fdgpu.report.pictures import LADDER
from fdgpu.report.wording import (
    STATUS_WORDS,
    WHY_WITHHELD,
    also,
    class_sentence,
    edge_remark,
    failure_sentence,
    picture_words,
    proof,
    summary,
    why_withheld,
)

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


def test_withheld_captions_say_why(
    build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    chance, against = (replace(LOOSE, decided_by=why) for why in (DecidedBy.CHANCE, DecidedBy.CONTRADICTED))
    mode = build_mode(
        hard_captions=(caption("a", FIRM), caption("b", LOOSE)),
        easy_captions=(caption("c", chance), caption("d", against), caption("e", None)),
    )
    findings = build_findings(build_class(modes=(mode,)))
    rows = class_view(0, findings, Thumbnails(), LADDER[0]).modes[0].withheld
    assert [(side, one.caption) for side, one in rows] == [("hard", "b"), ("easy", "c"), ("easy", "d")]
    reasons = [WHY_WITHHELD[why] for why in (DecidedBy.NEITHER, DecidedBy.CHANCE, DecidedBy.CONTRADICTED)]
    assert [why_withheld(one.evidence) for _, one in rows if one.evidence] == reasons


def test_a_reliable_caption_is_shown_with_its_figures_and_the_others_are_folded_away(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    hard = (caption("a <b>dark</b> photo", LOOSE), caption("a blue cat", FIRM, "a blue cat at night"))
    easy = (caption("a red cat", LOOSE, alignment=0.3),)
    one = build_class(hard_captions=hard, easy_captions=easy, significant=True)
    page = read(render_report(build_findings(one), Thumbnails()))
    hard_side, easy_side = page.find("div", cls="side")
    (shown,) = hard_side.find("li")
    assert shown.text == "a blue cat also … cat at night −0.40"
    assert easy_side.find("p")[0].text == "no reliable caption"
    believed, folded = page.find("div", cls="withheld")
    assert believed.find("li")[0].text.startswith("a blue cat rank 1 of 64, 1–2 over resamples")
    assert folded.inside("details")
    assert folded.find("p")[0].text == "2 captions withheld as not reliable:"
    assert [li.find("span", cls="words")[0].text for li in folded.find("li")] == ["a <b>dark</b> photo", "a red cat"]
    assert "neither its rank nor its accuracy gap holds" in folded.text
    assert page.find("p", cls="sentence")[0].find("q")[0].text == "a blue cat"
    assert page.find("tbody")[0].find("td", cls="caption")[0].text == "a blue cat"
    assert "the others are withheld" in page.find("details", id="how")[0].text


def test_a_class_without_a_reliable_caption_says_so(
    build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    mode = build_mode(hard_captions=(caption("a dark photo", LOOSE),), significant=True)
    assert mode.hardest_caption == "no reliable caption"
    assert mode.reliable_hard_captions == ()
    page = read(render_report(build_findings(build_class(modes=(mode,))), Thumbnails()))
    (cell,) = page.find("tbody")[0].find("td", cls="caption")
    assert cell.text == "no reliable caption"
    assert "none" in cell.attributes["class"]
    assert page.find("div", cls="side")[0].find("p")[0].text == "no reliable caption"
    assert "which no caption describes reliably" in page.find("article")[0].text


def test_where_nobody_judged_nothing_is_withheld(build_class: BuildClass, build_findings: BuildFindings) -> None:
    page = read(render_report(build_findings(build_class(), build_class("dog", hard_captions=())), Thumbnails()))
    assert not page.find("div", cls="withheld")
    assert not page.find("small", cls="proof")
    assert "withheld" not in page.find("details", id="how")[0].text
    assert [cell.text for cell in page.find("td", cls="caption")] == ["a photo of a blue cat", "–"]
    assert page.find("section", cls="class")[1].find("div", cls="side")[0].find("p")[0].text == "none"


def test_words_about_a_picture(build_class: BuildClass) -> None:
    example = build_class().hard_examples[0]
    assert picture_words(example) == "Wrong: predicted dog\ndecision value −2.00\nconfidence 75.0%\ncat/hard/0.png"
    words = picture_words(replace(example, true_probability=0.125))
    assert words == "Wrong: predicted dog\ndecision value −2.00\nconfidence 75.0%\ntrue class 12.5%\ncat/hard/0.png"
    assert "true class" not in picture_words(replace(example, correct=True, true_probability=0.75))


@pytest.fixture
def grid(build_findings: BuildFindings) -> Findings:
    return build_findings(C_grid=(1e-3, 1e-2, 1e-1))


def test_an_edge_remark_says_which_way_to_widen(grid: Findings) -> None:
    on_the_command_line = replace(grid, interface=Interface.COMMAND_LINE)  # which has no option for it
    assert edge_remark(1e-3, on_the_command_line).endswith("a better one may lie beyond it.")
    assert "10⁻³, is the smallest of the grid (10⁻³ to 10⁻¹)" in edge_remark(1e-3, grid)
    assert "with smaller values" in edge_remark(1e-3, grid)
    assert "is the largest" in edge_remark(1e-1, grid)
    assert "with larger values" in edge_remark(1e-1, grid)


def test_a_tie_at_the_lower_edge_is_no_reason_to_widen(grid: Findings) -> None:
    assert "would not change" in edge_remark(1e-3, grid, tied=True)
    assert "Widen" not in edge_remark(1e-3, grid, tied=True)


def test_every_status_has_words() -> None:
    assert set(STATUS_WORDS) == set(Status) - {Status.OK}  # of which the test's outcome is named


def words_of(one: ClassFindings, findings: Findings) -> str:
    return read(str(failure_sentence(one, one.strongest, findings))).text


def test_a_failure_in_a_sentence(build_class: BuildClass, build_findings: BuildFindings) -> None:
    """Every number is counted anew here: 120 of 150 errors lie among the 200 images of the hard side."""
    findings = build_findings()
    start = "cat is wrong on 30% of its 500 test images; 80% of these errors lie in a group of 200 images"
    assert words_of(build_class(), findings) == f"{start}, best described as a photo of a blue cat ."
    assert words_of(build_class(hard_captions=()), findings) == f"{start}."
    withheld = build_class(hard_captions=(caption("a blue cat", LOOSE),))
    assert words_of(withheld, findings) == f"{start}, which no caption describes reliably."
    nowhere = build_class(hard_side=Tally(), easy_side=Tally())
    assert words_of(nowhere, findings) == (
        "cat is wrong on 30% of its 500 test images; what the errors share is best described as a photo of a blue cat ."
    )
    by_lot = build_class(
        hard_captions=(), hard_side=Tally(29, 29), easy_side=Tally(21, 20)
    )  # one answer in 50 is right
    assert words_of(by_lot, findings).endswith("in a group of 29 images. On these images alone, that may be chance.")
    told = build_class(hard_captions=(), hard_side=Tally(25, 25), easy_side=Tally(25, 20))  # 5 right of 50: p .025
    assert words_of(told, findings).endswith("in a group of 25 images.")
    hostile = str(failure_sentence(build_class("<b>"), build_class().strongest, findings))
    assert '<b class="class-name"><bdi>&lt;b&gt;</bdi></b>' in hostile


def test_how_often_a_class_goes_wrong_without_images_to_show(
    build_findings: BuildFindings, no_direction: ClassFindings
) -> None:
    findings = build_findings()
    assert read(str(class_sentence(no_direction, findings))).text == "bag is wrong on 1% of its 400 val images"
    none = replace(no_direction, n=0, n_errors=0)
    assert read(str(class_sentence(none, findings))).text == "There is no image of bag to learn from"


def test_the_whole_audit_in_two_sentences(build_class: BuildClass, build_findings: BuildFindings) -> None:
    sure, chance = build_class(significant=True, p_value=0.01), build_class("dog", p_value=0.5, accuracy_shown=0.9)
    tested = build_findings(sure, chance, n_permutations=99)
    assert read(str(summary(tested))).text == (
        "The model is right on 80.0% of 1,000 test images. "
        "In 1 of 2 classes its errors have something in common that chance does not explain."
    )
    assert "In none of 1 class its" in read(str(summary(build_findings(chance, n_permutations=99)))).text
    assert "nobody tested" in str(summary(build_findings(sure)))
