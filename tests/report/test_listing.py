"""What the page's script reads: columns that come back as they were, pictures within their budget."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fdgpu.findings import Findings, ImageTable, Thumbnails
from fdgpu.report import render_report
from fdgpu.report.listing import LARGE, large_pictures, make_listing

from .conftest import BuildClass, BuildFindings
from .parsing import read
from .test_hostile import HOSTILE, poisoned


def column(text: str, kind: str) -> Any:
    return np.frombuffer(base64.b64decode(text), kind)


@pytest.fixture
def findings(build_class: BuildClass, build_findings: BuildFindings) -> Findings:
    """A class whose examples are all listed, and one more image."""
    paths = tuple(f"cat/{side}/{i}.png" for side in ("hard", "easy", "unsure") for i in range(4))
    n = len(paths) + 1
    table = ImageTable(
        (*paths, "cat/other.png"), np.zeros(n, np.int64), np.arange(n) % 2, np.linspace(-2, 2, 2 * n).reshape(n, 2),
        np.linspace(-1, 1, n), np.tile(np.arange(4), (n, 1)), np.linspace(0, 1, n), why=("", "label", *[""] * (n - 2)),
        left_out=7,
    )  # fmt: skip
    return build_findings(build_class(), build_class("dog"), images=table)


def test_columns_come_back_as_they_were(findings: Findings) -> None:
    table, listing = findings.images, make_listing(findings, Thumbnails(), 1_000_000)
    assert table is not None
    data = json.loads(listing.document)
    assert (data["classes"], tuple(data["paths"])) == (["cat", "dog"], table.paths)
    for name, kind, own in (
        ("labels", "<i4", table.labels), ("predictions", "<i4", table.predictions), ("across", "<f4", table.across),
        ("confidence", "<f4", table.confidence),
    ):  # fmt: skip
        np.testing.assert_allclose(column(data[name], kind), own, rtol=1e-6)
    for text, own in zip(data["decisions"], table.decisions.T, strict=True):
        np.testing.assert_allclose(column(text, "<f4"), own, rtol=1e-6)
    np.testing.assert_array_equal(column(data["neighbours"], "<i4").reshape(-1, 4), table.neighbours)
    assert data["trueProbability"] is None
    assert [data["why"]["words"][i] for i in column(data["why"]["of"], "<i4")] == list(table.why)
    assert (column(data["pictures"]["of"], "<i4") == -1).all()
    assert (listing.n_images, listing.n_pictures, listing.left_out) == (13, 0, 7)
    assert listing.rows_of(0)["cat/easy/0.png"] == 4
    assert listing.rows_of(1) == {}


def test_without_a_table_the_page_lists_nothing(findings: Findings) -> None:
    listing = make_listing(replace(findings, images=None), Thumbnails(), 1_000_000)
    assert (listing.n_images, listing.document) == (0, "null")
    page = read(render_report(replace(findings, images=None), Thumbnails()))
    assert not page.find("dialog")
    assert not page.find("canvas")
    assert not page.find("button", cls="tile")


def test_the_page_says_how_many_pictures_it_has(findings: Findings) -> None:
    grey = np.full((20, 20, 3), 99, np.uint8)
    page = read(render_report(findings, Thumbnails({f"cat/hard/{i}.png": grey for i in range(4)})))
    (browse,) = page.find("details", id="browse")
    assert (
        "4 of 20 images have their picture in this page; 9 are listed without it, and 7 are in examples.parquet alone."
        in browse.text
    )
    tiles = page.find("section", id="class-0")[0].find("button", cls="tile")
    assert [tile.attributes["data-row"] for tile in tiles[:5]] == ["0", "1", "2", "3", "4"]
    # Examples of a class that the table lacks are no buttons.
    assert not page.find("section", id="class-1")[0].find("button", cls="tile")


def noise(n: int, side: int) -> Thumbnails:
    rng = np.random.default_rng(0)
    return Thumbnails({str(i): rng.integers(0, 255, (side, side // 2, 3), np.uint8) for i in range(n)})


def test_pictures_are_as_large_as_all_fit() -> None:
    thumbnails = noise(6, 600)

    def sizes(budget: int) -> list[tuple[int, int]]:
        uris = large_pictures(thumbnails.pixels, thumbnails, budget).values()
        assert sum(map(len, uris)) <= budget
        return [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size for uri in uris]

    assert sizes(10_000_000) == [(256, 512)] * 6
    whole = sum(len(uri) for uri in large_pictures(thumbnails.pixels, thumbnails, 10_000_000).values())
    smaller = sizes(whole // 2)
    assert len(smaller) == 6
    assert smaller[0][1] < 512
    least = sizes(10_000)  # not all fit at the smallest size: the first do
    assert 0 < len(least) < 6
    assert least[0][1] == LARGE[-1].side
    assert sizes(0) == []


def test_a_small_picture_is_not_enlarged() -> None:
    (uri,) = large_pictures(["0"], noise(1, 40), 1_000_000).values()
    assert Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).size == (20, 40)


def test_the_hardest_examples_have_their_pictures_first(findings: Findings) -> None:
    table = findings.images
    assert table is not None
    rng = np.random.default_rng(0)
    thumbnails = Thumbnails({path: rng.integers(0, 255, (128, 128, 3), np.uint8) for path in sorted(table.paths)})
    listing = make_listing(findings, thumbnails, len(make_listing(findings, Thumbnails(), 0).document) + 16_000)
    of = column(json.loads(listing.document)["pictures"]["of"], "<i4")
    assert 0 < listing.n_pictures < len(table.paths)
    assert of[0] == 0  # cat/hard/0.png


@pytest.mark.parametrize("poison", HOSTILE)
def test_no_path_and_no_name_ends_the_script(findings: Findings, poison: str) -> None:
    bad = poisoned(findings, poison)
    clean, page = read(render_report(findings, Thumbnails())), render_report(bad, Thumbnails())
    root = read(page)
    assert [(e.tag, sorted(e.attributes)) for e in root.walk()] == [(e.tag, sorted(e.attributes)) for e in clean.walk()]
    (block,) = re.findall(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)
    data = json.loads(block)
    assert tuple(data["paths"]) == bad.images.paths
    assert data["classes"] == [f"cat{poison}", f"dog{poison}"]
    if "<" in poison:
        assert poison not in page
