"""Templates of captions: text with named slots, what a slot may hold, and ``a`` or ``an`` in what comes out."""

from __future__ import annotations

import re
import string
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import resources

from fdgpu.checks import check_text, shown
from fdgpu.errors import InputError

Word = str | None

TAKEN = ("self", "template", "a_or_an")  # names of a grammar's own arguments
ARTICLE = re.compile(r"(?<![\w'-])([Aa])n? (?=([\w'-]+))")


def slot_names(template: str) -> list[str]:
    """Return the names of a template's slots, in their order.

    Raises:
        InputError: for a template that cannot be read, or one without a noun.
    """
    check_text(template, "template")
    try:
        parsed = [part for part in string.Formatter().parse(template) if part[1] is not None]
    except (TypeError, ValueError) as error:
        raise InputError(f"template {shown(template)} cannot be read ({error}): write slots as {{noun}}") from None
    fields = [str(field) for _, field, _, _ in parsed]
    if any(spec or conversion for _, _, spec, conversion in parsed):
        raise InputError(f"template {shown(template)} formats a slot: write it as {{noun}}, without ':' and '!'")
    odd = [field for field in fields if not field.isidentifier() or field in TAKEN]
    if odd:
        raise InputError(f"template {shown(template)} has the slot {{{odd[0][:60]}}}: name slots like {{noun}}")
    if "noun" not in fields:
        raise InputError(f"template {shown(template)} has no {{noun}}, which reference captions keep: write one")
    return fields


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
