"""What a plot calls its lines and bars, in which colour, and in which order they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

RED, BLUE, GREY, DARK = "#b3261e", "#1f5fa8", "#8a8a8a", "#333333"
COLOURS = {  # in the order in which bars stand
    "base": DARK,
    "random": GREY,
    "confidence": BLUE,
    "early-stopped confidence": "#5fa3d9",
    "Learning from Failure": "#8e5bb5",
    "Domino": "#c98a12",
    "reference caption": "#b9a27c",
    "hard caption": "#e0776f",
    "fdgpu": RED,
    "fdgpu, latent": "#7d0d45",
    "oracle": "#2b8a3e",
    "CLIP": RED,  # of latent spaces ours
    "the model's own": DARK,
    "another network": "#8e5bb5",
    "reference pictures": "#b5b5b5",  # lighter than what they may stand beside
    "easy pictures": "#5fa3d9",
    "hard pictures": "#e0776f",
}
SIDES = {"hard": RED, "easy": BLUE, "all": GREY, "neutral": GREY}  # a name with one of these words
OTHERS = (DARK, "#8e5bb5", "#c98a12", "#2a8c82")  # of neither side


def colour(name: str, number: int) -> str:
    """Return the colour of a name: hard is red and easy is blue in every plot; else one by its number."""
    sides = (own for word, own in SIDES.items() if word in name.split())
    return COLOURS.get(name) or next(sides, OTHERS[number % len(OTHERS)])


def in_order(names: Iterable[str]) -> list[str]:
    """Return each name once, those of ``COLOURS`` before others."""
    order = list(COLOURS)
    return sorted(dict.fromkeys(names), key=lambda name: order.index(name) if name in order else len(order))


def short(measures: Sequence[str]) -> list[str]:
    """Return the names of measures without the words that all of them begin or end with; "all" where none is left."""
    words = [re.findall(r"[^\s,:]+", measure) for measure in measures]
    if len(words) < 2:
        return list(measures)
    first = _shared(words)
    last = _shared([own[first:][::-1] for own in words])
    return [" ".join(own[first : len(own) - last]) or "all" for own in words]


def _shared(words: Sequence[Sequence[str]]) -> int:
    """Return how many words all of them begin with."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
