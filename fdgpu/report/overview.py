"""What the page shows above its classes: the clearest failures, remarks, errors by cause, and what was planted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fdgpu.findings import Cause, ClassFindings, Example, Findings, PlantedTruth, Thumbnails
from fdgpu.report.classes import ClassView, ModeView
from fdgpu.report.figures import LinearScale
from fdgpu.report.listing import Listing
from fdgpu.report.pictures import Encoding, Strip, make_strip
from fdgpu.report.wording import count, duration, percent, plural, precise

NOT_TESTED = (
    "No class was tested: random errors are separated as well, and nobody knows here which of these failures are more "
    "than that."
)
CLEAREST = 12
CLEAREST_PICTURES = 5
PICTURES = 10  # of each list, the surest first
HEADINGS = {
    Cause.LABEL: ("Label likely wrong", "they look as what the model took them for usually looks"),
    Cause.DUPLICATE: ("Duplicates", "of a picture of another split, or with another label"),
    Cause.MODEL: ("The model’s own", "neither the label nor a duplicate explains them"),
}
DOTS_WIDTH, DOTS_HEIGHT = 220, 26
SHARE_SCALE = LinearScale((0.0, 1.0), (8.0, DOTS_WIDTH - 8.0))
Shares = tuple[float, float, float]  # of the minority among the top K: by decision value, by confidence, by chance
Verdict = tuple[str, str, str]  # words, sign, role
PlantedRow = tuple[ClassView, PlantedTruth, Verdict, Shares]


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


# --- is it the model, or the data? -----------------------------------------------------------------------------------


def pictures_of_causes(findings: Findings) -> dict[Cause, tuple[Example, ...]]:
    """Return the first images of each list."""
    if findings.causes is None:
        return {}
    return {cause: tuple(one.example for one in listed[:PICTURES]) for cause, listed in findings.causes.lists.items()}


def cause_strips(findings: Findings, thumbnails: Thumbnails, encoding: Encoding) -> tuple[Strip, ...]:
    """Return a row of pictures of each list that has some."""
    return tuple(
        make_strip("plain", *HEADINGS[cause], pictures, thumbnails, encoding)
        for cause, pictures in pictures_of_causes(findings).items()
        if pictures
    )


def cause_words(counts: Sequence[int]) -> str:
    """Say how many errors are due to a label, to a duplicate, and to the model.

    >>> cause_words((3, 1, 40))
    'label likely wrong 3, duplicates 1, the model’s own 40'
    """
    label, duplicate, model = counts
    parts = [("label likely wrong", label), ("duplicates", duplicate), ("the model’s own", model)]
    return ", ".join(f"{what} {count(n)}" for what, n in parts if n or what == "the model’s own")


# --- what was planted ------------------------------------------------------------------------------------------------


def planted_rows(classes: Sequence[ClassView]) -> tuple[list[PlantedRow], Shares, str] | None:
    """Return the rows of the planted classes, their mean and a summary; None where nothing was planted."""
    rows = [_row(view) for view in classes if any(mode.planted for mode in view.findings.modes)]
    if not rows:
        return None
    by_decision, by_confidence, by_chance = zip(*(shares for *_, shares in rows), strict=True)
    roles = [role for _, _, (_, _, role), _ in rows]
    first = roles.count("first")
    summary = (
        f"Of {len(rows)} planted failures, {first} were named by the very first hard caption "
        f"and {first + roles.count('near')} within the first three."
    )
    return rows, (_mean(by_decision), _mean(by_confidence), _mean(by_chance)), summary


def _row(view: ClassView) -> PlantedRow:
    number, planted = best_mode(view.findings)
    words, mark, role = rank_verdict(planted.named_at, withheld=planted.named_but_withheld)
    if len(view.modes) > 1 and planted.named_at is not None:
        words += f", by mode {number}"
    shares = (planted.share_by_decision, planted.share_by_confidence, planted.share_by_chance)
    return view, planted, (words, mark, role), shares


def dots(shares: Shares) -> list[float | None]:
    """Return where each share lies within ``DOTS_WIDTH`` (None: no number)."""
    return [round(SHARE_SCALE(share), 1) if math.isfinite(share) else None for share in shares]


def shares_summary(shares: Shares) -> str:
    """Return the three numbers in words."""
    by_decision, by_confidence, by_chance = (percent(share, 0) for share in shares)
    return (
        f"share of the minority: {by_decision} by decision value, {by_confidence} by confidence, {by_chance} by chance"
    )


def best_mode(one: ClassFindings) -> tuple[int, PlantedTruth]:
    """Return the mode, counted from 1, that names what was planted first, or shows most of it; and its judgement."""
    judged = [(number, mode.planted) for number, mode in enumerate(one.modes, 1) if mode.planted]

    def rank(entry: tuple[int, PlantedTruth]) -> tuple[float, float]:
        named_at, share = entry[1].named_at, entry[1].share_by_decision
        return math.inf if named_at is None else named_at, -share if math.isfinite(share) else math.inf

    return min(judged, key=rank)


def rank_verdict(named_at: int | None, *, withheld: bool = False) -> Verdict:
    """Return the words, the sign and the role of the rank (from 1) at which the attribute was named."""
    if named_at is None:
        return "not named", "✗", "missed"
    if withheld:
        return f"named at rank {named_at}, but withheld", "✗", "missed"
    if named_at == 1:
        return "named at rank 1", "✓", "first"
    if named_at <= 3:
        return f"in the top three, rank {named_at}", "✓", "near"
    return f"not in the top three, rank {named_at}", "✗", "missed"


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan
