"""WordNet through the libraries people have: NLTK, and wn."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

from fdgpu.errors import InputError

Synset = TypeVar("Synset")


class Noun(NamedTuple):
    """A name of a synset; ``common`` if it is the synset's first, and the synset the first thing it means."""

    name: str
    common: bool


def from_nltk(synset: str) -> list[Noun] | None:
    """Return the nouns at and below a synset, through NLTK; None if NLTK or its WordNet is not here.

    Raises:
        InputError: for a synset that its WordNet does not have.
    """
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


def from_wn(synset: str) -> list[Noun] | None:
    """Return the nouns at and below a synset, through wn; None if wn or an English WordNet is not here.

    Raises:
        InputError: for a synset that its first English WordNet does not have.
    """
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
    return [Noun(name.replace("_", " "), first_sense and place == 0) for place, name in enumerate(names)]
