"""When a caption is reliable: its rank is stable, or its accuracy gap holds; and nothing speaks against it.

The thresholds are measured on the bundled world: ``python -m benchmarks.trust``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fdgpu.captions.gaps import AccuracyGap
from fdgpu.captions.ranks import RankStability

TOP_SHARE = 0.9  # of the halves in which a stable caption, or one that says the same, is among the top
NOISE_LEVEL = 0.05  # of its lean being noise
SHOWN = 5  # captions of an end that are judged
GAP_LEVEL = 1 - 0.05 / SHOWN  # of a gap's interval: those of an end hold together at 95 %
CAPTION_RULES = {"top_share": TOP_SHARE, "noise_level": NOISE_LEVEL, "gap_level": GAP_LEVEL, "shown": SHOWN}


@dataclass(frozen=True)
class Verdict:
    """Whether a caption is reliable, and what decided: see :class:`fdgpu.findings.CaptionEvidence`."""

    reliable: bool
    decided_by: str


def is_stable(stability: RankStability) -> bool:
    """Whether a caption stays at the top, further than noise would lift it; not without resamples (NaN)."""
    return stability.share >= TOP_SHARE and stability.noise_p <= NOISE_LEVEL


def judge(
    stability: RankStability, gap: AccuracyGap, *, hard: bool, held_out: bool = True, chance: bool = False
) -> Verdict:
    """Weigh what is known of one caption.

    Args:
        stability: of its rank.
        gap: of the images nearest to it.
        hard: a hard caption should have a gap below zero, an easy one above.
        held_out: the images took no part in the fit; a gap of others is optimistic and proves nothing.
        chance: the caption's mode was tested, and cannot be told from chance.
    """
    below, above = gap.high < 0, gap.low > 0
    for_it, against_it = (below, above) if hard else (above, below)
    if chance:
        return Verdict(reliable=False, decided_by="chance")
    if against_it:
        return Verdict(reliable=False, decided_by="contradicted")
    reasons = [name for name, holds in (("rank", is_stable(stability)), ("gap", for_it and held_out)) if holds]
    return Verdict(reliable=bool(reasons), decided_by=" and ".join(reasons) or "neither")
