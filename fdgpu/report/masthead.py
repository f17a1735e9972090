"""The top of the page: the clearest failures, and what the reader should know."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fdgpu.findings import Findings, Thumbnails
from fdgpu.report.classes import ClassView, ModeView
from fdgpu.report.formats import count, duration, plural, precise
from fdgpu.report.listing import Listing
from fdgpu.report.pictures import Encoding, Strip, make_strip

NOT_TESTED = (
    "No class was tested: random errors are separated as well, and nobody knows here which of these failures are more "
    "than that."
)
CLEAREST = 12
CLEAREST_PICTURES = 5


def clearest(
    views: Sequence[ClassView], findings: Findings, thumbnails: Thumbnails, encoding: Encoding, listing: Listing
) -> tuple[list[tuple[ClassView, ModeView, Strip]], int]:
    """Return the first failures of ``views`` with their hardest pictures, and how many more there are.

    ``views`` come ranked, the clearest first. Where classes were tested, a failure is what chance does not explain.
    """
    found = [(view, mode) for view in views for mode in view.modes]
    if findings.tested:
        found = [(view, mode) for view, mode in found if mode.findings.significant]

    def pictures(view: ClassView, mode: ModeView) -> Strip:
        shown, rows = mode.findings.hard_examples[:CLEAREST_PICTURES], listing.rows_of(view.index)
        return make_strip("hard", "", "", shown, thumbnails, encoding, rows)

    return [(view, mode, pictures(view, mode)) for view, mode in found[:CLEAREST]], max(0, len(found) - CLEAREST)


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
    found, advice = sum(c.found for c in findings.classes), findings.interface.advice
    if not findings.tested:
        ask = advice("Ask for permutations (--permutations 200).", "Ask for permutations (n_permutations=200).")
        return [f"{NOT_TESTED} {ask}"] if found else []
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
            f"drawn on where they do not decide ({advice('--stop-after 10', 'stop_after=10')})."
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
    advice = findings.interface.advice
    lines = [*findings.notes, *_test_remarks(findings)]
    if edge:
        lines.append(
            f"{plural(edge, 'class', 'classes')} chose a C on the edge of the grid, where a better one may lie beyond "
            f"it{advice('', ': widen Cs')}. Their sections say which."
        )
    if unfinished:
        lines.append(
            f"{plural(unfinished, 'class', 'classes')} stopped before the solver converged, so their directions are "
            f"approximate{advice('', ': raise max_iter or tol, or drop the largest Cs')}. Their sections say which."
        )
    return tuple(lines)
