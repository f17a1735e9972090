"""``visual_adjectives``: words for what can be seen of a thing, to grow captions from."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from fdgpu.errors import InputError


def visual_adjectives(*kinds: str) -> list[str]:
    """Return common adjectives for what can be seen, in the order of the alphabet.

    WordNet 3.0 says which adjectives are values of a noun ("large" of size) and which are like those ("huge"). Here are
    the values of nouns for what a picture shows, by the first name of each synset, where this is the first thing that
    the name means and it occurs in WordNet's tagged texts; ``python -m tools.derive_word_lists`` lists them.

    Args:
        kinds: some of "colour", "light", "size", "shape", "surface", "build", "age", "beauty", "condition" and
            "place"; by default all of them.

    Raises:
        InputError: for a kind that there is not.
    """
    shipped = shipped_adjectives()
    odd = [kind for kind in kinds if kind not in shipped]
    if odd:
        raise InputError(f"there are no adjectives of the kind {odd[0]!r}: use {', '.join(shipped)}")
    return sorted({adjective for kind in kinds or shipped for adjective in shipped[kind]})


@cache
def shipped_adjectives() -> dict[str, list[str]]:
    """Read the lists that ``derive.py`` made; cached, since they never change while a program runs."""
    lists: dict[str, list[str]] = {}
    text = (resources.files("fdgpu.captions.wordnet") / "adjectives.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        lists.setdefault(row["kind"], []).append(row["adjective"])
    return lists
