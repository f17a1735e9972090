"""Strings from outside that try to become part of the page."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from enum import StrEnum
from typing import Any

import pytest

from fdgpu.findings import (
    AnswerKind,
    AskedModel,
    ClassFindings,
    Condition,
    Findings,
    Interval,
    PlantedTruth,
    Slice,
    SlicesTested,
    Split,
    Tally,
    Thumbnails,
)
from fdgpu.report import render_report

from .conftest import BuildClass, BuildFindings
from .parsing import read

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    "</template><b>out</b>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)",
    "]]><svg onload=alert(1)>",
    "<!-- {{ 7 * 7 }} {% raw %}",
    "&lt;b&gt;",
)
KEPT = ("status", "solver", "p_value_reason")  # chosen by the library, not by the caller


def poisoned(value: Any, poison: str) -> Any:
    """Return ``value`` with ``poison`` appended to each of its strings, however deep they lie."""
    if isinstance(value, StrEnum):
        return value  # of a closed set: chosen by the library, not by the caller
    if isinstance(value, str):
        return value + poison
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: poisoned(getattr(value, f.name), poison) for f in fields(value) if f.name not in KEPT}
        return replace(value, **changed)
    if isinstance(value, tuple):
        return tuple(poisoned(v, poison) for v in value)
    if isinstance(value, dict):
        return {poisoned(k, poison): v for k, v in value.items()}
    return value


@pytest.fixture
def findings(
    build_class: BuildClass, build_findings: BuildFindings, no_direction: ClassFindings, planted: PlantedTruth
) -> Findings:
    asked = AskedModel("resnet50", "scaled to 232", 1000, "logits", "cpu", "float32", "0a")
    share, values = Interval(0.5, 0.4, 0.6), (("camera", "A"), ("site", "north"))
    slices = (
        Slice("cat", values, 20, 9, 0.001, 0.01, True, Tally(20, 9), share, explained_by=0, explained=0.9),
        Slice("cat", values[:1], 20, 9, 0.001, 0.01, True, Tally(20, 9), share, follows_from="camera = A and site = n"),
    )
    return build_findings(
        build_class(planted=planted, C_at_edge=True),
        no_direction,
        classifier=asked,
        slices=slices,
        slices_tested=SlicesTested({"camera": 3}, {}, 3, 10, (3, 2, 1), Split.VAL),
    )


@pytest.mark.parametrize("poison", HOSTILE)
def test_no_string_of_a_tested_class_with_two_modes_becomes_part_of_the_page(tested: Findings, poison: str) -> None:
    clean = read(render_report(tested, Thumbnails()))
    page = render_report(poisoned(tested, poison), Thumbnails())
    root = read(page)
    assert [(e.tag, sorted(e.attributes)) for e in root.walk()] == [(e.tag, sorted(e.attributes)) for e in clean.walk()]
    (cell,) = [e for e in root.find("td", cls="caption") if "worn boot" in e.text]
    assert cell.find("span", cls="of-mode")[1].text == " ".join(f"a photo of a blue worn boot{poison}".split())
    if "<" in poison:
        assert poison not in page


@pytest.mark.parametrize("poison", HOSTILE)
@pytest.mark.parametrize("lazy", [False, True])
def test_no_string_becomes_part_of_the_page(
    findings: Findings, poison: str, lazy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fdgpu.report.page.LAZY_ABOVE", 0 if lazy else 40)
    clean = read(render_report(findings, Thumbnails()))
    page = render_report(poisoned(findings, poison), Thumbnails())
    root = read(page)
    # The same elements with the same attributes: nothing was added, nothing was closed early.
    assert [(e.tag, sorted(e.attributes)) for e in root.walk()] == [(e.tag, sorted(e.attributes)) for e in clean.walk()]
    assert len(root.find("script")) == 1
    assert not [name for e in root.walk() for name in e.attributes if name.startswith("on")]
    assert poison in root.find("h1")[0].text
    if "<" in poison:
        assert poison not in page


@pytest.mark.parametrize("poison", HOSTILE)
def test_no_condition_and_no_name_in_a_picture_s_place_becomes_part_of_the_page(
    findings: Findings, poison: str
) -> None:
    of_two = replace(findings, conditions=(Condition("mass", AnswerKind.LOGITS, 0.4, 0.9, Split.TRAIN, 2),))
    clean = read(render_report(of_two, Thumbnails(only_names=True)))
    root = read(render_report(poisoned(of_two, poison), Thumbnails(only_names=True)))
    assert [(e.tag, sorted(e.attributes)) for e in root.walk()] == [(e.tag, sorted(e.attributes)) for e in clean.walk()]
    (section,) = root.find("section", cls="conditions")
    assert section.find("tbody")[0].find("th")[0].text == " ".join(f"mass{poison}".split())
    assert not root.find("span", cls="tile")
    assert root.find("ol", cls="names")[0].find("li")[0].text == " ".join(f"cat/hard/0.png{poison}".split())


def test_every_string_is_shown_as_it_is(findings: Findings) -> None:
    poison = "<i>&\"'"
    root = read(render_report(poisoned(findings, poison), Thumbnails()))
    titles = [e.attributes["title"] for e in root.find("span", cls="tile")]
    assert any(t.endswith(f"cat/hard/0.png{poison}") for t in titles)
    labels = [e.attributes["aria-label"] for e in root.find("svg", role="img")]
    assert any(f"nearest to the hard caption{poison}: 20.0%" in label for label in labels)
    assert any(f"share of “blue{poison}”" in e.text for e in root.find("text"))
