"""What a class's section shows: bars on one scale, pictures and where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable

from fdgpu.findings import Interval, ScoredCaption, Side, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.classes import bar_length, class_view
from fdgpu.report.pictures import LADDER

from .conftest import BuildClass, BuildFindings, BuildMode
from .parsing import read


def test_caption_bars_share_one_scale(build_class: BuildClass, build_findings: BuildFindings) -> None:
    hard = tuple(ScoredCaption(name, 2 * a, a) for name, a in (("a", -0.4), ("b", -0.1), ("c", 0.05), ("d", math.nan)))
    easy = (ScoredCaption("e", 2 * 0.2, 0.2),)

    def longest(*sides: tuple[ScoredCaption, ...]) -> float:
        findings = build_findings(build_class(hard_captions=sides[0], easy_captions=sides[1]))
        return class_view(0, findings, Thumbnails(), LADDER[0]).modes[0].longest

    assert longest(hard, easy) == 0.4
    assert [bar_length(caption, Side.HARD, 0.4) for caption in hard] == [100, 25, 0, 0]
    assert bar_length(easy[0], Side.EASY, 0.4) == 50
    flat = ScoredCaption("a", 0.0, 0.0)
    assert longest((flat,), ()) == 0
    assert bar_length(flat, Side.HARD, 0.0) == 0


def test_a_picture_without_thumbnail_has_no_position(
    build_class: BuildClass, build_findings: BuildFindings, pictures_of: Callable[..., Thumbnails]
) -> None:
    findings = build_findings(build_class())
    thumbnails = pictures_of(findings)
    del thumbnails.pixels["cat/hard/1.png"]
    strip = class_view(0, findings, thumbnails, LADDER[0]).modes[0].strips[0]
    # The rest moves up: the sprite holds three tiles.
    assert [strip.positions.get(e.path) for e in strip.examples] == ["", None, "--x:1", "--x:2"]
    assert strip.sprite is not None
    assert strip.sprite.columns == 3
    assert strip.wrong == "4 of 4 wrong"


def test_each_hidden_class_says_what_it_explains_or_that_it_cannot_be_told(
    build_class: BuildClass, build_mode: BuildMode, build_findings: BuildFindings
) -> None:
    """And no λ at the edge of its few is a reason to widen them."""
    told = build_mode(share=0.125, errors_explained=Interval(0.5, 0.25, 0.75), C=1 / 30, C_at_edge=True)
    little = build_mode(share=math.nan, errors_explained=Interval(0.125, 0.0, 0.5), C=10 / 3, C_at_edge=True)
    classes = (
        build_class("two", modes=(told, little), solver="latent"),
        build_class("one", modes=(little,), solver="latent"),
    )
    for uses_loss, words in (
        (True, "a strongly shrunk regression, and by their own loss."),
        (False, "shrunk regression."),
    ):
        findings = build_findings(*classes, method="latent", uses_loss=uses_loss, C_grid=(1 / 30, 1 / 3, 10 / 3))
        page = read(text := render_report(findings, Thumbnails()))
        facts = [" ".join(one.text for one in facts.children) for facts in page.find("dl", cls="facts")]
        explained = "errors explained 50% (25% to 75%) hidden class 12.5% of the class shrinkage λ 30"
        assert [explained in one for one in facts] == [True, False, False]  # two modes, a class
        assert ["shrinkage λ 0.3" in one for one in facts] == [False, True, True]
        assert page.text.count("There is too little evidence") == 2
        assert words in page.text
        assert "△" not in text
        assert "Widen" not in text
        assert "among 30, 3, 0.3." in page.text
        (table,) = page.find("table", id="classes-table")
        heads = [one.text for one in table.find("thead")[0].find("th")]
        at = heads.index("Explained")
        assert [row.children[at].text for row in table.find("tbody")[0].find("tr")] == ["50%", "–"]
        assert "linear support vector machine" not in page.text
