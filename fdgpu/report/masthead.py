"""The top of the page: key figures, the clearest failures, and what the reader should know."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fdgpu.findings import Findings, Thumbnails
from fdgpu.report.classes import ClassView, Strip, make_strip
from fdgpu.report.formats import count, duration, plural
from fdgpu.report.pictures import Encoding

CLEAREST = 3
CLEAREST_PICTURES = 4


@dataclass(frozen=True)
class KeyFigure:
    """A number that stands large, its name, and a line below it."""

    value: str
    name: str
    below: str


@dataclass(frozen=True)
class Clearest:
    """A class whose failure is most consistent, with its hardest pictures."""

    view: ClassView
    strip: Strip


def key_figures(findings: Findings) -> tuple[KeyFigure, ...]:
    """Return the numbers of the whole audit."""
    found = sum(c.status == "ok" for c in findings.classes)
    errors = sum(c.n_errors for c in findings.classes)
    samples = sum(c.n for c in findings.classes)
    splits = " · ".join(f"{split} {count(n)}" for split, n in findings.n_images.items())
    return (
        KeyFigure(count(len(findings.classes)), "classes", f"{count(found)} with a failure direction"),
        KeyFigure(count(sum(findings.n_images.values())), "images", splits),
        KeyFigure(count(errors), "errors to learn from", f"among {plural(samples, f'{findings.fitted_on} image')}"),
        KeyFigure(duration(sum(findings.timings.values())), "in all", f"on {findings.device}"),
    )


def clearest(views: Sequence[ClassView], thumbnails: Thumbnails, encoding: Encoding) -> tuple[Clearest, ...]:
    """Return the classes with the highest cross-validation score, the best first, that have something to show."""
    shown = [v for v in views if v.found and math.isfinite(v.findings.cv_score) and v.findings.hard_examples]
    shown.sort(key=lambda v: -v.findings.cv_score)
    return tuple(
        Clearest(
            view,
            make_strip("hard", "", "", view.findings.hard_examples[:CLEAREST_PICTURES], thumbnails, encoding),
        )
        for view in shown[:CLEAREST]
    )


def remarks(findings: Findings) -> tuple[str, ...]:
    """Return the caller's notes, and what concerns several classes at once."""
    edge = sum(c.C_at_edge and not c.C_tied and c.status == "ok" for c in findings.classes)
    unfinished = sum(not c.converged and c.status == "ok" for c in findings.classes)
    lines = list(findings.notes)
    if edge:
        lines.append(
            f"{plural(edge, 'class', 'classes')} chose a C on the edge of the grid, where a better one may lie "
            "beyond it (marked △ in the overview): widen Cs."
        )
    if unfinished:
        lines.append(
            f"{plural(unfinished, 'class', 'classes')} stopped before the solver converged (marked ◇ in the "
            "overview): raise max_iter or tol, or drop the largest Cs."
        )
    return tuple(lines)
