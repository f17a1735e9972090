"""The grid of decoded pictures: which picture lies in which column and row."""

from __future__ import annotations

import re

import numpy as np

from fdgpu.findings import ClassFindings, DecodedPictures, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.decoded import decoded_view
from fdgpu.report.pictures import Encoding
from tests.report.conftest import BuildClass, BuildFindings

ENCODING = Encoding(32, 90)
DECODED = (
    DecodedPictures("easy", 0.3, ("d/easy-0.png", "d/easy-1.png")),
    DecodedPictures("neutral", 0.0, ("d/neutral-0.png", "d/neutral-1.png")),
    DecodedPictures("hard", 0.3, ("d/hard-0.png", "d/hard-1.png")),
)


def thumbnails(*left_out: str) -> Thumbnails:
    paths = [path for column in DECODED for path in column.paths if path not in left_out]
    return Thumbnails({path: np.full((32, 32, 3), 10 * i, np.uint8) for i, path in enumerate(paths)})


def test_a_column_a_rotation_and_a_row_a_noise(build_class: BuildClass) -> None:
    view = decoded_view(build_class(decoded=DECODED), thumbnails(), ENCODING)
    assert view is not None
    assert [(c.role, c.heading) for c in view.columns] == [
        ("easy", "easy 0.3"),
        ("plain", "neutral"),
        ("hard", "hard 0.3"),
    ]
    assert [[tile.words.splitlines()[1] for tile in row] for row in view.rows] == [
        ["d/easy-0.png", "d/neutral-0.png", "d/hard-0.png"],
        ["d/easy-1.png", "d/neutral-1.png", "d/hard-1.png"],
    ]
    assert view.rows[1][2].words == "hard 0.3, noise 2\nd/hard-1.png"
    assert (view.sprite.columns, view.sprite.rows) == (6, 1)
    assert view.rows[1][2].place == "--x:5"


def test_a_picture_that_is_gone_leaves_a_placeholder(build_class: BuildClass) -> None:
    view = decoded_view(build_class(decoded=DECODED), thumbnails("d/hard-0.png"), ENCODING)
    assert view is not None
    assert view.rows[0][2].place is None
    assert view.rows[1][2].place == "--x:4"


def test_nothing_decoded_shows_nothing(build_class: BuildClass, no_direction: ClassFindings) -> None:
    assert decoded_view(no_direction, thumbnails(), ENCODING) is None
    assert decoded_view(build_class(decoded=DECODED), Thumbnails(), ENCODING) is None


def test_the_page_shows_it_once_a_class(build_class: BuildClass, build_findings: BuildFindings) -> None:
    page = render_report(build_findings(build_class("cat", decoded=DECODED), build_class("dog")), thumbnails())
    assert page.count('<figure class="decoded">') == 1
    grid = page[page.index('<figure class="decoded">') :].partition("</figure>")[0]
    assert re.findall(r'<th scope="col" class="(\w+)">([^<]+)', grid) == [
        ("easy", "easy 0.3"),
        ("plain", "neutral"),
        ("hard", "hard 0.3"),
    ]
    assert grid.count('class="tile"') == 6
    assert "generated, not found" in grid
