"""The site is whole: built without a warning, every public name in its reference, and nothing asked of the web."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fdgpu

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site without the output of its gallery, which takes minutes."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "RUN_GALLERY": "false", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = "".join(page.read_text("utf-8") for page in (site / "reference").glob("*.html"))
    assert {name for name in fdgpu.__all__ if f'id="fdgpu.{name}"' not in pages} == {"__version__"}
    assert not re.search(r":(class|func|meth):`", pages)


@pytest.mark.slow
def test_the_site_opens_offline(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]*?src=[^>]*|<link[^>]*", page.read_text("utf-8"))
        assert not [tag for tag in loaded if "http" in tag]
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?://", sheet.read_text("utf-8"))


@pytest.mark.slow
def test_what_the_documents_link_to_beside_them_comes_along(site: Path) -> None:
    assert (site / "repository" / "benchmarks" / "results" / "decoded.png").is_file()
    assert (site / "repository" / "benchmarks" / "paper" / "index.html").is_file()
    assert 'href="docs/' not in (site / "index.html").read_text("utf-8")
