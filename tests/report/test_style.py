"""The style sheet: colours that can be read, nothing from outside."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from fdgpu.report.page import SCRIPTS, STYLES

ASSETS = resources.files("fdgpu.report") / "assets"
READ_AS_TEXT = ("ink", "soft", "hard", "easy")
BEHIND_TEXT = ("paper", "surface", "faint", "hard-wash")


def palettes() -> dict[str, dict[str, str]]:
    base, printed = ((ASSETS / name).read_text() for name in ("base.css", "print.css"))
    light, dark = re.findall(r":root \{(.*?)\}", base, re.DOTALL)
    (paper,) = re.findall(r":root \{(.*?)\}", printed, re.DOTALL)
    found = {"light": light, "dark": dark, "print": paper}
    return {name: dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", text)) for name, text in found.items()}


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_text_has_the_contrast_that_wcag_aa_asks_for(theme: str) -> None:
    palette = palettes()[theme]
    for text in READ_AS_TEXT:
        for behind in BEHIND_TEXT:
            assert contrast(palette[text], palette[behind]) >= 4.5, f"{text} on {behind}"


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_what_is_drawn_stands_out_from_the_paper(theme: str) -> None:
    palette = palettes()[theme]
    for drawn in ("hard-fill", "easy-fill", "plain-fill", "soft"):
        assert contrast(palette[drawn], palette["paper"]) >= 3, drawn


def test_every_theme_sets_the_same_colours() -> None:
    light, dark, paper = palettes().values()
    assert light.keys() == dark.keys() == paper.keys()
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


def test_styles_and_script_can_stand_inside_the_page_and_load_nothing() -> None:
    for name in (*STYLES, *SCRIPTS):
        text = (ASSETS / name).read_text()
        for forbidden in ("</", "<!--", "http:", "https:", "@import", "//fonts", "url("):
            assert forbidden not in text, f"{forbidden} in {name}"
