"""Programmatic captions: a template and a list of words for each slot (paper, A.6)."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import product
from math import prod
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions.recipe import WrittenRecipe, class_keys, read_bundled, read_own, slot_names
from fdgpu.checks import check_flag, check_text, shown
from fdgpu.described import Described
from fdgpu.errors import InputError

Word = str | None

ARTICLE = re.compile(r"(?<![\w'-])([Aa])n? (?=([\w'-]+))")


class CaptionGrammar(Described, Sequence[str]):
    """Every combination of the slots' words in a template, made only when looked at.

    ``None`` leaves a slot out, without a double space. The last slot varies fastest. A grammar is a sequence whose
    captions are never stored: ``len`` multiplies, an index is worked out, a slice is a view.

    Words of a slot that read alike (``None``, ``""`` and ``" "``, or ``"red"`` twice) count once. Captions that read
    alike by different words (``"dark"`` ``"red cat"``, ``"dark red"`` ``"cat"``) are for
    :func:`fdgpu.captions.pool_captions` to join, since that takes a look at each.

    Example:
        >>> grammar = CaptionGrammar("a {adjective} {noun}", adjective=[None, "white"], noun=["cat", "dog"])
        >>> len(grammar), grammar[2], grammar.reference(noun="cat")
        (4, 'a white cat', 'a cat')

    Args:
        template: text with named slots, such as ``"a photo of a {adjective} {noun} {preposition}"``. One is the noun,
            which the reference caption keeps.
        a_or_an: write each article as the next word wants it. The paper's captions have "a" throughout.
        slots: the words of each slot, in the order they vary.

    Raises:
        InputError: for a template without a noun, a slot without words, words for a slot that the template lacks, a
            slot without a list, or more captions than a sequence can count.
    """

    def __init__(self, template: str, *, a_or_an: bool = False, **slots: Sequence[Word]) -> None:
        self.template, self.a_or_an = template, check_flag(a_or_an, "a_or_an")
        self.slots = {name: slot_words(name, words) for name, words in slots.items()}
        named = slot_names(template)
        for name in named:
            if name not in self.slots:
                raise InputError(f"template names {{{name}}}, but no words were given for it: pass {name}=[…]")
        for name in self.slots:
            if name not in named:
                raise InputError(f"words were given for {name!r}, but the template {template!r} has no {{{name}}}")
        if self.slots["noun"] == (None,):
            raise InputError("noun holds no word, but reference captions keep it: pass at least one")
        count = prod(len(words) for words in self.slots.values())
        if count > sys.maxsize:
            raise InputError(f"the slots make {count:.1e} captions, more than Python can count: shorten their lists")
        self._count = count

    @classmethod
    def recipe(cls, name: str) -> dict[str, CaptionGrammar]:
        """Return a bundled recipe: class name → grammar.

        Classes of one name are distinguished by another of their names, as in ``"crane (n02012849)"``.

        Raises:
            InputError: for an unknown name; lists those there are.
        """
        return _by_name(read_bundled(name))

    @classmethod
    def from_file(cls, path: str | Path) -> dict[str, CaptionGrammar]:
        """Return the recipe of a TOML file of your own: class name → grammar; see :mod:`fdgpu.captions.recipe`.

        Raises:
            InputError: names the file, and where in it the mistake is.
        """
        return _by_name(read_own(Path(path)))

    def reference(self, **words: Word) -> str:
        """Return the caption that describes the whole class: the given words, every other slot left out.

        A noun that is not given is taken from the grammar where it has only one.

        Raises:
            InputError: for a slot that is not in the template, or a noun that has to be chosen.
        """
        for name in words:
            if name not in self.slots:
                raise InputError(f"reference got {name!r}: the slots are {', '.join(self.slots)}")
        if "noun" not in words:
            nouns = [word for word in self.slots["noun"] if word is not None]
            if len(nouns) != 1:
                raise InputError(f"the grammar has {len(nouns)} nouns: say which one, reference(noun=…)")
            words = {**words, "noun": nouns[0]}
        return self._fill({name: words.get(name) for name in self.slots})

    def words_at(self, index: int) -> dict[str, Word]:
        """Return the slots' words of the caption at ``index``."""
        rest = range(len(self))[index]  # negative indices, and IndexError past the end
        words: dict[str, Word] = {}
        for name in reversed(self.slots):
            rest, word = divmod(rest, len(self.slots[name]))
            words[name] = self.slots[name][word]
        return {name: words[name] for name in self.slots}

    def word_indices(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (m, slots) indices in the slots' lists of the words of the captions at (m,) ``indices``.

        Raises:
            InputError: for an index that is not of this grammar.
        """
        rest = np.asarray(indices, np.int64)
        if len(rest) and not 0 <= rest.min() <= rest.max() < len(self):
            raise InputError(f"indices reach from {rest.min()} to {rest.max()}: this grammar has 0 to {len(self) - 1}")
        words = np.empty((len(rest), len(self.slots)), np.int64)
        for slot, listed in zip(reversed(range(len(self.slots))), reversed(self.slots.values()), strict=True):
            rest, words[:, slot] = np.divmod(rest, len(listed))
        return words

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> CaptionView: ...
    def __getitem__(self, index: int | slice) -> str | CaptionView:
        if isinstance(index, slice):
            return CaptionView(self, range(len(self))[index])
        return self._fill(self.words_at(index))

    def __iter__(self) -> Iterator[str]:
        return (self._fill(dict(zip(self.slots, words, strict=True))) for words in product(*self.slots.values()))

    def _described(self) -> dict[str, object]:
        words = {name: len(words) for name, words in self.slots.items()}
        return {"template": self.template, "captions": len(self), **words}

    def _fill(self, words: dict[str, Word]) -> str:
        filled = self.template.format(**{name: word or "" for name, word in words.items()})
        caption = " ".join(filled.split())
        return agree(caption) if self.a_or_an else caption


class CaptionView(Sequence[str]):
    """The captions at some indices of a sequence: what slicing a grammar gives.

    Nothing is made until it is asked for. A view equals any sequence of the same captions.
    """

    __hash__ = None  # type: ignore[assignment]  # a view equals lists, which have no hash

    def __init__(self, captions: Sequence[str], indices: range) -> None:
        self._captions, self._indices = captions, indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> CaptionView: ...
    def __getitem__(self, index: int | slice) -> str | CaptionView:
        if isinstance(index, slice):
            return CaptionView(self._captions, self._indices[index])
        return self._captions[self._indices[index]]

    def __iter__(self) -> Iterator[str]:
        return (self._captions[i] for i in self._indices)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"CaptionView({len(self)} captions of {self._captions!r})"


def class_grammars(recipe: WrittenRecipe) -> list[CaptionGrammar]:
    """Make the grammar of every class; those with the same words share one, so that a thousand classes stay small."""
    made: dict[object, CaptionGrammar] = {}
    grammars = []
    for entry in recipe.classes:
        slots = recipe.slots_of(entry)
        if slots not in made:
            try:
                made[slots] = CaptionGrammar(recipe.template, a_or_an=recipe.a_or_an, **dict(slots))
            except InputError as error:
                raise InputError(f"{entry.where}: {error}") from None
        grammars.append(made[slots])
    return grammars


def _by_name(recipe: WrittenRecipe) -> dict[str, CaptionGrammar]:
    return dict(zip(class_keys(recipe.classes), class_grammars(recipe), strict=True))


# --- words of a slot, and a or an before them -------------------------------------------------------------------------


def slot_words(name: str, words: object) -> tuple[Word, ...]:
    """Return the words of a slot, those that read alike once and those without a letter as None.

    Raises:
        InputError: unless it is a list of strings and None, and not empty.
    """
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise InputError(f"{name} is {shown(words)}: pass a list of words, [{shown(words)}]")
    listed = list(words)
    if not listed:
        raise InputError(f"{name} is an empty list: pass its words, or [None] to leave the slot out")
    odd = [word for word in listed if word is not None and not isinstance(word, str)]
    if odd:
        raise InputError(f"{name} holds {shown(odd[0])}: words are strings, or None to leave the slot out")
    for word in listed:
        check_text(word or "", name)
    return tuple(dict.fromkeys(" ".join(word.split()) or None if word else None for word in listed))


def agree(caption: str) -> str:
    """Write every article of a caption as the next word wants it: "a photo of an orange cat"."""
    return ARTICLE.sub(lambda found: f"{found[1]}n " if _vowel_sound(found[2]) else f"{found[1]} ", caption)


def _vowel_sound(word: str) -> bool:
    word, beginnings = word.lower(), _beginnings()
    known = [beginning for beginning in beginnings if word.startswith(beginning)]
    return beginnings[max(known, key=len)] if known else word[0] in "aeiou"


@cache
def _beginnings() -> dict[str, bool]:
    """Read which beginnings sound like a vowel; cached, since the file never changes while a program runs."""
    raw = tomllib.loads((resources.files("fdgpu.captions") / "words" / "articles.toml").read_text(encoding="utf-8"))
    return {**dict.fromkeys(raw["consonant"], False), **dict.fromkeys(raw["vowel"], True)}
