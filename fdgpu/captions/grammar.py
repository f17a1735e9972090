"""Programmatic captions: a template and a list of words for each slot (paper, A.6)."""

from __future__ import annotations

import string
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions.articles import agree
from fdgpu.captions.view import CaptionView
from fdgpu.errors import InputError

Word = str | None


class CaptionGrammar(Sequence[str]):
    """Every combination of the slots' words in a template, made only when looked at.

    ``None`` leaves a slot out, without a double space. The last slot varies fastest. A grammar is a sequence whose
    captions are never stored: ``len`` multiplies, an index is worked out, a slice is a view.

    Words of a slot that read alike (``None``, ``""`` and ``" "``, or ``"red"`` twice) count once. Captions that read
    alike by different words (``"dark"`` ``"red cat"``, ``"dark red"`` ``"cat"``) are for
    :func:`fdgpu.captions.pool_captions` to join, since that takes a look at each.

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
        self.template, self.a_or_an = template, a_or_an
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

        Classes of one name are told apart by another of their names, as in ``"crane (n02012849)"``.

        Raises:
            InputError: for an unknown name; lists those there are.
        """
        from fdgpu.captions.recipe import Recipe

        return Recipe.bundled(name).grammars

    @classmethod
    def from_file(cls, path: str | Path) -> dict[str, CaptionGrammar]:
        """Return the recipe of a TOML file of your own: class name → grammar; :mod:`fdgpu.captions.recipe_file`.

        Raises:
            InputError: names the file and the line of a mistake.
        """
        from fdgpu.captions.recipe import Recipe

        return Recipe.from_file(Path(path)).grammars

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
        place = range(len(self))[index]  # negative indices, and IndexError past the end
        words: dict[str, Word] = {}
        for name in reversed(self.slots):
            place, digit = divmod(place, len(self.slots[name]))
            words[name] = self.slots[name][digit]
        return {name: words[name] for name in self.slots}

    def word_places(self, indices: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return (m, slots) places in the slots' lists of the words of the captions at (m,) ``indices``.

        Raises:
            InputError: for an index that is not of this grammar.
        """
        rest = np.asarray(indices, np.int64)
        if len(rest) and not 0 <= rest.min() <= rest.max() < len(self):
            raise InputError(f"indices reach from {rest.min()} to {rest.max()}: this grammar has 0 to {len(self) - 1}")
        places = np.empty((len(rest), len(self.slots)), np.int64)
        for column, words in zip(reversed(range(len(self.slots))), reversed(self.slots.values()), strict=True):
            rest, places[:, column] = np.divmod(rest, len(words))
        return places

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

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(words)}" for name, words in self.slots.items())
        return f"CaptionGrammar({self.template!r}, {len(self)} captions; {sizes})"

    def _fill(self, words: dict[str, Word]) -> str:
        filled = self.template.format(**{name: word or "" for name, word in words.items()})
        caption = " ".join(filled.split())
        return agree(caption) if self.a_or_an else caption


def slot_words(name: str, words: Any) -> tuple[Word, ...]:
    """Return the words of a slot, those that read alike once and those without a letter as None.

    Raises:
        InputError: unless it is a list of strings and None, and not empty.
    """
    if isinstance(words, str) or not isinstance(words, Iterable):
        raise InputError(f"{name} is {words!r}: pass a list of words, [{words!r}]")
    listed = list(words)
    if not listed:
        raise InputError(f"{name} is an empty list: pass its words, or [None] to leave the slot out")
    odd = [word for word in listed if word is not None and not isinstance(word, str)]
    if odd:
        raise InputError(f"{name} holds {odd[0]!r}: words are strings, or None to leave the slot out")
    return tuple(dict.fromkeys(" ".join(word.split()) or None if word else None for word in listed))


def slot_names(template: str) -> list[str]:
    """Return the names of a template's slots, in their order.

    Raises:
        InputError: for a template that cannot be read, or one without a noun.
    """
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InputError(f"template {template!r} cannot be read ({error}): write slots as {{noun}}") from None
    odd = [field for field in fields if not field.isidentifier()]
    if odd:
        raise InputError(f"template {template!r} has the slot {{{odd[0]}}}: name slots like {{noun}}")
    if "noun" not in fields:
        raise InputError(f"template {template!r} has no {{noun}}, which reference captions keep: write one")
    return fields
