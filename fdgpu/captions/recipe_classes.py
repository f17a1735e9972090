"""The classes of a recipe, from its ``[[classes]]`` and from a table, and how one recipe changes another's."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources.abc import Traversable
from typing import Any

from fdgpu.captions.grammar import Word
from fdgpu.captions.names import told_apart
from fdgpu.captions.toml_checks import Words, check_strings, check_table, check_words, joined
from fdgpu.captions.toml_lines import TomlLines
from fdgpu.errors import InputError

KEYS = {"name": str, "also": list, "noun": (str, list), "group": str, "reference": str, "extra": dict}
COLUMNS = ("name", "also", "group")


@dataclass(frozen=True)
class ClassEntry:
    """A class as it is written; ``where`` is its place, for errors. What is not given is empty."""

    name: str
    where: str
    also: tuple[str, ...] = ()
    group: str = ""
    nouns: tuple[Word, ...] = ()
    reference: str = ""
    extra: Words = field(default_factory=dict)


def listed_classes(raw: list[Any], slots: Collection[str], lines: TomlLines) -> Iterator[ClassEntry]:
    """Read the ``[[classes]]`` of a recipe whose template has these slots.

    Raises:
        InputError: names the line, the class, what was expected and what came.
    """
    for place, entry in enumerate(raw):
        where = lines.at("classes", place=place)
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not entry["name"].strip():
            raise InputError(f'{where}: a [[classes]] entry has no name, add name = "…"')
        check_table(entry, KEYS, lines, "classes", place)
        noun = entry.get("noun")
        nouns = {} if noun is None else {"noun": [noun] if isinstance(noun, str) else noun}
        yield ClassEntry(
            name=entry["name"],
            where=f"{where}, class {entry['name']!r}",
            also=check_strings(entry.get("also", []), "also", where),
            group=entry.get("group", ""),
            nouns=check_words(nouns, slots, lines, "classes", place).get("noun", ()),
            reference=entry.get("reference", ""),
            extra=check_words(entry.get("extra", {}), slots, lines, "classes", place, "extra"),
        )


def table_classes(file: Traversable, where: str) -> Iterator[ClassEntry]:
    """Read classes from a CSV with the columns name, also and group; other names are joined by semicolons.

    Raises:
        InputError: if it cannot be read, with ``where`` it was named; for a bad line, the file and the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: {file.name} cannot be read ({error}): name a CSV beside the recipe") from None
    reader = csv.reader(text.splitlines(), strict=True)
    header = next(reader, [])
    if "name" not in header or not set(header) <= set(COLUMNS):
        raise InputError(
            f"{file.name}, line 1: the header is {','.join(header)!r}, use the columns {','.join(COLUMNS)}"
        )
    for row in reader:
        line = f"{file.name}, line {reader.line_num}"
        if len(row) != len(header):
            raise InputError(f"{line}: {len(row)} fields, the header has {len(header)}")
        entry = dict(zip(header, row, strict=True))
        if not entry["name"].strip():
            raise InputError(f"{line}: the name is empty")
        also = tuple(filter(None, entry.get("also", "").split(";")))
        yield ClassEntry(entry["name"], f"{line}, class {entry['name']!r}", also, entry.get("group", ""))


def merged(base: Sequence[ClassEntry], entries: Sequence[ClassEntry]) -> list[ClassEntry]:
    """Return the base's classes, changed in what those of the same name give, and then the new ones.

    Raises:
        InputError: if two classes have the same name and nothing tells them apart.
    """
    own: dict[str, ClassEntry] = {}
    for key, entry in zip(_keys(entries), entries, strict=True):
        if key in own:
            raise InputError(
                f"{entry.where}: a class of this name stands already in {own[key].where}: leave one out, or tell them "
                f'apart by another name, also = ["…"]'
            )
        own[key] = entry
    known = dict(zip(_keys(base), base, strict=True))
    changed = [_changed(entry, own[key]) if key in own else entry for key, entry in known.items()]
    return changed + [entry for key, entry in own.items() if key not in known]


def _keys(entries: Sequence[ClassEntry]) -> list[str]:
    return told_apart([entry.name for entry in entries], [entry.also for entry in entries])


def _changed(entry: ClassEntry, by: ClassEntry) -> ClassEntry:
    given = {key: getattr(by, key) for key in ("also", "group", "nouns", "reference") if getattr(by, key)}
    return replace(entry, where=by.where, extra=joined(entry.extra, by.extra), **given)
