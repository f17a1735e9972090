"""What the page's script does, in a real browser; skipped where there is none."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fdgpu.findings import ClassFindings, Findings, Thumbnails
from fdgpu.report import render_report

from .conftest import BuildClass, BuildFindings

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1000,800 --virtual-time-budget=5000 --dump-dom"
)

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="needs Chromium")]


def driven(page: str, script: str, folder: Path) -> Any:
    """Open the page, run ``script`` in it and return what it returns."""
    # The page's policy lets no script run but its own.
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    driver = (
        "<script>addEventListener('load', async () => { "
        "const rest = () => new Promise((done) => setTimeout(done, 300));"
        f"const answer = await (async () => {{ {script} }})();"
        "document.body.textContent = '@@' + JSON.stringify(answer) + '@@'; });</script></body>"
    )
    file = folder / "page.html"
    file.write_text(page.replace("</body>", driver), encoding="utf-8")
    command = [str(BROWSER), *FLAGS.split(), f"--user-data-dir={folder / 'profile'}", file.as_uri()]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    answer = done.stdout.decode().split("@@")[1]
    return json.loads(answer.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@pytest.fixture
def page(build_class: BuildClass, build_findings: BuildFindings, no_direction: ClassFindings) -> str:
    scores = (0.7, 0.9, 0.8)
    scored = [build_class(f"class {i}", cv_score=score, significant=True) for i, score in enumerate(scores)]
    many = [build_class("crane", cv_score=0.6)] * 50
    return render_report(build_findings(*scored, replace(no_direction, name="Bag"), *many), Thumbnails())


ORDER = "[...document.querySelectorAll('tbody tr[data-class]')].map((row) => row.dataset.class)"
SECTIONS = "[...document.querySelectorAll('section.class')].map((section) => section.id.slice(6))"


def test_sorting_keeps_what_is_missing_last_and_moves_the_sections(page: str, tmp_path: Path) -> None:
    script = f"""
      const button = (i) => document.querySelectorAll('#classes-table th button')[i];
      const orders = [{ORDER}];
      button(5).click(); orders.push({ORDER}, {SECTIONS});
      button(5).click(); orders.push({ORDER});
      button(0).click(); orders.push({ORDER});
      const sorted = document.querySelectorAll('th[aria-sort="ascending"]');
      return [orders, sorted.length, sorted[0].textContent];
    """
    (first, ascending, sections, descending, by_name), n_sorted, name = driven(page, script, tmp_path)
    assert first[:3] == ["1", "2", "0"]
    assert ascending[-4:] == ["0", "2", "1", "3"]
    assert sections == ascending
    assert descending == first
    assert by_name[:5] == ["3", "0", "1", "2", "4"]
    assert (n_sorted, name) == (1, "Class")


def test_filtering_hides_rows_and_sections(page: str, tmp_path: Path) -> None:
    script = """
      const filter = document.getElementById('filter');
      filter.value = 'BLUE CLASS 1';
      filter.dispatchEvent(new Event('input'));
      const shown = [...document.querySelectorAll('section.class')].filter((one) => !one.hidden);
      return [shown.map((one) => one.id), document.getElementById('filter-count').textContent];
    """
    assert driven(page, script, tmp_path) == [["class-1"], "1 of 54 classes"]


def test_a_far_section_fills_when_it_is_gone_to(page: str, tmp_path: Path) -> None:
    script = """
      const section = document.getElementById('class-30');
      const charts = () => section.querySelectorAll('.chart').length, before = charts();
      location.hash = '#class-30';
      await rest();
      const left = document.querySelectorAll('template').length;
      return [before, charts(), Math.round(section.getBoundingClientRect().top), left];
    """
    before, after, top, left = driven(page, script, tmp_path)
    assert (before, after) == (0, 2)
    assert 0 <= top < 200  # at the top of the screen, whatever the sections above grew by
    assert left > 30


def test_a_picture_says_what_it_is_to_the_keyboard_too(page: str, tmp_path: Path) -> None:
    script = """
      const tiles = document.querySelectorAll('.clearest .tile');
      tiles[0].focus();
      const tip = document.getElementById('tip');
      const first = [tip.hidden, tip.textContent];
      tiles[0].dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
      const second = [document.activeElement === tiles[1], tip.textContent];
      tiles[1].dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
      return [first, second, tip.hidden, tiles[0].title, tiles[0].getAttribute('aria-label')];
    """
    first, second, hidden, title, label = driven(page, script, tmp_path)
    words = "Wrong: predicted dog\ndecision −2.000\nconfidence 75.0%\nclass 1/hard/0.png"
    assert first == [False, words]
    assert second == [True, words.replace("2.000", "1.900").replace("/0.png", "/1.png")]
    assert hidden
    assert (title, label) == ("", words)


@pytest.fixture
def tested_page(tested: Findings) -> str:
    return render_report(tested, Thumbnails())


@pytest.mark.parametrize("width", [390, 800])
@pytest.mark.parametrize("which", ["page", "tested_page"])
def test_no_page_scrolls_sideways(request: pytest.FixtureRequest, tmp_path: Path, which: str, width: int) -> None:
    page = request.getfixturevalue(which)
    script = f"""
      const frame = document.createElement('iframe');
      frame.style.width = '{width}px';
      frame.srcdoc = document.documentElement.outerHTML.replace(/<script>[^]*/, '');
      document.body.append(frame);
      await new Promise((done) => {{ frame.onload = done; }});
      const inside = frame.contentDocument.documentElement;
      for (const template of inside.querySelectorAll('template')) template.replaceWith(template.content);
      return [inside.scrollWidth, inside.clientWidth];
    """
    needed, there = driven(page, script, tmp_path)
    assert needed <= there
