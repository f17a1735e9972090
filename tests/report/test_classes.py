"""What a class's section shows: bars on one scale, pictures and where they lie."""

from __future__ import annotations

import math
from collections.abc import Callable

from fdgpu.findings import ScoredCaption, Side, Thumbnails
from fdgpu.report.classes import bar_length, class_view
from fdgpu.report.pictures import LADDER

from .conftest import BuildClass, BuildFindings


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
