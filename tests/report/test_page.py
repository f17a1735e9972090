from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fdgpu.errors import InputError
from fdgpu.findings import ClassFindings, Findings, Interface, PlantedTruth, Skipped, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.page import FILTER_ABOVE, IN_FULL, LAZY_ABOVE, PICTURE_BUDGET, shorten

from .conftest import BuildClass, BuildFindings, BuildMode
from .parsing import Element, read

Pictures = Callable[[Findings], Thumbnails]


@pytest.fixture
def rich(
    build_class: BuildClass, build_findings: BuildFindings, no_direction: ClassFindings, planted: PlantedTruth
) -> Findings:
    """Planted, plain and without a direction; the strongest comes last."""
    return build_findings(
        build_class("shirt", planted=planted, cv_score=0.7, C=1e-3, C_at_edge=True),
        no_direction,
        build_class(
            "coat", planted=replace(planted, named_at=None, share_by_decision=0.4), cv_score=0.9, converged=False
        ),
    )


def cells(row: Element) -> list[str]:
    return [c.text for c in row.children if c.tag in ("td", "th")]


def overview(page: Element) -> Element:
    (table,) = page.find("table", id="classes-table")
    return table


def test_the_page_says_what_was_audited(rich: Findings, pictures_of: Pictures) -> None:
    page = read(render_report(rich, pictures_of(rich)))
    assert page.find("title")[0].text == page.find("h1")[0].text == "An audit"
    assert page.find("p", cls="lede")[0].text == (
        "The model is right on 70.0% of 1,000 test images. In 2 of 3 classes its errors may have something in common; "
        "nobody tested whether it is more than chance."
    )
    know = page.find("section", cls="know")[0].text
    for words in (
        "captions were searched on the CPU",
        "1 image could not be read and was skipped",
        "broken.png truncated file",
        "1 class chose a C on the edge",
        "1 class stopped before",
    ):
        assert words in know
    (how,) = page.find("details", id="how")
    for words in (
        "train 12,000 · test 500 ; fitted on val, whitened by train, pictures and figures from test",
        "ViT-B-32 , with quick gelu: the model’s name says so",
        "numba : no CUDA device was found",
        "fdgpu 9.8.7, seed 42, on 2 cores",
        "arXiv:2206.14754",
    ):
        assert words in how.text
    assert [cells(row) for row in page.find("table", cls="timings")[0].find("tr")[1:]] == [
        ["embed", "", "1 min 01 s"],
        ["fit", "", "1.50 s"],
        ["in all", "", "1 min 02 s"],
    ]


def test_the_overview_starts_with_the_strongest_and_ends_with_what_has_no_score(
    rich: Findings, pictures_of: Pictures
) -> None:
    page = read(render_report(rich, pictures_of(rich)))
    table = overview(page)
    headers = table.find("thead")[0].find("th")
    assert [h.text for h in headers] == [
        "Class", "What the errors share", "Wrong", "Right inside", "Right outside", "Consistency", "Errors",
    ]  # fmt: skip
    assert [h.attributes["aria-sort"] for h in headers] == ["none"] * 5 + ["descending", "none"]
    assert all(len(h.find("button", type="button")) == 1 for h in headers)
    assert {h.text for h in headers if h.attributes["data-kind"] == "text"} == {"Class", "What the errors share"}
    rows = table.find("tbody")[0].find("tr")
    assert [row.attributes["data-class"] for row in rows] == ["2", "0", "1"]
    assert [row.find("a")[0].attributes["href"] for row in rows] == ["#class-2", "#class-0", "#class-1"]
    assert cells(rows[1]) == ["shirt", "a photo of a blue shirt", "30.0%", "40%", "90%", "0.70", "100"]
    assert cells(rows[2]) == ["bag", "too few errors", "–", "–", "–", "–", "3"]
    sections = page.find("section", cls="class")
    assert [s.attributes["id"] for s in sections] == ["class-2", "class-0", "class-1"]


def test_numbers_in_the_overview_can_be_sorted(rich: Findings, pictures_of: Pictures) -> None:
    table = overview(read(render_report(rich, pictures_of(rich))))
    kinds = [h.attributes["data-kind"] for h in table.find("thead")[0].find("th")]
    for row, score in zip(table.find("tbody")[0].find("tr"), ("0.9", "0.7", ""), strict=True):
        values = [c.attributes.get("data-value") for c in row.children]
        assert [value is not None for value in values] == [kind == "number" for kind in kinds]
        assert values[5] == score


def test_q_has_a_column_only_where_there_is_any(build_class: BuildClass, build_findings: BuildFindings) -> None:
    findings = build_findings(build_class(), build_class("dog", q_value=0.0004))
    table = overview(read(render_report(findings, Thumbnails())))
    assert [h.text for h in table.find("thead")[0].find("th")][-3:] == ["Consistency", "q", "Errors"]
    rows = {cells(row)[0]: cells(row) for row in table.find("tbody")[0].find("tr")}
    assert (rows["dog"][-2], rows["cat"][-2]) == ("<0.001", "–")
    values = {cells(row)[0]: row.children[-2].attributes["data-value"] for row in table.find("tbody")[0].find("tr")}
    assert values == {"dog": "0.0004", "cat": ""}


