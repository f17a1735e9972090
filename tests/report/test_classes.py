"""What a class's section shows: bars on one scale, pictures and where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from fdgpu.findings import ClassFindings, Interval, ScoredCaption, Side, Slice, SlicesTested, Split, Tally, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.classes import MOST_SLICES, bar_length, class_view
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


def a_slice(name: str, value: str, **changes: object) -> Slice:
    shown, share = Tally(40, 22), Interval.of_share(18, 40)
    full = Slice(name, (("camera", value),), 50, 20, 1e-6, 2e-4, True, shown, share)
    return replace(full, **changes)  # type: ignore[arg-type]


def test_known_columns_stand_in_the_section_of_their_class(
    build_class: BuildClass, build_findings: BuildFindings, no_direction: ClassFindings
) -> None:
    alone = a_slice("cat", "A", explained=0.9, explained_by=1)
    slices = (
        a_slice("cat", "B", follows_from="camera = A"),
        alone,
        a_slice("bag", "C", shown=Tally(), accuracy=Interval.of_share(0, 0)),
        a_slice("cat", "D", explained=0.4),
        a_slice("cat", "E", explained=0.04),
    )
    tested = SlicesTested({"camera": 5}, {}, 2, 10, (10, 40), Split.VAL)
    findings = build_findings(build_class(), build_class("dog"), no_direction, slices=slices, slices_tested=tested)
    root = read(render_report(findings, Thumbnails()))
    cat, dog, bag = (root.find("section", id=f"class-{i}")[0].find("section", cls="known") for i in range(3))
    assert not dog
    rows = [one.text for one in cat[0].find("li")]
    assert [row.split()[2] for row in rows] == ["A", "D", "E", "B"]  # what follows from another comes last
    assert "45% right" in rows[0]
    assert "31% to 60% of 40 test images, the class 70%; q <0.001" in rows[0]
    assert "direction 2 explains it, 90% of its errors beyond the class’s rate" in rows[0]
    assert "a direction explains 40% of its errors" in rows[1]
    assert "no direction explains it" in rows[2]
    assert "follows from camera = A" in rows[3]
    assert "no test image; q <0.001" in bag[0].text  # a class without a direction has them too
    (how,) = [one for one in root.find("div") if one.text.startswith("Known columns camera (5 values)")]
    assert (
        "50 slices of at least 10 images of a class were tested on val, up to 2 values together, and 5 are" in how.text
    )
    about = {one.attributes["data-about"] for one in root.walk() if "data-about" in one.attributes}
    assert {"slice", "slice_right", "slice_q"} <= about
    assert all(root.find(id=f"about-{key}") for key in about)
    assert not read(render_report(build_findings(build_class()), Thumbnails())).find("section", cls="known")


def test_a_class_shows_its_first_slices_and_counts_the_others(
    build_class: BuildClass, build_findings: BuildFindings
) -> None:
    slices = tuple(a_slice("cat", str(i)) for i in range(MOST_SLICES + 3))
    view = class_view(0, build_findings(build_class(), slices=slices), Thumbnails(), LADDER[0])
    assert (view.slices, view.more_slices) == (slices[:MOST_SLICES], 3)
