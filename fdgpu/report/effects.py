"""Which words: dots and intervals by slot, around zero; ``templates/effects.html`` draws them.

Positions are percentages of the plot's width, so that it grows and shrinks with the page while dots stay round.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fdgpu.findings import ModeFindings, WordEffect
from fdgpu.report.formats import fixed, percent, signed
from fdgpu.report.scales import LinearScale

MARGIN = 4.0  # per cent of the plot on either side, for half a dot and half a label
AGAINST = {"mean": "against the slot’s average", "left out": "against leaving it out"}


@dataclass(frozen=True)
class EffectDot:
    """One word: its dot, and its interval from ``start`` over ``length``; ``role`` "unsure" if that covers zero."""

    word: str
    role: str
    at: float
    start: float
    length: float
    value: str


@dataclass(frozen=True)
class SlotDots:
    """The words of one slot, the hardest first; ``against`` says what they are measured against."""

    slot: str
    against: str
    dots: tuple[EffectDot, ...]


@dataclass(frozen=True)
class EffectTick:
    """A labelled place on the axis that all slots share."""

    at: float
    label: str


@dataclass(frozen=True)
class EffectChart:
    """The strongest words of a failure mode; ``explained`` is a sentence about R²."""

    slots: tuple[SlotDots, ...]
    ticks: tuple[EffectTick, ...]
    explained: str


def effect_chart(mode: ModeFindings) -> EffectChart | None:
    """Lay out a mode's word effects on one scale, symmetric around zero; None without any."""
    drawn = [one for one in mode.word_effects if math.isfinite(one.effect) and math.isfinite(one.half_width)]
    reach = max((abs(one.effect) + one.half_width for one in drawn), default=0.0)
    if reach <= 0:
        return None
    x = LinearScale((-reach, reach), (MARGIN, 100 - MARGIN))
    ticks = x.ticks(5)
    slots = dict.fromkeys((one.slot, one.against) for one in drawn)
    return EffectChart(
        slots=tuple(
            _slot(slot, against, [one for one in drawn if (one.slot, one.against) == (slot, against)], x)
            for slot, against in slots
        ),
        ticks=tuple(EffectTick(round(x(v), 1), signed(v, _digits(ticks)) if v else "0") for v in ticks),
        explained=_explained(mode.explained_by_words),
    )


def _slot(slot: str, against: str, effects: Sequence[WordEffect], x: LinearScale) -> SlotDots:
    dots = tuple(_dot(one, x) for one in sorted(effects, key=lambda one: one.effect))
    return SlotDots(slot.replace("_", " "), AGAINST.get(against, against), dots)


def _dot(one: WordEffect, x: LinearScale) -> EffectDot:
    low, high = one.effect - one.half_width, one.effect + one.half_width
    return EffectDot(
        word=one.word,
        role="unsure" if low <= 0 <= high else "hard" if one.effect < 0 else "easy",
        at=round(x(one.effect), 1),
        start=round(x(low), 1),
        length=round(x(high) - x(low), 1),
        value=f"{signed(one.effect)} ± {fixed(one.half_width)}",
    )


def _digits(ticks: Sequence[float]) -> int:
    """Return the decimals that tell the axis' ticks apart."""
    return max(1, math.ceil(-math.log10(ticks[1] - ticks[0]) - 1e-9))


def _explained(share: float) -> str:
    if not math.isfinite(share):
        return ""
    return f"Words on their own explain {percent(max(share, 0.0), 0)} of how the captions’ alignments vary (R²)."
