"""What an experiment's TOML says of it, with the settings that it ran with filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from string import Formatter
from textwrap import wrap
from typing import Any

from benchmarks.paper.claims import Verdict

WIDTH = 120


class _Words(Formatter):
    """Fills in lists as their items."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return ", ".join(map(str, value)) if isinstance(value, list) else str(super().format_field(value, format_spec))


def filled(text: str, settings: Mapping[str, Any]) -> list[str]:
    """Return a paragraph's lines, its ``{name}`` and ``{table[name]}`` the settings'.

    A table that is a range of photographs has ``photographs``, their number.
    """
    words = _Words().vformat(text, (), {key: _counted(value) for key, value in settings.items()})
    return wrap(words, WIDTH, break_long_words=False, break_on_hyphens=False)


def _counted(value: Any) -> Any:
    if isinstance(value, dict) and {"start", "stop"} <= value.keys():
        return {**value, "photographs": value["stop"] - value["start"]}
    return value


def tried(entries: Iterable[Mapping[str, Any]], judged: Iterable[Verdict], settings: Mapping[str, Any]) -> list[str]:
    """Return what ``[[page.tried]]`` says of the measures about which a claim does not hold, a paragraph an entry."""
    lost = {verdict.claim.measure for verdict in judged if verdict.holds is False}
    lines: list[str] = []
    for entry in entries:
        if lost.intersection(entry["of"]):
            lines += [*filled(entry["text"], settings), ""]
    return ["**What did not come out, and what was tried**", "", *lines] if lines else []
