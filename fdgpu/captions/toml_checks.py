"""What a recipe may hold, checked value by value; a mistake is named with its file and line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fdgpu.captions.grammar import Word, slot_words
from fdgpu.captions.toml_lines import TomlLines
from fdgpu.errors import InputError

Words = Mapping[str, tuple[Word, ...]]

KINDS = {str: "a string", bool: "true or false", list: "a list", dict: "a table"}


def check_table(
    table: dict[str, Any], kinds: Mapping[str, Any], lines: TomlLines, name: str = "", place: int = 0
) -> None:
    """Check the keys of a table and the kinds of their values.

    Raises:
        InputError: names the line, the key and what is allowed.
    """
    for key, value in table.items():
        where = lines.at(name, key, place)
        if key not in kinds:
            raise InputError(f"{where}: unknown key {key!r}, use {', '.join(kinds)}")
        if not isinstance(value, kinds[key]):
            kind = KINDS.get(kinds[key], "a string or a list of strings")
            raise InputError(f"{where}: {key} is {value!r}: write {kind}")


def check_words(
    table: dict[str, Any], slots: Collection[str], lines: TomlLines, name: str, place: int = 0, key: str = ""
) -> Words:
    """Return the words of every slot in ``table``.

    Args:
        table: slot → words.
        slots: those that the template has.
        lines: of the file.
        name: the TOML table where errors look for the slot.
        place: which of that name.
        key: what errors look for instead of the slot.

    Raises:
        InputError: for a slot that the template lacks, or a list that is empty or not of strings.
    """
    words = {}
    for slot, listed in table.items():
        where = lines.at(name, key or slot, place)
        if slot not in slots:
            raise InputError(
                f"{where}: there are words for {slot!r}, but the template has no {{{slot}}}: use {', '.join(slots)}, "
                f"or write {{{slot}}} into the template"
            )
        try:
            words[slot] = slot_words(slot, listed)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    return words


def check_strings(listed: list[Any], key: str, where: str) -> tuple[str, ...]:
    """Return a list of strings, none of them empty.

    Raises:
        InputError: names what is not.
    """
    odd = [entry for entry in listed if not isinstance(entry, str) or not entry.strip()]
    if odd:
        raise InputError(f"{where}: {key} holds {odd[0]!r}: write names, as strings")
    return tuple(listed)


def joined(words: Words, more: Words) -> Words:
    """Return the words of both, slot by slot."""
    return {name: (*words.get(name, ()), *more.get(name, ())) for name in dict.fromkeys([*words, *more])}
