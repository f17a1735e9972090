"""The top of the page: key figures, the clearest failures, what the reader should know, and what was planted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fdgpu.findings import ClassFindings, Findings, PlantedTruth, Thumbnails
from fdgpu.report.classes import ClassView
from fdgpu.report.figures import LinearScale
from fdgpu.report.formats import count, duration, percent, plural, precise
from fdgpu.report.pictures import Encoding, Strip, make_strip

CLEAREST = 3
CLEAREST_PICTURES = 4
DOTS_WIDTH, DOTS_HEIGHT = 220, 26
SHARE_SCALE = LinearScale((0.0, 1.0), (8.0, DOTS_WIDTH - 8.0))


def key_figures(findings: Findings) -> tuple[tuple[str, str, str], ...]:
    """Return the numbers of the whole audit that stand large: (value, name, the line below)."""
    found = sum(c.found for c in findings.classes)
    below = f"{count(found)} with a failure direction"
    if findings.tested:
        below += f", {count(sum(c.significant for c in findings.classes))} distinguishable from chance"
    errors = sum(c.n_errors for c in findings.classes)
    samples = sum(c.n for c in findings.classes)
    splits = " · ".join(f"{split} {count(n)}" for split, n in findings.n_images.items())
    return (
        (count(len(findings.classes)), "classes", below),
        (count(sum(findings.n_images.values())), "images", splits),
        (count(errors), "errors to learn from", f"among {plural(samples, f'{findings.fitted_on} image')}"),
        (duration(sum(findings.timings.values())), "in all", f"on {findings.device}"),
    )


def clearest(
    views: Sequence[ClassView], thumbnails: Thumbnails, encoding: Encoding
) -> tuple[tuple[ClassView, Strip], ...]:
    """Return the first of ``views``, the clearest first, that are not chance, each with its hardest pictures."""
    shown = [v for v in views if not v.chance and math.isfinite(v.findings.cv_score) and v.findings.hard_examples]
    return tuple(
        (
            view,
            make_strip("hard", "", "", view.findings.hard_examples[:CLEAREST_PICTURES], thumbnails, encoding),
        )
        for view in shown[:CLEAREST]
    )


def how_tested(findings: Findings) -> str:
    """Say how the directions were tested; nothing where they were not."""
    if not findings.tested:
        return ""
    asked = plural(findings.n_permutations, "permutation")
    early = sum(0 < c.n_permutations < findings.n_permutations for c in findings.classes)
    words = f"{asked} of right and wrong a class; smallest p that {asked} can show: {precise(findings.p_value_min)}"
    if early:
        words += f"; {plural(early, 'class', 'classes')} stopped early, with a p-value that was settled"
    return words


def _test_remarks(findings: Findings) -> list[str]:
    if not findings.tested:
        return []
    if findings.p_value_min > findings.fdr:
        needed = math.ceil(1 / findings.fdr) - 1
        return [
            f"{plural(findings.n_permutations, 'permutation')} cannot show a p below {precise(findings.p_value_min)}, "
            f"so no class can be significant at a false discovery rate of {precise(100 * findings.fdr)}%: "
            f"use at least {count(needed)}, and more for many classes."
        ]
    if any(c.found for c in findings.classes) and not any(c.significant for c in findings.classes):
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


# --- what was planted -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shares:
    """Shares of the minority among the top K, and their positions in the dot plot (None: no number)."""

    decision: float
    confidence: float
    chance: float

    @property
    def dots(self) -> dict[str, float | None]:
        """Return the horizontal position of each mark within ``DOTS_WIDTH``."""
        values = {"decision": self.decision, "confidence": self.confidence, "chance": self.chance}
        return {name: round(SHARE_SCALE(v), 1) if math.isfinite(v) else None for name, v in values.items()}

    @property
    def summary(self) -> str:
        """Say the three numbers in words."""
        return (
            f"share of the minority: {percent(self.decision, 0)} by decision value, "
            f"{percent(self.confidence, 0)} by confidence, {percent(self.chance, 0)} by chance"
        )


@dataclass(frozen=True)
class PlantedRow:
    """One planted class: what is known of it, and the words, the sign and the role of the verdict."""

    index: int
    name: str
    truth: PlantedTruth
    verdict: str
    mark: str
    role: str
    shares: Shares


def planted_view(classes: Sequence[ClassView]) -> tuple[tuple[PlantedRow, ...], Shares, str] | None:
    """Return the table of the planted classes: rows, mean and a sentence; None where nothing was planted."""
    rows = tuple(_row(view) for view in classes if any(mode.planted for mode in view.findings.modes))
    if not rows:
        return None
    mean = Shares(
        decision=_mean([row.shares.decision for row in rows]),
        confidence=_mean([row.shares.confidence for row in rows]),
        chance=_mean([row.shares.chance for row in rows]),
    )
    first = sum(row.role == "first" for row in rows)
    top_three = first + sum(row.role == "near" for row in rows)
    summary = (
        f"Of {len(rows)} planted failures, {first} were named by the very first hard caption "
        f"and {top_three} within the first three."
    )
    return rows, mean, summary


def _row(view: ClassView) -> PlantedRow:
    number, planted = best_mode(view.findings)
    verdict, mark, role = rank_verdict(planted.named_at, withheld=planted.named_but_withheld)
    if len(view.modes) > 1 and planted.named_at is not None:
        verdict += f", by mode {number}"
    return PlantedRow(
        index=view.index,
        name=view.findings.name,
        truth=planted,
        verdict=verdict,
        mark=mark,
        role=role,
        shares=Shares(planted.share_by_decision, planted.share_by_confidence, planted.share_by_chance),
    )


def best_mode(one: ClassFindings) -> tuple[int, PlantedTruth]:
    """Return the mode, counted from 1, that names what was planted first, or shows most of it; and its judgement."""
    judged = [(number, mode.planted) for number, mode in enumerate(one.modes, 1) if mode.planted]

    def rank(entry: tuple[int, PlantedTruth]) -> tuple[float, float]:
        named_at, share = entry[1].named_at, entry[1].share_by_decision
        return math.inf if named_at is None else named_at, -share if math.isfinite(share) else math.inf

    return min(judged, key=rank)


def rank_verdict(named_at: int | None, *, withheld: bool = False) -> tuple[str, str, str]:
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
