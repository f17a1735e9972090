"""Which word, not only which caption: what each word of a grammar does to the scores, with its interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import to_numpy
from fdgpu.captions.additive import AdditiveFit, fit_additive
from fdgpu.captions.grammar import CaptionGrammar, Word
from fdgpu.errors import InputError
from fdgpu.findings import WordEffect

AGAINST = ("mean", "left out")


@dataclass(frozen=True)
class WordEffects:
    """The effect of every word of a grammar that its captions can tell, by slot and in the grammar's order.

    ``explained`` is R²: the share of the scores' variance that the words explain on their own, without what they do
    only together; NaN where all scores are the same.
    """

    effects: tuple[WordEffect, ...]
    explained: float

    def strongest(self, most: int) -> tuple[WordEffect, ...]:
        """Return the effects that have an interval, the largest first; at most so many."""
        sure = [effect for effect in self.effects if np.isfinite(effect.half_width)]
        return tuple(sorted(sure, key=lambda effect: -abs(effect.effect))[:most])


NO_EFFECTS = WordEffects((), float("nan"))


def word_effects(grammar: CaptionGrammar, scores: Any, places: Any = None, *, against: str = "mean") -> WordEffects:
    """Fit captions' scores by their words: each slot adds its own, by least squares.

    A word is measured against the mean of what its slot may hold, nothing included; a slot that holds one word all
    through has no effect. Against leaving the slot out would be another way, but those captions are few, and score
    further out, since a difference that is all one word's is not diluted: on the demo the intervals are up to eight
    times as wide.

    The 95 % interval of an effect covers what the words do only together: how far the mean over the captions with the
    word may lie from that over others like them, each caption with a variance of its own (HC3). It does not cover how
    sure the direction is, which is what permutations are for.

    Args:
        grammar: the captions.
        scores: (m,) a score each, the alignment say; NaN for a caption that has none, such as the reference.
        places: (m,) their places in the grammar; by default all of it, in order.
        against: ``"mean"``, or ``"left out"`` to measure against leaving the slot out, where captions do.

    Raises:
        InputError: for another ``against``, if scores and places do not go together, or a score is infinite.
    """
    if against not in AGAINST:
        raise InputError(f"against is {against!r}: use {' or '.join(map(repr, AGAINST))}")
    at = np.arange(len(grammar)) if places is None else to_numpy(places, "places")
    values = _checked(to_numpy(scores, "scores"), len(at))
    scored = ~np.isnan(values)
    words = grammar.word_places(at[scored])
    slots = [
        _Slot.of(name, listed, at, against) for (name, listed), at in zip(grammar.slots.items(), words.T, strict=True)
    ]
    if not scored.any():
        return NO_EFFECTS
    fit = fit_additive(words, values[scored], [slot.baseline for slot in slots])
    return WordEffects(tuple(_effects(slots, fit)), fit.explained)


@dataclass(frozen=True)
class _Slot:
    """A slot, how many of the captions have each of its words, and what its words are measured against."""

    name: str
    words: tuple[Word, ...]
    counts: NDArray[np.int64]
    against: str

    @classmethod
    def of(cls, name: str, words: tuple[Word, ...], places: NDArray[np.int64], against: str) -> _Slot:
        counts = np.bincount(places, minlength=len(words))
        left_out = None in words and counts[words.index(None)] > 0
        return cls(name, words, counts, against if left_out else "mean")

    @property
    def baseline(self) -> NDArray[np.float64]:
        """Weights (w,) of the words that make up what the others are measured against."""
        seen = self.counts > 0
        if self.against == "left out":
            seen = np.array([word is None for word in self.words])
        return np.asarray(seen / max(1, seen.sum()), np.float64)

    @property
    def varies(self) -> bool:
        """Whether there is anything to compare."""
        return int((self.counts > 0).sum()) > 1


def _effects(slots: list[_Slot], fit: AdditiveFit) -> Iterator[WordEffect]:
    for slot, effects, half_widths in zip(slots, fit.effects, fit.half_widths, strict=True):
        for word, effect, half_width, n in zip(slot.words, effects, half_widths, slot.counts, strict=True):
            if slot.varies and word is not None and np.isfinite(effect):
                yield WordEffect(slot.name, word, float(effect), float(half_width), int(n), slot.against)


def _checked(scores: NDArray[Any], captions: int) -> NDArray[np.float64]:
    if scores.shape != (captions,):
        raise InputError(f"scores has shape {scores.shape} for {captions} captions: pass one score a caption")
    if np.isinf(scores).any():
        raise InputError("scores holds infinite values: pass NaN for a caption without a score")
    return np.asarray(scores, np.float64)
