"""The top of the page: key figures, the clearest failures, and what the reader should know."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fdgpu.findings import Findings, Thumbnails
from fdgpu.report.classes import ClassView
from fdgpu.report.formats import count, duration, plural, precise
from fdgpu.report.pictures import Encoding, Strip, make_strip

NOT_TESTED = (
    "No class was tested: random errors are separated as well, and nobody knows here which of these failures are more "
    "than that. Ask for permutations (--permutations 200, n_permutations=200)."
)
CLEAREST = 3
CLEAREST_PICTURES = 4


def key_figures(findings: Findings) -> tuple[tuple[str, str, str], ...]:
    """Return the numbers of the whole audit: each with its name and a line below it."""
    found = sum(c.found for c in findings.classes)
    of = f"of {plural(len(findings.conditions), 'condition')}, " if findings.conditions else ""
    below = f"{of}{count(found)} with a failure direction"
    if findings.tested:
        below += f", {count(sum(c.significant for c in findings.classes))} distinguishable from chance"
    errors = sum(c.n_errors for c in findings.classes)
    what = "answer" if findings.conditions else "image"
    samples = sum(c.n for c in findings.classes)
    splits = " · ".join(f"{split} {count(n)}" for split, n in findings.n_images.items())
    return (
        (count(len(findings.classes)), "classes", below),
        (count(sum(findings.n_images.values())), "images", splits),
        (count(errors), "errors to learn from", f"among {plural(samples, f'{findings.fitted_on} {what}')}"),
        (duration(sum(findings.timings.values())), "in all", f"on {findings.device}"),
    )


def clearest(views: Sequence[ClassView], thumbnails: Thumbnails, encoding: Encoding) -> list[tuple[ClassView, Strip]]:
    """Return the first of ``views`` that are significant and have something to show, with their hardest pictures.

    ``views`` come ranked, the clearest first.
    """
    shown = [v for v in views if v.findings.significant and v.findings.hard_examples]
    return [
        (view, make_strip("hard", "", "", view.findings.hard_examples[:CLEAREST_PICTURES], thumbnails, encoding))
        for view in shown[:CLEAREST]
    ]


def how_tested(findings: Findings) -> str:
    """Describe how the directions were tested; nothing where they were not."""
    if not findings.tested:
        return ""
    drawn = [c.n_permutations for c in findings.classes if c.tested]
    if not drawn:
        return ""
    between = f"{count(min(drawn))} to " if min(drawn) < max(drawn) else ""
    what = "losses and answers" if findings.uses_loss else "right and wrong"
    words = f"{between}{plural(max(drawn), 'permutation')} of {what} a class"
    if max(drawn) > findings.n_permutations or min(drawn) < findings.n_permutations:
        words += ", as many as show whether it is significant"
    seconds = findings.timings.get("test directions")
    return words if seconds is None else f"{words}, in {duration(seconds)}"


def _test_remarks(findings: Findings) -> list[str]:
    found = sum(c.found for c in findings.classes)
    if not findings.tested:
        return [NOT_TESTED] if found else []
    if findings.p_value_min > findings.fdr:
        needed = math.ceil(1 / findings.fdr) - 1
        return [
            f"{plural(findings.n_permutations, 'permutation')} cannot show a p below {precise(findings.p_value_min)}, "
            f"so no class can be significant at a false discovery rate of {precise(100 * findings.fdr)}%: "
            f"use at least {count(needed)}, and more for many classes."
        ]
    if findings.p_value_min > findings.fdr / max(1, found):
        return [
            f"{plural(findings.n_permutations, 'permutation')} cannot show a p below {precise(findings.p_value_min)}: "
            f"one true failure among {plural(found, 'class', 'classes')} could not be told from chance. Let them be "
            "drawn on where they do not decide (--stop-after 10, stop_after=10)."
        ]
    if found and not any(c.significant for c in findings.classes):
        return [
            "No class’s failures can be told from chance: shuffled right and wrong answers are separated as well. Add "
            "validation images, or take what follows as noise."
        ]
    return []


def remarks(findings: Findings, views: Sequence[ClassView]) -> tuple[str, ...]:
    """Return the caller's notes, and what concerns several classes at once."""
    edge = sum(v.edge is not None for v in views)
    unfinished = sum(v.unconverged for v in views)
    lines = [*findings.notes, *_test_remarks(findings)]
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