def test_what_the_solver_could_not_settle_is_marked_and_explained(rich: Findings, pictures_of: Pictures) -> None:
    page = read(render_report(rich, pictures_of(rich)))
    sections = {s.attributes["id"]: s for s in page.find("section", cls="class")}
    assert "Widen Cs" in sections["class-0"].find("p", cls="warning")[0].text
    assert "iteration bound" in sections["class-2"].find("p", cls="warning")[0].text


def test_advice_is_of_the_interface_that_was_used(rich: Findings) -> None:
    of_python = render_report(rich, Thumbnails())
    of_the_command_line = render_report(replace(rich, interface=Interface.COMMAND_LINE), Thumbnails())
    for words in ("n_permutations=200", "widen Cs", "Widen Cs", "max_iter"):
        assert words in of_python
        assert words not in of_the_command_line
    assert "--permutations 200" in of_the_command_line
    assert "--permutations" not in of_python


def test_a_class_without_direction_shows_its_remedy_and_nothing_else(rich: Findings, pictures_of: Pictures) -> None:
    page = read(render_report(rich, pictures_of(rich)))
    (section,) = page.find("section", id="class-1")
    assert section.find("p", cls="note")[0].text == "Add validation images of this class."
    assert not section.find("svg")
    assert not section.find("ol")
    assert not section.find("figure")


def test_a_class_shows_captions_pictures_and_charts(rich: Findings, pictures_of: Pictures) -> None:
    page = read(render_report(rich, pictures_of(rich)))
    (section,) = page.find("section", id="class-0")
    hard, easy = section.find("div", cls="side")
    assert hard.find("li")[0].text == "a photo of a blue shirt −0.40"
    assert [i.attributes["style"] for i in hard.find("i")] == ["width:100.0%", "width:50.0%"]
    assert easy.find("li")[0].text == "a photo of a red shirt +0.30"
    strips = section.find("div", cls="strip")
    assert [s.find("h3")[0].text for s in strips] == ["Hardest", "Easiest", "Hardest by confidence"]
    tiles = strips[0].find("span", cls="tile")
    assert [t.attributes.get("tabindex") for t in tiles] == ["0", None, None, None]
    assert [li.attributes["data-answer"] for li in strips[0].find("li")] == ["dog"] * 4
    assert [li.attributes["class"] for li in strips[1].find("li")] == ["right"] * 4
    charts = section.find("figure", cls="chart")
    assert [c.find("figcaption")[0].text for c in charts] == [
        "Decision values", "Accuracy near the captions", "Share of “blue” among the top K",
    ]  # fmt: skip
    for chart in charts:
        svg = next(c for c in chart.children if c.tag == "svg")
        assert svg.attributes["role"] == "img"
        assert svg.attributes["aria-label"]
        assert len(svg.find("text", cls="name")) == 2
    assert "whole class: 70.0%" in charts[1].find("svg")[0].attributes["aria-label"]


