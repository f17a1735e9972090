"""What a person does with the page, in a real Chromium: at a desk and on a phone, light and dark.

Skipped where there is no Chromium, or no Playwright to drive it with.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fdgpu.findings import ClassFindings, Findings, ImageTable, Thumbnails
from fdgpu.report import render_report

from .conftest import BuildClass, BuildFindings

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")]

SIZES = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
ARABIC, LONG = "كلب كبير", "a very long name " * 18
N = 40  # images of a class; the first ten are wrong and hard
CLASSES = ("cat", ARABIC, LONG)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Return a function that opens a page as a person would; no error, no broken rule of the page's own policy."""
    contexts, said = [], []

    def visit(html: str, size: str = "desk", scheme: str = "light", **more: Any) -> Any:
        file = tmp_path / "page.html"
        file.write_text(html, encoding="utf-8")
        context = browser.new_context(
            viewport=SIZES[size], color_scheme=scheme, has_touch=size == "phone", offline=True, **more
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield visit
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture
def findings(build_class: BuildClass, build_findings: BuildFindings, no_direction: ClassFindings) -> Findings:
    """Three classes of forty images each, of which every example is one; and a class with no failure."""
    within = np.tile(np.arange(N), 3)
    labels = np.repeat(np.arange(3), N)
    wrong = within < 10
    decisions = np.where(wrong, -2 + 0.1 * within, 0.1 * within)[:, None]
    kinds = [f"{k}/hard/{i}.png" if i < 4 else f"{k}/easy/{i}.png" for k in range(3) for i in range(N)]
    near = np.arange(3 * N)[:, None] // N * N + (within[:, None] + np.arange(1, 5)) % N
    table = ImageTable(
        tuple(kinds), labels, np.where(wrong, (labels + 1) % 3, labels), decisions, np.sin(within), near,
        confidence=within / N,
    )  # fmt: skip

    def one(k: int, name: str) -> ClassFindings:
        made = build_class(str(k), p_value=0.005, q_value=0.01, significant=True, n_permutations=200)
        return replace(made, name=name, n_shown=N, accuracy_shown=0.75, unsure_examples=())

    classes = [one(k, name) for k, name in enumerate(CLASSES)]
    fine = replace(no_direction, n_shown=0)
    return build_findings(*classes, fine, images=table, n_permutations=200)


@pytest.fixture
def html(findings: Findings) -> str:
    rng = np.random.default_rng(0)
    assert findings.images is not None
    pictured = [path for i, path in enumerate(findings.images.paths) if i % N < 20]
    return render_report(findings, Thumbnails({path: rng.integers(0, 255, (40, 40, 3), np.uint8) for path in pictured}))


@pytest.mark.parametrize(("size", "scheme"), [("desk", "light"), ("phone", "dark")])
def test_axe_finds_nothing_serious(opened: Any, html: str, size: str, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page = opened(html, size, scheme)
    for opens in ("document.querySelectorAll('details').forEach((one) => { one.open = true; })", "viewer"):
        if opens == "viewer":
            page.locator(".failures .tile").first.click()
        else:
            page.evaluate(opens)
        found = axe.run(page, options={"resultTypes": ["violations"]}).response
        assert len(found["passes"]) > 15
        serious = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
        assert [(one["id"], one["nodes"][0]["html"][:300]) for one in serious] == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_on_a_phone_the_hardest_caption_is_in_sight(opened: Any, html: str) -> None:
    page = opened(html, "phone")
    for caption in page.locator("#classes-table tbody td.caption").all():
        box = caption.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390 - 16 + 1
    assert page.locator(".failures .sentence q").first.bounding_box()["width"] < 390


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_opens_and_arrows_go_on(opened: Any, html: str, size: str) -> None:
    page = opened(html, size)
    page.locator("#class-0 .strip.hard .tile").first.click()
    viewer = page.locator("#viewer")
    assert viewer.is_visible()
    words = viewer.inner_text()
    for said in ("cat", "✗ wrong", ARABIC, "0.0%", "−2.000", "0/hard/0.png", "1 of 4"):
        assert said in words, said
    assert page.locator("#viewer img[data-part]").evaluate("(one) => one.naturalWidth") == 40
    page.keyboard.press("ArrowRight")
    assert "0/hard/1.png" in viewer.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")  # there is none before the first
    assert "0/hard/0.png" in viewer.inner_text()
    page.keyboard.press("m")
    page.locator("#viewer .tiles .tile").nth(3).click()  # the fourth most like it, among these
    assert "0/easy/4.png" in viewer.inner_text()
    assert "4 of 4" in viewer.inner_text()
    page.keyboard.press("Escape")
    assert not viewer.is_visible()
    assert "1 image marked" in page.locator("#marks").inner_text()


def test_a_tile_goes_to_the_next_by_arrow_keys_and_opens_by_enter(opened: Any, html: str) -> None:
    page = opened(html)
    page.locator("#class-0 .strip.hard .tile").first.focus()
    assert "0/hard/0.png" in page.locator("#tip").inner_text()
    page.keyboard.press("ArrowRight")
    assert "0/hard/1.png" in page.locator("#tip").inner_text()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith(f"Wrong: predicted {ARABIC}")
    page.keyboard.press("Enter")
    assert "0/hard/1.png" in page.locator("#viewer").inner_text()


@pytest.mark.parametrize("size", SIZES)
def test_a_number_says_what_it_means_when_it_is_pointed_at_or_touched(opened: Any, html: str, size: str) -> None:
    page = opened(html, size)
    number = page.locator('.failures [data-about="covered"]').first
    number.tap() if size == "phone" else number.hover()
    assert "How many of the class’s errors lie inside the group" in page.locator("#tip").inner_text()
    abouts = page.evaluate(
        "[...new Set([...document.querySelectorAll('[data-about]')].map((one) => one.dataset.about))]"
    )
    assert len(abouts) > 8
    assert page.evaluate("(all) => all.filter((one) => !document.getElementById(`about-${one}`))", abouts) == []


def test_the_map_opens_what_it_shows_by_mouse_and_by_keyboard(opened: Any, html: str) -> None:
    page = opened(html)
    canvas = page.locator('canvas[data-map="0"]')
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    coloured = "(c) => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    assert canvas.evaluate(coloured) > 5
    box = canvas.bounding_box()
    # The hardest lies on the left edge, in the middle between the least and the largest sine.
    page.mouse.click(box["x"] + 14, box["y"] + box["height"] / 2)
    assert "0/hard/0.png" in page.locator("#viewer").inner_text()
    assert f"1 of {N}" in page.locator("#viewer").inner_text()
    page.keyboard.press("Escape")
    canvas.focus()
    page.keyboard.press("End")
    assert f"0/easy/{N - 1}.png" in page.locator("#tip").inner_text()
    page.keyboard.press("Enter")
    assert f"0/easy/{N - 1}.png" in page.locator("#viewer").inner_text()
    assert "Its picture is not in this page." in page.locator("#viewer").inner_text()


def open_all(page: Any) -> Any:
    page.locator("#browse > summary").click()
    return page.locator("#browse")


def test_filters_find_and_the_confusion_table_filters(opened: Any, html: str) -> None:
    page = opened(html)
    browse = open_all(page)
    found = browse.locator("output")
    assert found.inner_text() == "120 of 120 images"
    browse.locator('[name="answer"]').select_option("wrong")
    assert found.inner_text() == "30 of 120 images"
    browse.locator('[name="confidence-to"]').fill("10")
    assert found.inner_text() == "15 of 120 images"
    browse.locator('[name="decision-from"]').fill("-1.85")
    assert found.inner_text() == "9 of 120 images"
    browse.locator('button[type="reset"]').click()
    assert found.inner_text() == "120 of 120 images"
    browse.locator('.confusion [data-pair="1"]').click()  # a cat, taken for the class with the Arabic name
    assert found.inner_text() == "10 of 120 images"
    assert browse.locator('[name="class"]').input_value() == "0"
    assert browse.locator('[name="prediction"]').input_value() == "1"
    browse.locator('.confusion [aria-pressed="true"]').click()
    assert found.inner_text() == "120 of 120 images"
    assert browse.locator(".tiles .tile").count() == 48
    browse.locator(".pages button").last.click()
    browse.locator(".pages button").last.click()
    assert browse.locator(".pages span").inner_text() == "97–120"
    page.locator('#class-1 [data-browse="1"]').click()
    assert found.inner_text() == "40 of 120 images"


@pytest.mark.parametrize("size", SIZES)
def test_what_is_marked_is_saved(opened: Any, html: str, size: str, tmp_path: Path) -> None:
    page = opened(html, size, accept_downloads=True)
    browse = open_all(page)
    browse.locator('[name="class"]').select_option("1")
    browse.locator('[name="answer"]').select_option("wrong")
    browse.locator('[data-do="mark"]').click()
    browse.locator(".tiles input").first.uncheck()  # 1/hard/0.png, the hardest
    marks = page.locator("#marks")
    assert "9 images marked" in marks.inner_text()
    with page.expect_download() as download:
        marks.locator('[data-do="csv"]').click()
    download.value.save_as(tmp_path / "marked.csv")
    with (tmp_path / "marked.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [f"1/hard/{i}.png" for i in (1, 2, 3)] + [
        f"1/easy/{i}.png" for i in range(4, 10)
    ]
    assert {(row["class"], row["prediction"], row["correct"]) for row in rows} == {(ARABIC, LONG, "false")}
    assert float(rows[0]["decision_value"]) == pytest.approx(-1.9)
    with page.expect_download() as download:
        marks.locator('[data-do="paths"]').click()
    download.value.save_as(tmp_path / "marked.txt")
    assert (tmp_path / "marked.txt").read_text(encoding="utf-8").splitlines() == [row["path"] for row in rows]
    marks.locator('[data-do="show"]').click()
    assert browse.locator("output").inner_text() == "9 of 120 images"
    marks.locator('[data-do="clear"]').click()
    assert not marks.is_visible()


def test_a_hundred_thousand_images_are_marked_and_saved_at_once(
    opened: Any, findings: Findings, tmp_path: Path
) -> None:
    n = 100_000
    table = ImageTable(
        tuple(f'"{i}", {i}.png' for i in range(n)), np.zeros(n, int), np.zeros(n, int), np.zeros((n, 1)), np.zeros(n),
        np.full((n, 4), -1),
    )  # fmt: skip
    page = opened(render_report(replace(findings, images=table), Thumbnails()), accept_downloads=True)
    open_all(page).locator('[data-do="mark"]').click()
    assert "100,000 images marked" in page.locator("#marks").inner_text()
    with page.expect_download() as download:
        page.locator('#marks [data-do="csv"]').click()
    download.value.save_as(tmp_path / "marked.csv")
    with (tmp_path / "marked.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == list(table.paths)


@pytest.fixture
def many(build_class: BuildClass, build_findings: BuildFindings, no_direction: ClassFindings) -> str:
    scores = (0.7, 0.9, 0.8)
    scored = [build_class(f"class {i}", cv_score=score, significant=True) for i, score in enumerate(scores)]
    others = [build_class("crane", cv_score=0.6)] * 50
    return render_report(build_findings(*scored, replace(no_direction, name="Bag"), *others), Thumbnails())


def test_the_overview_is_sorted_and_filtered(opened: Any, many: str) -> None:
    page = opened(many)
    order = "[...document.querySelectorAll('tbody tr[data-class]')].map((row) => row.dataset.class)"
    first = page.evaluate(order)
    assert first[:3] == ["1", "2", "0"]
    consistency = page.locator("#classes-table th button").nth(5)
    consistency.click()
    ascending = page.evaluate(order)
    assert ascending[-4:] == ["0", "2", "1", "3"]  # what is missing comes last
    assert page.evaluate("[...document.querySelectorAll('section.class')].map((one) => one.id.slice(6))") == ascending
    consistency.click()
    assert page.evaluate(order) == first
    page.locator("#classes-table th button").first.click()
    assert page.evaluate(order)[:5] == ["3", "0", "1", "2", "4"]
    page.locator("#filter").fill("BLUE CLASS 1")
    assert page.locator("#classes-table tbody tr:visible").count() == 1
    assert page.locator("#filter-count").inner_text() == "1 of 54 classes"


def test_a_section_of_a_large_page_is_filled_when_it_is_opened(opened: Any, many: str) -> None:
    page = opened(many)
    section = page.locator("#class-30")
    assert not section.is_visible()
    page.evaluate("location.hash = '#class-30'")
    section.wait_for(state="visible")
    assert section.locator(".sentence").inner_text().startswith("crane is wrong on 30%")
    assert page.locator("section.class > template").count() == 53
    page.wait_for_timeout(200)
    assert -1 <= section.evaluate("(one) => one.getBoundingClientRect().top") < 200


@pytest.mark.parametrize("size", SIZES)
def test_no_page_scrolls_sideways(opened: Any, many: str, tested: Findings, size: str) -> None:
    for html in (many, render_report(tested, Thumbnails())):
        page = opened(html, size)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
