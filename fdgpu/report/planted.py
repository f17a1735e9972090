"""What was planted and whether it was found: the rows and the mean of the table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fdgpu.findings import ClassFindings, PlantedTruth
from fdgpu.report.classes import ClassView
from fdgpu.report.figures import LinearScale
from fdgpu.report.formats import percent

DOTS_WIDTH, DOTS_HEIGHT = 220, 26
SHARE_SCALE = LinearScale((0.0, 1.0), (8.0, DOTS_WIDTH - 8.0))

Shares = tuple[float, float, float]  # of the minority among the top K: by decision value, by confidence, by chance
Verdict = tuple[str, str, str]  # words, sign, role
PlantedRow = tuple[ClassView, PlantedTruth, Verdict, Shares]


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