def test_pictures_by_confidence_are_left_out_where_there_are_none(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    page = read(render_report(build_findings(build_class(unsure_examples=())), Thumbnails()))
    assert [s.find("h3")[0].text for s in page.find("div", cls="strip")] == ["Hardest", "Easiest"]


def test_a_missing_thumbnail_is_a_placeholder_that_still_says_what_it_is(rich: Findings, pictures_of: Pictures) -> None:
    thumbnails = pictures_of(rich)
    del thumbnails.pixels["shirt/easy/2.png"]
    page = read(render_report(rich, thumbnails))
    (missing,) = page.find("span", cls="missing")
    assert missing.attributes["title"].endswith("shirt/easy/2.png")
    assert "style" not in missing.attributes


def test_a_thumbnail_that_is_no_picture_is_refused(rich: Findings) -> None:
    with pytest.raises(InputError, match="shirt/hard/0"):
        render_report(rich, Thumbnails({"shirt/hard/0.png": np.zeros((4, 4), np.uint8)}))


def test_what_was_planted_is_set_against_what_was_found(rich: Findings, pictures_of: Pictures) -> None:
    page = read(render_report(rich, pictures_of(rich)))
    (section,) = page.find("section", cls="planted")
    rows = [cells(row) for row in section.find("tr")[1:]]
    assert rows == [
        ["shirt", "colour red → blue", "✓ named at rank 1", "", "90%", "60%", "50%"],
        ["coat", "colour red → blue", "✗ not named", "", "40%", "60%", "50%"],
        ["Mean", "", "65%", "60%", "50%"],
    ]
    assert section.find("svg", cls="dots")[0].attributes["aria-label"] == (
        "share of the minority: 90% by decision value, 60% by confidence, 50% by chance"
    )


def test_without_anything_planted_there_is_no_such_table(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    assert not read(render_report(build_findings(build_class()), Thumbnails())).find("section", cls="planted")


def test_nan_is_never_shown(build_class: BuildClass, build_findings: BuildFindings, planted: PlantedTruth) -> None:
    nan = math.nan
    unknown = replace(planted, share_by_decision=nan, share_by_confidence=nan, share_by_chance=nan)
    one = build_class(cv_score=nan, C=nan, C_at_edge=True, accuracy_shown=nan, planted=unknown)
    mode = replace(
        one.strongest,
        hard_examples=tuple(replace(e, decision=nan, confidence=nan) for e in one.hard_examples),
        hard_captions=tuple(replace(c, score=nan) for c in one.hard_captions),
    )
    for modes, n_permutations in (((mode,), 0), ((mode, mode), 99)):
        findings = build_findings(replace(one, modes=modes), timings={"fit": nan}, n_permutations=n_permutations)
        page = render_report(findings, Thumbnails())
        read(page)
        assert not re.search(r"\b(nan|inf)\b", re.sub(r"<script>.*", "", page, flags=re.DOTALL), re.IGNORECASE)
        assert "–" in page


def test_an_audit_of_nothing_is_still_a_page(build_findings: BuildFindings) -> None:
    bare = build_findings(timings={}, n_images={}, C_grid=(), skipped=(), notes=())
    page = read(render_report(bare, Thumbnails()))
    assert not page.find("section", cls="class")
    assert not page.find("section", cls="know")
    assert not page.find("table", cls="timings")


def test_many_classes_wait_as_templates_and_can_be_filtered(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    few = read(render_report(build_findings(*[build_class()] * FILTER_ABOVE), Thumbnails()))
    assert not few.find("template")
    assert not few.find("input")
    many = read(render_report(build_findings(*[build_class()] * (LAZY_ABOVE + 1)), Thumbnails()))
    assert len(many.find("template")) == LAZY_ABOVE + 1
    (box,) = many.find("input", type="search")
    assert many.find("label")[0].attributes["for"] == box.attributes["id"]
    assert not [e for e in many.find("figure") if not e.inside("template")]


def test_a_thousand_classes_stay_small(build_class: BuildClass, build_findings: BuildFindings) -> None:
    page = render_report(build_findings(*[build_class("crane", pictures=10)] * 1000), Thumbnails())
    # Words and drawings alone: with the pictures, which have their own budget, it is less than 25 MB.
    assert len(page.encode()) + PICTURE_BUDGET < 25_000_000
    for tag in ("img", "figure", "svg"):
        assert f"<{tag}" not in page
    outside = read(re.sub(r"<template>.*?</template>", "<template></template>", page, flags=re.DOTALL)).walk()
    assert sum(e.tag == "template" for e in outside) == 1000
    assert len(outside) < 45_000
    assert len({e.attributes["id"] for e in outside if "class" in e.classes}) == 1000


def test_a_thousand_classes_of_two_modes_stay_small(
    build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings
) -> None:
    modes = tuple(build_mode("crane", 10, significant=True, p_value=0.005, q_value=0.01) for _ in range(2))
    one = build_class("crane", pictures=10, modes=modes, n_permutations=200)
    findings = build_findings(*[one] * 1000, n_permutations=200)
    page = render_report(findings, Thumbnails())
    assert len(page.encode()) + PICTURE_BUDGET < 25_000_000
    assert "With 2,000 groups of errors this page shows 3 pictures in a row" in page
    assert "9 further failures" not in page
    assert "1,988 further failures in the table below" in page
    # In full up to there.
    assert shorten(build_findings(*[one] * (IN_FULL // 2)))[1] == ""


def test_the_pictures_of_a_page_keep_to_their_budget(
    build_class: BuildClass, build_findings: BuildFindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = build_findings(*[build_class(f"c{i}") for i in range(20)])
    rng = np.random.default_rng(0)
    noise = Thumbnails(
        {e.path: rng.integers(0, 256, (64, 64, 3), np.uint8) for c in findings.classes for e in c.examples}
    )

    def size() -> int:
        page = re.sub(r'<section class="failures".*?</section>', "", render_report(findings, noise), flags=re.DOTALL)
        return sum(map(len, re.findall(r"data:image/[^)]*", page)))

    best = size()
    monkeypatch.setattr("fdgpu.report.page.PICTURE_BUDGET", best // 3)
    assert best / 12 < size() <= best / 3 * 1.05  # a sample of the grids stands for all


def test_only_the_pages_own_script_may_run(rich: Findings, pictures_of: Pictures) -> None:
    page = render_report(rich, pictures_of(rich))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = read(page).find("meta", **{"http-equiv": "Content-Security-Policy"})[0].attributes["content"]
    assert f"script-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")


def test_nothing_comes_from_outside(rich: Findings, pictures_of: Pictures) -> None:
    page = render_report(rich, pictures_of(rich))
    for element in read(page).walk():
        for name, value in element.attributes.items():
            if name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                assert value.startswith("#"), f"{element.tag} {name}={value}"
    assert not re.search(r"url\((?!data:image/)", page.replace("url(data:image/", ""))
    assert "http:" not in page
    assert "https:" not in page


def test_a_path_that_is_not_utf8_can_be_written(rich: Findings) -> None:
    page = render_report(replace(rich, skipped=(Skipped("bad\udcff.png", "unreadable"),)), Thumbnails())
    assert "bad?.png" in page.encode("utf-8").decode("utf-8")
