"""Findings into the templates, style and script inlined: the page."""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from dataclasses import replace
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from fdgpu.described import html_table
from fdgpu.findings import ClassFindings, Findings, ModeFindings, Side, Thumbnails
from fdgpu.report.classes import bar_length, class_view
from fdgpu.report.figures import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, mark
from fdgpu.report.listing import make_listing
from fdgpu.report.overview import (
    DOTS_HEIGHT,
    DOTS_WIDTH,
    SHARE_SCALE,
    cause_strips,
    cause_words,
    clearest,
    dots,
    how_tested,
    pictures_of_causes,
    planted_rows,
    remarks,
    shares_summary,
)
from fdgpu.report.pictures import Encoding, choose_encoding, pixels_of
from fdgpu.report.wording import (
    MISSING,
    also,
    chance,
    count,
    duration,
    explained_words,
    explanations,
    fixed,
    percent,
    picture_words,
    plural,
    power,
    precise,
    proof,
    signed,
    slice_words,
    status_words,
    summary,
    why_withheld,
)

PICTURE_BUDGET = 8_000_000  # bytes of the tiles' data URIs; with the words, 1000 classes stay below 25 MB
PAGE_BUDGET = 24_500_000  # bytes of the whole page: pictures that open large take what all else leaves
WORDS = {False: 24_000, True: 4_500}  # bytes of a failure mode without its pictures: as it is, and packed
LAZY_ABOVE = 40  # classes; above, a section is inert until the reader opens it
FILTER_ABOVE = 20  # classes; above, the overview has a box to filter it
IN_FULL = 400  # modes that a page shows in full
MOST_PICTURES = 10  # in a strip, where the page has just as many modes as that; in proportion fewer beyond
FEWEST_PICTURES = 3
STYLES = ("base.css", "tables.css", "classes.css", "effects.css", "decoded.css", "browse.css", "print.css")
SCRIPTS = ("images.js", "tips.js", "marks.js", "viewer.js", "map.js", "browse.js", "overview.js")


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
    findings, shortened = shorten(findings)
    encoding, lazy = _page_encoding(findings, thumbnails), len(findings.classes) > LAZY_ABOVE
    room = PAGE_BUDGET - PICTURE_BUDGET - WORDS[lazy] * sum(len(one.modes) for one in findings.classes)
    listing = make_listing(findings, thumbnails, room)
    views = [class_view(i, findings, thumbnails, encoding, listing) for i in range(len(findings.classes))]
    ranked = [views[i] for i in findings.ranking()]
    failures, more_failures = clearest(ranked, findings, thumbnails, encoding, listing)
    modes = [mode for one in findings.classes for mode in one.modes]
    script = "(() => {\n" + "\n".join(asset(name) for name in SCRIPTS) + "\n})();"
    page = (
        environment()
        .get_template("page.html")
        .render(
            findings=findings,
            latent=findings.method == "latent",
            summary=summary(findings),
            failures=failures,
            more_failures=more_failures,
            tested=how_tested(findings),
            remarks=(*remarks(findings, views), *filter(None, [shortened])),
            planted=planted_rows(views),
            causes=cause_strips(findings, thumbnails, encoding),
            conditions=list(zip(findings.conditions, views[::2], views[1::2], strict=False)),
            classes=ranked,
            listing=listing,
            only_names=thumbnails.only_names,
            explanations=explanations(findings),
            has_q=any(math.isfinite(c.q_value) for c in findings.classes),
            judged=any(c.evidence for mode in modes for c in (*mode.hard_captions, *mode.easy_captions)),
            lazy=lazy,
            filtered=len(views) > FILTER_ABOVE,
            style=Markup("\n".join(asset(name) for name in STYLES)),  # noqa: S704 -- our own files
            script=Markup(script),  # noqa: S704
            script_hash=_script_hash(script),
        )
    )
    # A path that is not valid UTF-8 comes with lone surrogates, which no file could be written with.
    return page.encode("utf-8", "replace").decode("utf-8")


