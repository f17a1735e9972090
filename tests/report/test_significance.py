"""What a permutation test and several failure modes add to the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fdgpu.findings import ClassFindings, Findings, ModeFindings, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.classes import class_view
from fdgpu.report.overview import how_tested, remarks
from fdgpu.report.pictures import LADDER
from fdgpu.report.wording import CHANCE, verdict

from .conftest import BuildClass, BuildFindings, BuildMode
from .parsing import Element, read


def section(page: Element, index: int) -> Element:
    (one,) = page.find("section", id=f"class-{index}")
    return one


def cells(row: Element) -> list[str]:
    return [c.text for c in row.children]


@pytest.fixture
def page(tested: Findings, pictures_of: Callable[[Findings], Thumbnails]) -> Element:
    return read(render_report(tested, pictures_of(tested)))


def test_significant_classes_come_first_by_q_and_the_others_are_marked(page: Element) -> None:
    (table,) = page.find("table", id="classes-table")
    headers = [h.text for h in table.find("thead")[0].find("th")]
    assert headers == [
        "Class", "What the errors share", "Wrong", "Right inside", "Right outside", "Consistency", "q", "Errors",
    ]  # fmt: skip
    sorts = {h.text: h.attributes["aria-sort"] for h in table.find("thead")[0].find("th")}
    assert {name: how for name, how in sorts.items() if how != "none"} == {"q": "ascending"}
    rows = table.find("tbody")[0].find("tr")
    assert [row.attributes["data-class"] for row in rows] == ["2", "1", "0"]  # chance has the highest score
    assert [row.attributes.get("class") for row in rows] == [None, None, "chance"]
    assert [cells(row)[1].endswith(CHANCE) for row in rows] == [False, False, True]
    assert cells(rows[0])[2:] == ["30.0%", "40%", "90%", "0.84", "0.010", "140"]
    assert cells(rows[2])[2:] == ["30.0%", "40%", "90%", "0.90", "0.345", "100"]
    assert [s.attributes["id"] for s in page.find("section", cls="class")] == ["class-2", "class-1", "class-0"]


def test_a_class_that_may_be_chance_says_so_and_by_how_many_permutations(page: Element) -> None:
    one = section(page, 0)
    assert f"status {CHANCE}" in one.find("dl", cls="facts")[0].text
    (note,) = one.find("p", cls="chance")
    assert note.text == (
        "Not distinguishable from chance at a false discovery rate of 5%: p 0.345 by 57 permutations; q 0.345. "
        "What it shows may be noise."
    )
    assert one.find("ol")  # its captions and pictures are there all the same
    sure = section(page, 1)
    assert not sure.find("p", cls="chance")
    assert CHANCE not in sure.text


def test_every_mode_has_its_own_captions_pictures_and_numbers(page: Element) -> None:
    one = section(page, 2)
    first, second = one.find("section", cls="mode")
    assert [m.find("h3")[0].text for m in (first, second)] == [
        "Group 1 of 2 – 83 of 140 errors",
        "Group 2 of 2 – 57 of 140 errors",
    ]
    for mode, name, score in ((first, "boot", "0.84"), (second, "worn boot", "0.71")):
        assert mode.find("h3")[0].attributes["id"] == mode.attributes["aria-labelledby"]
        assert f"consistency {score}" in mode.find("dl", cls="facts")[0].text
        hard, easy = mode.find("div", cls="side")
        assert hard.find("li")[0].text.startswith(f"a photo of a blue {name} ")
        assert easy.find("li")[0].text.startswith(f"a photo of a red {name} ")
        assert [s.find("h4")[0].text for s in mode.find("div", cls="strip")] == ["Hardest", "Easiest"]
        assert mode.find("span", cls="tile")[0].attributes["title"].endswith(f"{name}/hard/0.png")
        assert len(mode.find("figure", cls="chart")) == 2
        assert "Distinguishable from chance" in mode.find("p", cls="note")[0].text
    # What belongs to no mode in particular stands once, after both.
    assert [s.find("h3")[0].text for s in one.find("div", cls="plain")] == ["Hardest by confidence"]
    assert "nested CV score 0.79, unbiased" in first.text
    assert "nested" not in second.text
    assert "This class is too large for its Gram matrix" in first.text
    row = page.find("tbody")[0].find("tr")[0]
    assert [e.text for e in row.find("span", cls="of-mode")] == [
        "a photo of a blue boot", "a photo of a blue worn boot",
    ]  # fmt: skip
    ids = [e.attributes["id"] for e in page.walk() if "id" in e.attributes]
    assert len(ids) == len(set(ids))


def test_the_top_of_the_page_says_how_was_tested_and_shows_no_chance(page: Element) -> None:
    assert "In 2 of 3 classes its errors have something in common" in page.find("header", cls="masthead")[0].text
    failures = page.find("section", cls="failures")[0].find("p", cls="sentence")
    assert [sentence.text.split()[0] for sentence in failures] == ["boot", "boot", "sure"]  # a mode each
    (how,) = page.find("details", id="how")
    assert (
        "Tested by 57 to 200 permutations of right and wrong a class, as many as show whether it is significant"
        in how.text
    )
    assert "Of those with q up to 0.05, about 5% are expected to be chance" in how.text


def test_what_was_not_tested_says_so_and_is_not_called_clear(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    findings = build_findings(build_class("dog", cv_score=0.6), build_class())
    page = read(render_report(findings, Thumbnails()))
    assert ["status fitted, not tested" in one.text for one in page.find("section", cls="class")] == [True, True]
    assert "No class was tested" in page.find("ul", cls="remarks")[0].text
    assert "nobody tested whether" in page.find("p", cls="lede")[0].text
    assert page.find("section", cls="failures")[0].find("h2")[0].text == "What the errors may have in common"
    assert not page.find("p", cls="chance")
    assert not page.find("section", cls="mode")
    assert [s.attributes["id"] for s in page.find("section", cls="class")] == ["class-1", "class-0"]


def test_a_p_at_its_least_says_so(build_findings: BuildFindings) -> None:
    findings = build_findings(n_permutations=200)
    mode = ModeFindings(p_value=1 / 201, q_value=0.03, significant=True)
    assert verdict(mode, 200, findings) == (
        "Distinguishable from chance at a false discovery rate of 5%: p 0.005 by 200 permutations, the smallest p "
        "that these can show; q 0.030."
    )
    assert "smallest" not in verdict(replace(mode, p_value=2 / 201), 200, findings)
    assert verdict(ModeFindings(), 200, findings) == ""  # too few could be exchanged


def test_too_few_permutations_and_an_audit_of_chance_alone_are_remarked(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    one = build_class(p_value=0.5, q_value=0.5)

    def words(findings: Findings) -> str:
        return " ".join(remarks(findings, [class_view(0, findings, Thumbnails(), LADDER[0])]))

    assert "use at least 19" in words(build_findings(one, n_permutations=10))
    assert "cannot show" not in words(build_findings(one, n_permutations=19))
    assert "can be told from chance" in words(build_findings(one, n_permutations=19))
    assert "chance" not in words(build_findings(build_class(significant=True), n_permutations=19))
    assert "No class was tested" in words(build_findings(build_class()))
    many = build_findings(*[one] * 30, n_permutations=200)
    assert "one true failure among 30 classes could not be told" in words(many)
    assert "could not be told" not in words(replace(many, most_permutations=599))
    assert how_tested(build_findings(one)) == ""


def test_marks_of_the_solver_speak_of_any_mode(
    build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    second = build_mode(converged=False, C=1e-1, C_at_edge=True)
    findings = build_findings(build_class(modes=(build_mode(), second)))
    page = read(render_report(findings, Thumbnails()))
    said = page.find("ul", cls="remarks")[0].text
    assert "1 class stopped before the solver converged" in said
    assert "1 class chose a C on the edge" in said
    first, other = page.find("section", cls="mode")
    assert not first.find("p", cls="warning")
    assert len(other.find("p", cls="warning")) == 2


def test_the_ranking_puts_what_has_no_direction_last(
    build_class: BuildClass, build_findings: BuildFindings, no_direction: ClassFindings
) -> None:
    def one(score: float, q: float) -> ClassFindings:
        return build_class(cv_score=score, q_value=q, significant=q <= 0.05)

    classes = (no_direction, one(0.9, 0.3), one(0.7, 0.02), one(0.8, 0.02), one(0.6, 0.01), no_direction)
    assert build_findings(*classes, n_permutations=99).ranking() == [4, 3, 2, 1, 0, 5]
    untested = build_findings(*(build_class(cv_score=s) for s in (0.6, 0.9)), no_direction)
    assert untested.ranking() == [1, 0, 2]
