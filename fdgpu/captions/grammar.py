"""Programmatic captions: a template and a list of words for each slot (paper, A.6)."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import overload

from fdgpu.errors import InputError

Word = str | None


class CaptionGrammar(Sequence[str]):
    """Every combination of the slots' words in a template, made only when looked at.

    ``None`` leaves a slot out, without a double space. The last slot varies fastest. A grammar is a sequence:
    ``len``, indexing, slicing, iteration and ``in`` cost nothing until used.

    Args:
        template: text with named slots, such as ``"a photo of a {adjective} {noun} {preposition}"``.
        slots: the words of each slot, in the order they vary.

    Raises:
        InputError: for a slot without words, words for a slot that the template lacks, or a slot without a list.
    """

    def __init__(self, template: str, **slots: Sequence[Word]) -> None:
        self.template = template
        for name, words in slots.items():
            if isinstance(words, str) or not isinstance(words, Iterable):
                raise InputError(f"{name} is {words!r}: pass a list of words, [{words!r}]")
        self.slots = {name: tuple(words) for name, words in slots.items()}
        named = _slot_names(template)
        for name in named:
            if name not in self.slots:
                raise InputError(f"template names {{{name}}}, but no words were given for it: pass {name}=[…]")
        for name, words in self.slots.items():
            if name not in named:
                raise InputError(f"words were given for {name!r}, but the template {template!r} has no {{{name}}}")
            if not words:
                raise InputError(f"{name} is an empty list: pass its words, or [None] to leave the slot out")
            odd = [word for word in words if word is not None and not isinstance(word, str)]
            if odd:
                raise InputError(f"{name} holds {odd[0]!r}: words are strings, or None to leave the slot out")

    @classmethod
    def recipe(cls, name: str) -> dict[str, CaptionGrammar]:
        """Return a bundled recipe: class name → grammar.

        Raises:
            InputError: for an unknown name; lists those there are.
        """
        from fdgpu.captions.recipe import Recipe

        return dict(Recipe.bundled(name).grammars)

    @classmethod
    def from_file(cls, path: str | Path) -> dict[str, CaptionGrammar]:
        """Return the recipe of a TOML file of your own: class name → grammar.

        Raises:
            InputError: names the file and the line of a mistake.
        """
        from fdgpu.captions.recipe import Recipe

        return dict(Recipe.from_file(Path(path)).grammars)

    def reference(self, **words: Word) -> str:
        """Return the caption that describes the whole class: the given words, every other slot left out.

        A noun that is not given is taken from the grammar where it has only one.

        Raises:
            InputError: for a slot that is not in the template, or a noun that has to be chosen.
        """
        for name in words:
            if name not in self.slots:
                raise InputError(f"reference got {name!r}: the slots are {', '.join(self.slots)}")
        if "noun" in self.slots and "noun" not in words:
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

    def __len__(self) -> int:
        return prod(len(words) for words in self.slots.values())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._fill(self.words_at(index))

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(words)}" for name, words in self.slots.items())
        return f"CaptionGrammar({self.template!r}, {len(self)} captions; {sizes})"

    def _fill(self, words: dict[str, Word]) -> str:
        filled = self.template.format(**{name: word or "" for name, word in words.items()})
        return " ".join(filled.split())


def _slot_names(template: str) -> list[str]:
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise InputError(f"template {template!r} cannot be read ({error}): write slots as {{noun}}") from None
    odd = [field for field in fields if not field.isidentifier()]
    if odd:
        raise InputError(f"template {template!r} has the slot {{{odd[0]}}}: name slots like {{noun}}")
    if not fields:
        raise InputError(f"template {template!r} has no slot: write at least {{noun}}")
    return fields
