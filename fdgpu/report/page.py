"""The page: views of the findings into the templates, style and script inlined."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import replace
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fdgpu.findings import ClassFindings, Findings, ModeFindings, Thumbnails
from fdgpu.report.classes import class_view, edge_remark
from fdgpu.report.figures import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, mark
from fdgpu.report.formats import chance, count, duration, fixed, percent, plural, power, precise, signed
from fdgpu.report.masthead import (
    DOTS_HEIGHT,
    DOTS_WIDTH,
    SHARE_SCALE,
    clearest,
    how_tested,
    key_figures,
    planted_view,
    remarks,
)
from fdgpu.report.pictures import Encoding, check_pixels, choose_encoding, decoded_pixels

PICTURE_BUDGET = 11_000_000  # bytes of data URIs; with the words, 1000 classes stay below 25 MB
LAZY_ABOVE = 40  # classes; above, a section is inert until the reader comes near it
FILTER_ABOVE = 20  # classes; above, the overview has a box to filter it
IN_FULL = 1_250  # modes that a page shows in full: of a tile its words alone take 190 bytes, of a curve 25 a point
PICTURES = 8  # of a strip at that many modes, and in proportion fewer beyond
FEWEST = 3
STYLES = ("base.css", "tables.css", "classes.css", "effects.css", "decoded.css", "print.css")


def render_report(findings: Findings, thumbnails: Thumbnails) -> str:
    """Render an audit as one HTML page that opens from disk and asks nothing of the network.

    Args:
        findings: what the audit found.
        thumbnails: pictures (height, width, 3) uint8 by path, of any size; a path without one gets a placeholder.

    Returns:
        The page, to be written as UTF-8.

    Raises:
        InputError: if a thumbnail that the page shows is not uint8 of shape (height, width, 3).
    """
    findings, share, remark = shorten(findings)
    encoding = _page_encoding(findings, thumbnails, share)
    views = [class_view(i, findings, thumbnails, encoding) for i in range(len(findings.classes))]
    ranked = [views[i] for i in findings.ranking()]
    script = _asset("page.js")
    page = (
        _environment()
        .get_template("page.html")
        .render(
            findings=findings,
            key_figures=key_figures(findings),
            tested=how_tested(findings),
            clearest=clearest(ranked, thumbnails, encoding),
            remarks=(*remarks(findings, views), *([remark] if remark else [])),
            planted=planted_view(views),
            classes=ranked,
            has_p=any(math.isfinite(c.p_value) for c in findings.classes),
            has_q=any(math.isfinite(c.q_value) for c in findings.classes),
            has_nested=any(math.isfinite(c.nested_score) for c in findings.classes),
            judged=any(
                c.evidence for one in findings.classes for m in one.modes for c in (*m.hard_captions, *m.easy_captions)
            ),
            has_modes=any(len(c.modes) > 1 for c in findings.classes),
            lazy=len(views) > LAZY_ABOVE,
            filtered=len(views) > FILTER_ABOVE,
            style=Markup("\n".join(_asset(name) for name in STYLES)),  # noqa: S704 -- our own files
            script=Markup(script),  # noqa: S704
            script_hash=_script_hash(script),
        )
    )
    # A path that is not valid UTF-8 comes with lone surrogates, which no file could be written with.
    return page.encode("utf-8", "replace").decode("utf-8")


def shorten(findings: Findings) -> tuple[Findings, float, str]:
    """Show fewer pictures, and curves and words of the strongest modes only, where not all modes fit in full.

    Returns:
        The findings as the page shows them, the share of the picture budget that they may use, a remark for readers.
    """
    n = sum(len(one.modes) for one in findings.classes)
    if n <= IN_FULL:
        return findings, 1.0, ""
    most = max(FEWEST, PICTURES * IN_FULL // n)
    classes = tuple(_shorter(one, most) for one in findings.classes)
    remark = (
        f"With {plural(n, 'failure mode')} this page shows {count(most)} pictures in a row, and curves and words "
        "of the strongest mode of each class only; audit.json has the others."
    )
    return replace(findings, classes=classes), IN_FULL / n, remark


def _shorter(one: ClassFindings, most: int) -> ClassFindings:
    modes = [_fewer_pictures(mode, most) for mode in one.modes]
    further = [replace(mode, nearest_accuracy=(), word_effects=()) for mode in modes[1:]]
    return replace(one, modes=(*modes[:1], *further), unsure_examples=one.unsure_examples[:most])


def _fewer_pictures(mode: ModeFindings, most: int) -> ModeFindings:
    return replace(mode, hard_examples=mode.hard_examples[:most], easy_examples=mode.easy_examples[:most])


@cache
def _environment() -> Environment:
    """Return the templates, compiled once: they never change while a program runs."""
    environment = Environment(
        loader=PackageLoader("fdgpu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for form in (fixed, signed, percent, count, chance, precise, power, duration, plural):
        environment.filters[form.__name__] = form
    environment.globals.update(
        box={"LEFT": LEFT, "RIGHT": RIGHT, "TOP": TOP, "BOTTOM": BOTTOM, "WIDTH": WIDTH, "HEIGHT": HEIGHT},
        mark=mark,
        dots_width=DOTS_WIDTH,
        dots_height=DOTS_HEIGHT,
        share_at=SHARE_SCALE,
        edge_remark=edge_remark,
    )
    environment.tests["finite"] = math.isfinite
    return environment


def _page_encoding(findings: Findings, thumbnails: Thumbnails, share: float) -> Encoding:
    grids = [
        [check_pixels(e.path, thumbnails.pixels[e.path]) for e in examples if e.path in thumbnails.pixels]
        for one in findings.classes
        for examples in (*(e for m in one.modes for e in (m.hard_examples, m.easy_examples)), one.unsure_examples)
    ]
    grids += [list(decoded_pixels(one, thumbnails).values()) for one in findings.classes]
    return choose_encoding(grids, int(share * PICTURE_BUDGET))


def _asset(name: str) -> str:
    return (resources.files("fdgpu.report") / "assets" / name).read_text(encoding="utf-8").strip()


def _script_hash(script: str) -> str:
    """Return the hash by which the page's own policy lets this script run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
