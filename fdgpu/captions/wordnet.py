"""WordNet's words: every kind of a thing, and adjectives for what can be seen of it (paper, C.1.2).

The lists that ship are made by ``python -m tools.derive_word_lists``.
"""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Callable, Container, Iterable
from functools import cache
from importlib import resources
from typing import Any, TypeVar

from fdgpu.errors import InputError

SYNSET = re.compile(r"\S+\.n\.\d\d")
Synset = TypeVar("Synset")
Noun = tuple[str, bool]  # a name of a synset; True if it is the synset's first, and the synset the first it means


def nouns_below(synset: str, *, common: bool = False, words: Container[str] | None = None) -> list[str]:
    """Return the names of a synset and of everything below it, in the order of the alphabet.

    The lists that ship with fdgpu answer first (see :func:`shipped_nouns`; WordNet 3.0), so that they are the same
    everywhere; for any other synset NLTK or wn is asked, with the WordNet that was downloaded for it.

    Example:
        >>> nouns_below("frog.n.01", common=True, words={"bullfrog", "frog"})
        ['bullfrog', 'frog']

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
    nouns = shipped_nouns().get(synset) or _from_nltk(synset) or _from_wn(synset)
    if nouns is None:
        raise InputError(
            f"{synset!r} is not among the lists that ship ({', '.join(shipped_nouns())}), and there is no WordNet "
            "here: pip install wn, then python -m wn download omw-en:1.4; or pip install nltk, then python -m "
            "nltk.downloader wordnet"
        )
    names = {name for name, is_common in nouns if is_common or not common}
    if words is not None:
        names = {name for name in names if all(word in words for word in name.lower().split())}
    return sorted(names, key=lambda name: (name.lower(), name))


def visual_adjectives(*kinds: str) -> list[str]:
    """Return common adjectives for what can be seen, in the order of the alphabet, to grow captions from.

    WordNet 3.0 says which adjectives are values of a noun ("large" of size) and which are like those ("huge"). Here are
    the values of nouns for what a picture shows, by the first name of each synset, where this is the first thing that
    the name means and it occurs in WordNet's tagged texts; ``python -m tools.derive_word_lists`` lists them.

    Args:
        kinds: some of "colour", "light", "size", "shape", "surface", "build", "age", "beauty", "condition" and
            "place"; by default all of them.

    Raises:
        InputError: for a kind that there is not.

    Example:
        >>> len(fdgpu.visual_adjectives()), fdgpu.visual_adjectives("light")[:3]
        (225, ['beady', 'blazing', 'bright'])
    """
    shipped = shipped_adjectives()
    odd = [kind for kind in kinds if kind not in shipped]
    if odd:
        raise InputError(f"there are no adjectives of the kind {odd[0]!r}: use {', '.join(shipped)}")
    return sorted({adjective for kind in kinds or shipped for adjective in shipped[kind]})


# --- the lists that ship; cached, since they never change while a program runs --------------------------------------


@cache
def shipped_nouns() -> dict[str, list[Noun]]:
    """Read the nouns below the synsets of CIFAR-10's classes, by synset."""
    lists: dict[str, list[Noun]] = {}
    for row in _rows("nouns.csv"):
        lists.setdefault(row["below"], []).append((row["noun"], row["common"] == "yes"))
    return lists


@cache
def shipped_adjectives() -> dict[str, list[str]]:
    """Read the adjectives by kind."""
    lists: dict[str, list[str]] = {}
    for row in _rows("adjectives.csv"):
        lists.setdefault(row["kind"], []).append(row["adjective"])
    return lists


def _rows(file: str) -> Iterable[dict[str, str]]:
    text = (resources.files("fdgpu.captions") / "words" / file).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


# --- the libraries that people have: Any is what they return, they may not be here ----------------------------------


def _from_nltk(synset: str) -> list[Noun] | None:
    """Return the nouns at and below a synset, through NLTK; None if NLTK or its WordNet is not here."""
    try:
        reader: Any = importlib.import_module("nltk.corpus").wordnet
        unknown: Any = importlib.import_module("nltk.corpus.reader.wordnet").WordNetError
        reader.ensure_loaded()
    except (ImportError, LookupError):  # LookupError: installed, but nothing was downloaded
        return None
    try:
        top = reader.synset(synset)
    except unknown as error:
        raise InputError(f"NLTK's WordNet has no {synset!r} ({error}): look the noun up in it") from None
    return [
        noun
        for below in all_below(top, lambda synset: synset.hyponyms())
        for noun in nouns_of(below.lemma_names(), below.name().endswith(".n.01"))
    ]


def _from_wn(synset: str) -> list[Noun] | None:
    """Return the nouns at and below a synset, through the first English WordNet of wn; None if it is not here."""
    try:
        wn: Any = importlib.import_module("wn")
    except ImportError:
        return None
    lexicons = wn.lexicons(lang="en")
    if not lexicons:
        return None
    english = wn.Wordnet(lexicon=lexicons[0].specifier())
    word, _, number = synset.rsplit(".", 2)
    senses = english.synsets(word.replace("_", " "), pos="n")
    if int(number) > len(senses):
        raise InputError(
            f"{lexicons[0].specifier()} has {len(senses)} meanings of the noun {word!r}, not {int(number)}: look it up"
        )
    found = []
    for below in all_below(senses[int(number) - 1], lambda synset: synset.hyponyms()):
        names = below.lemmas()
        found += nouns_of(names, english.synsets(names[0], pos="n")[0] == below)
    return found


def all_below(top: Synset, hyponyms: Callable[[Synset], Iterable[Synset]]) -> list[Synset]:
    """Return a synset and all below it, each once, though several ways may lead to it."""
    found = {top: None}
    waiting = [top]
    while waiting:
        for synset in hyponyms(waiting.pop()):
            if synset not in found:
                found[synset] = None
                waiting.append(synset)
    return list(found)


def nouns_of(names: Iterable[str], first_sense: bool) -> list[Noun]:
    """Return a synset's names; ``first_sense`` says whether it is the first thing that the first of them means."""
    return [(name.replace("_", " "), first_sense and i == 0) for i, name in enumerate(names)]
