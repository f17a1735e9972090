"""Findings into the templates, style and script inlined: the page."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import replace
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fdgpu.findings import ClassFindings, Findings, ModeFindings, Side, Thumbnails
from fdgpu.report.classes import bar_length, class_view
from fdgpu.report.error_lists import cause_strips, cause_words, pictures_of_causes
from fdgpu.report.figures import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, mark
from fdgpu.report.formats import chance, count, duration, fixed, percent, plural, power, precise, signed
from fdgpu.report.masthead import clearest, how_tested, key_figures, remarks
from fdgpu.report.pictures import Encoding, choose_encoding, pixels_of
from fdgpu.report.planted import DOTS_HEIGHT, DOTS_WIDTH, SHARE_SCALE, dots, planted_rows, shares_summary
from fdgpu.report.wording import also, edge_remark, explained_words, picture_words, proof, why_withheld

PICTURE_BUDGET = 11_000_000  # bytes of data URIs; with the words, 1000 classes stay below 25 MB
LAZY_ABOVE = 40  # classes; above, a section is inert until the reader comes near it
FILTER_ABOVE = 20  # classes; above, the overview has a box to filter it
IN_FULL = 1_250  # modes that a page shows in full: of a tile its words alone take 190 bytes, of a curve 25 a point
MOST_PICTURES = 8  # in a strip, where the page has just more modes than that; in proportion fewer beyond
FEWEST_PICTURES = 3
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
    findings, share, shortened = shorten(findings)
    encoding = _page_encoding(findings, thumbnails, share)
    views = [class_view(i, findings, thumbnails, encoding) for i in range(len(findings.classes))]
    ranked = [views[i] for i in findings.ranking()]
    script = _asset("page.js")
    page = (
        _environment()
        .get_template("page.html")
        .render(
            findings=findings,
            latent=findings.method == "latent",
            key_figures=key_figures(findings),
            tested=how_tested(findings),
            clearest=clearest(ranked, thumbnails, encoding),
            remarks=(*remarks(findings, views), *filter(None, [shortened])),
            planted=planted_rows(views),
            causes=cause_strips(findings, thumbnails, encoding),
            conditions=list(zip(findings.conditions, views[::2], views[1::2], strict=False)),
            classes=ranked,
            has_p=any(math.isfinite(c.p_value) for c in findings.classes),
            has_q=any(math.isfinite(c.q_value) for c in findings.classes),
            has_nested=any(math.isfinite(c.nested_score) for c in findings.classes),
            worded=bool(findings.text_method)
            or any(m.hard_captions or m.easy_captions for one in findings.classes for m in one.modes),
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
    most = max(FEWEST_PICTURES, MOST_PICTURES * IN_FULL // n)

    def shorter(mode: ModeFindings) -> ModeFindings:
        return replace(mode, hard_examples=mode.hard_examples[:most], easy_examples=mode.easy_examples[:most])

    def shorter_class(one: ClassFindings) -> ClassFindings:
        first, further = one.modes[:1], one.modes[1:]
        bare = [replace(mode, nearest_accuracy=(), word_effects=()) for mode in further]
        return replace(one, modes=tuple(map(shorter, (*first, *bare))), unsure_examples=one.unsure_examples[:most])

    remark = (
        f"With {plural(n, 'failure mode')} this page shows {count(most)} pictures in a row, and curves and words "
        "of the strongest mode of each class only; audit.json has the others."
    )
    return replace(findings, classes=tuple(map(shorter_class, findings.classes))), IN_FULL / n, remark


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
    numbers = (fixed, signed, percent, count, chance, precise, power, duration, plural)
    words = (also, cause_words, explained_words, picture_words, proof, why_withheld)
    environment.filters.update({form.__name__: form for form in (*numbers, *words)})
    environment.globals.update(
        box={"LEFT": LEFT, "RIGHT": RIGHT, "TOP": TOP, "BOTTOM": BOTTOM, "WIDTH": WIDTH, "HEIGHT": HEIGHT},
        mark=mark,
        bar_length=bar_length,
        Side=Side,
        dots=dots,
        dots_width=DOTS_WIDTH,
        dots_height=DOTS_HEIGHT,
        share_at=SHARE_SCALE,
        shares_summary=shares_summary,
        edge_remark=edge_remark,
    )
    environment.tests["finite"] = math.isfinite
    return environment


def _page_encoding(findings: Findings, thumbnails: Thumbnails, share: float) -> Encoding:
    grids = [
        pixels_of((example.path for example in examples), thumbnails)
        for one in findings.classes
        for examples in (*(e for m in one.modes for e in (m.hard_examples, m.easy_examples)), one.unsure_examples)
    ]
    grids += [pixels_of((e.path for e in pictures), thumbnails) for pictures in pictures_of_causes(findings).values()]
    grids += [pixels_of((path for d in one.decoded for path in d.paths), thumbnails) for one in findings.classes]
    return choose_encoding([list(grid.values()) for grid in grids], int(share * PICTURE_BUDGET))


def _asset(name: str) -> str:
    return (resources.files("fdgpu.report") / "assets" / name).read_text(encoding="utf-8").strip()


def _script_hash(script: str) -> str:
    """Return the hash by which the page's own policy lets this script run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
