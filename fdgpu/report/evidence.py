"""Captions as the page words them: their bars, the figures by which they are reliable, and why one is withheld."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from fdgpu.findings import CaptionEvidence, DecidedBy, ScoredCaption, Side
from fdgpu.report.formats import count, fixed, percent, signed

MOST_ALSO = 2  # captions of a group that are named beside its first
WHY_WITHHELD = {
    DecidedBy.CHANCE: "its failure mode is not distinguishable from chance",
    DecidedBy.CONTRADICTED: "the images nearest to it say the opposite",
    DecidedBy.NEITHER: "neither its rank nor its accuracy gap holds",
}


@dataclass(frozen=True)
class CaptionRow:
    """A caption of a side, its alignment, and the words beside it.

    ``length`` of its bar is a share (0 to 100) of the longest in the class. ``also`` names captions that say the same,
    ``proof`` the figures by which it was judged, ``why`` it is withheld.
    """

    side: Side
    caption: str
    alignment: float
    length: float = 0.0
    also: str = ""
    proof: str = ""
    why: str = ""


def caption_bars(
    hard: Sequence[ScoredCaption], easy: Sequence[ScoredCaption]
) -> tuple[tuple[CaptionRow, ...], tuple[CaptionRow, ...]]:
    """Return the bars of both sides, on one scale, so that hard and easy can be compared."""
    longest = max((abs(c.alignment) for c in (*hard, *easy) if math.isfinite(c.alignment)), default=0.0)

    def bar(caption: ScoredCaption, side: Side) -> CaptionRow:
        towards = -caption.alignment if side is Side.HARD else caption.alignment
        share = towards / longest if longest > 0 and math.isfinite(towards) else 0.0
        length = round(100 * max(share, 0.0), 1)
        return CaptionRow(side, caption.caption, caption.alignment, length, also(caption), proof(caption.evidence))

    return tuple(bar(c, Side.HARD) for c in hard), tuple(bar(c, Side.EASY) for c in easy)


def withheld(hard: Sequence[ScoredCaption], easy: Sequence[ScoredCaption]) -> tuple[CaptionRow, ...]:
    """Return the captions of both sides that are not reliable, hard ones first."""
    return tuple(
        CaptionRow(
            side,
            c.caption,
            c.alignment,
            proof=proof(c.evidence),
            why=WHY_WITHHELD.get(DecidedBy(c.evidence.decided_by), ""),
        )
        for side, captions in ((Side.HARD, hard), (Side.EASY, easy))
        for c in captions
        if c.evidence is not None and c.withheld
    )


def also(caption: ScoredCaption) -> str:
    """Name the captions that say the same, without the words with which all of them start."""
    if not caption.also:
        return ""
    words = [text.split() for text in (caption.caption, *caption.also)]
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
    start = min(shared, min(map(len, words)) - 1)  # leave a word of each
    named = [" ".join(["…", *own[start:]] if start > 0 else own) for own in words[1 : 1 + MOST_ALSO]]
    more = len(caption.also) - len(named)
    return f"also {', '.join(named)}" + (f", and {count(more)} more" if more else "")


def proof(evidence: CaptionEvidence | None) -> str:
    """Say the figures of a caption: its rank over the resamples, and the accuracy of the images nearest to it."""
    if evidence is None:
        return ""
    parts = [f"rank {count(evidence.rank)} of {count(evidence.candidates)}"]
    if math.isfinite(evidence.top_share):
        ranks = f"{fixed(evidence.rank_low, 0)}–{fixed(evidence.rank_high, 0)}"
        parts[0] += f", {ranks} over resamples (top {count(evidence.top)} in {percent(evidence.top_share, 0)})"
    if math.isfinite(evidence.gap):
        low, high = (signed(100 * bound, 0) for bound in (evidence.gap_low, evidence.gap_high))
        parts.append(
            f"nearest {count(evidence.nearest)} are {percent(evidence.nearest_accuracy, 0)} right, "
            f"{signed(100 * evidence.gap, 0)} points ({low} to {high})"
        )
    return "; ".join(parts)