def summary_table(findings: Findings) -> str:
    """Return a small table of the classes for a notebook, the clearest failure first, without script and styles."""
    header = ("class", "hardest caption", "accuracy", "inside", "outside", "consistency", "q", "")
    rows = (
        (one.name, mode.hardest_caption or MISSING, percent(one.accuracy_shown), percent(mode.hard_side.accuracy, 0),
         percent(mode.easy_side.accuracy, 0), fixed(one.cv_score), chance(one.q_value), status_words(one))
        for one in (findings.classes[i] for i in findings.ranking())
        for mode in [one.strongest]
    )  # fmt: skip
    return html_table(summary(findings), header, rows)


def shorten(findings: Findings) -> tuple[Findings, str]:
    """Show fewer pictures, and curves and words of the strongest modes only, where there are too many modes.

    Returns:
        The findings as the page shows them, and a remark for readers.
    """
    n = sum(len(one.modes) for one in findings.classes)
    if n <= IN_FULL:
        return findings, ""
    most = max(FEWEST_PICTURES, MOST_PICTURES * IN_FULL // n)

    def shorter(mode: ModeFindings) -> ModeFindings:
        return replace(mode, hard_examples=mode.hard_examples[:most], easy_examples=mode.easy_examples[:most])

    def shorter_class(one: ClassFindings) -> ClassFindings:
        first, further = one.modes[:1], one.modes[1:]
        bare = [replace(mode, nearest_accuracy=(), word_effects=()) for mode in further]
        return replace(one, modes=tuple(map(shorter, (*first, *bare))), unsure_examples=one.unsure_examples[:most])

    remark = (
        f"With {plural(n, 'group')} of errors this page shows {count(most)} pictures in a row, and curves and words of "
        "the strongest group of each class only; audit.json has the others."
    )
    return replace(findings, classes=tuple(map(shorter_class, findings.classes))), remark


@cache
def environment() -> Environment:
    """Return the templates, compiled once: they never change while a program runs."""
    made = Environment(
        loader=PackageLoader("fdgpu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    numbers = (fixed, signed, percent, count, chance, precise, power, duration, plural)
    words = (also, cause_words, explained_words, picture_words, proof, slice_words, why_withheld)
    made.filters.update({form.__name__: form for form in (*numbers, *words, packed_html)})
    made.globals.update(
        box={"LEFT": LEFT, "RIGHT": RIGHT, "TOP": TOP, "BOTTOM": BOTTOM, "WIDTH": WIDTH, "HEIGHT": HEIGHT},
        mark=mark,
        bar_length=bar_length,
        Side=Side,
        dots=dots,
        dots_width=DOTS_WIDTH,
        dots_height=DOTS_HEIGHT,
        share_at=SHARE_SCALE,
        shares_summary=shares_summary,
    )
    made.tests["finite"] = math.isfinite
    return made


def packed_html(html: str) -> str:
    """Return a part of the page as base64 of its deflated UTF-8: of a thousand sections, an eighth of their words."""
    return base64.b64encode(zlib.compress(html.encode("utf-8", "replace"), 9)).decode("ascii")


def _page_encoding(findings: Findings, thumbnails: Thumbnails) -> Encoding:
    grids = [
        pixels_of((example.path for example in examples), thumbnails)
        for one in findings.classes
        for examples in (*(e for m in one.modes for e in (m.hard_examples, m.easy_examples)), one.unsure_examples)
    ]
    grids += [pixels_of((e.path for e in pictures), thumbnails) for pictures in pictures_of_causes(findings).values()]
    grids += [pixels_of((path for d in one.decoded for path in d.paths), thumbnails) for one in findings.classes]
    return choose_encoding([list(grid.values()) for grid in grids], PICTURE_BUDGET)


def asset(name: str) -> str:
    """Return a style sheet or a script of the pages."""
    return (resources.files("fdgpu.report") / "assets" / name).read_text(encoding="utf-8").strip()


def _script_hash(script: str) -> str:
    """Return the hash by which the page's own policy lets this script run, and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
