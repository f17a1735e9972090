"""``a`` or ``an``, by the sound that follows."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

ARTICLE = re.compile(r"(?<![\w'-])([Aa])n? (?=([\w'-]+))")


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
    raw = tomllib.loads(resources.files("fdgpu.captions").joinpath("articles.toml").read_text(encoding="utf-8"))
    return {**dict.fromkeys(raw["consonant"], False), **dict.fromkeys(raw["vowel"], True)}
