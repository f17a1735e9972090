"""What is said of a caption's reliability: the figures that decided, and why one is withheld."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from fdgpu.findings import CaptionEvidence, ScoredCaption
from fdgpu.report.formats import count, fixed, percent, signed

MOST_ALSO = 2  # captions of a group that are named beside its head
WHY_WITHHELD = {
    "chance": "its failure mode is not distinguishable from chance",
    "contradicted": "the images nearest to it say the opposite",
    "neither": "neither its rank nor its accuracy gap holds",
}


@dataclass(frozen=True)
class WithheldCaption:
    """A caption that is not reliable: the end it stands at, why, and the figures."""

    role: str
    caption: str
    alignment: float
    why: str
    proof: str


def withheld(hard: Sequence[ScoredCaption], easy: Sequence[ScoredCaption]) -> tuple[WithheldCaption, ...]:
    """Return the captions of both ends that are not reliable, hard ones first."""
    return tuple(
        WithheldCaption(role, c.caption, c.alignment, WHY_WITHHELD.get(c.evidence.decided_by, ""), proof(c.evidence))
        for role, captions in (("hard", hard), ("easy", easy))
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
    """Say the figures of a caption: its rank over the halves, and the accuracy of the images nearest to it."""
    if evidence is None:
        return ""
    parts = [f"rank {count(evidence.rank)} of {count(evidence.candidates)}"]
    if math.isfinite(evidence.top_share):
        ranks = f"{fixed(evidence.rank_low, 0)}–{fixed(evidence.rank_high, 0)}"
        parts[0] += f", {ranks} over halves (top {count(evidence.top)} in {percent(evidence.top_share, 0)})"
    if math.isfinite(evidence.gap):
        low, high = (signed(100 * end, 0) for end in (evidence.gap_low, evidence.gap_high))
        parts.append(
            f"nearest {count(evidence.nearest)} are {percent(evidence.nearest_accuracy, 0)} right, "
            f"{signed(100 * evidence.gap, 0)} points ({low} to {high})"
        )
    return "; ".join(parts)
