"""Grammars of WordNet's adjectives for what can be seen, from 10^5 to 10^8 captions."""

from __future__ import annotations

from benchmarks.growing.directions import CLASS
from fdgpu import CaptionGrammar, visual_adjectives

Words = list[str | None]


def _or_nothing(*kinds: str) -> Words:
    return [None, *visual_adjectives(*kinds)]


def _backgrounds(*kinds: str) -> Words:
    return [None, *(f"on a {adjective} background" for adjective in visual_adjectives(*kinds))]


def grammars(*, quick: bool = False) -> dict[str, CaptionGrammar]:
    """Return the grammars by name; only the smallest where it has to be ``quick``."""
    small = CaptionGrammar(
        "a photo of a {size} {colour} {noun} {background}",
        size=_or_nothing("size"),
        colour=_or_nothing("colour"),
        noun=[CLASS],
        background=_backgrounds("colour"),
    )
    if quick:
        return {"three slots": small}
    four = CaptionGrammar(
        "a {light} photo of a {size} {colour} {noun} {background}",
        light=_or_nothing("light"),
        size=_or_nothing("size"),
        colour=_or_nothing("colour"),
        noun=[CLASS],
        background=_backgrounds("colour"),
    )
    five = CaptionGrammar(
        "a {light} photo of a {size} {state} {colour} {noun} {background}",
        light=_or_nothing("light"),
        size=_or_nothing("size"),
        state=_or_nothing("age", "condition"),
        colour=_or_nothing("colour"),
        noun=[CLASS],
        background=_backgrounds("colour", "light"),
    )
    return {"three slots": small, "four slots": four, "five slots": five}
