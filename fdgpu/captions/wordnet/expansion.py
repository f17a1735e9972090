"""``nouns_below``: every noun for the things that a synset covers (paper, C.1.2)."""

from __future__ import annotations

import csv
import re
from collections.abc import Container
from functools import cache
from importlib import resources

from fdgpu.captions.wordnet.libraries import Noun, from_nltk, from_wn
from fdgpu.errors import InputError

SYNSET = re.compile(r"\S+\.n\.\d\d")


def nouns_below(synset: str, *, common: bool = False, words: Container[str] | None = None) -> list[str]:
    """Return the names of a synset and of everything below it, in the order of the alphabet.

    The lists that ship with fdgpu answer first (see :func:`shipped_synsets`; WordNet 3.0), so that they are the same
    everywhere; for any other synset NLTK or wn is asked, with the WordNet that was downloaded for it.

    Args:
        synset: a noun's synset, such as ``"dog.n.01"``.
        common: only the first name of each synset, and only if that is the first thing the name means: "cougar", but
            neither "Felis concolor" nor "painter", which is a cougar only in third place. So did the paper's code.
        words: leave out names that have a word which is not in here; words are compared in lower case.

    Raises:
        InputError: if the synset is not written like ``dog.n.01``, is unknown, or cannot be looked up here; then it
            says what to install.
    """
    if not SYNSET.fullmatch(synset):
        raise InputError(f"{synset!r} is not a noun's synset: write it like 'dog.n.01'")
    nouns = shipped_nouns().get(synset) or from_nltk(synset) or from_wn(synset)
    if nouns is None:
        raise InputError(
            f"{synset!r} is not among the lists that ship ({', '.join(shipped_synsets())}), and there is no WordNet "
            "here: pip install wn, then python -m wn download omw-en:1.4; or pip install nltk, then python -m "
            "nltk.downloader wordnet"
        )
    names = {noun.name for noun in nouns if noun.common or not common}
    if words is not None:
        names = {name for name in names if all(word in words for word in name.lower().split())}
    return sorted(names, key=lambda name: (name.lower(), name))


def shipped_synsets() -> list[str]:
    """Return the synsets whose nouns ship with fdgpu: those of CIFAR-10's classes."""
    return list(shipped_nouns())


@cache
def shipped_nouns() -> dict[str, list[Noun]]:
    """Read the lists that ``derive.py`` made; cached, since they never change while a program runs."""
    lists: dict[str, list[Noun]] = {}
    text = (resources.files("fdgpu.captions.wordnet") / "nouns.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        lists.setdefault(row["below"], []).append(Noun(row["noun"], row["common"] == "yes"))
    return lists
