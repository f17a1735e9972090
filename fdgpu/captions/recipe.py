"""Recipes as they are written: TOML files that say which captions to try for which class.

source = "C.1.2"             # optional: the section of the paper
extends = "cifar10"          # optional: start from a bundled recipe, or from a TOML file beside this one
template = "a photo of a {adjective} {noun} {preposition}"
a_or_an = true               # optional: "an orange cat"; the paper writes "a" throughout
classes_from = "names.csv"   # optional: more classes, a table beside this file with the columns name, also, group

[slots]                      # words that every class tries; "" leaves the slot out
adjective = ["", "white"]
preposition = ["", "outside"]

[extra]                      # optional, added to the words of every class: for a recipe that extends another
adjective = ["noisy"]

[[groups]]                   # optional: classes that share a noun and further words
names = ["canine", "feline"] # each name is the noun of the classes of this group
extra.preposition = ["in the grass"]

[[classes]]
name = "cat"                 # as in the predictions
also = ["n02121808"]         # optional: other names it goes by; the first distinguishes classes of one name
noun = ["cat", "kitten"]     # optional: default the group, then the noun of [slots], then the name
group = "feline"             # optional
reference = "a photo of a cat"                   # optional: default the first noun and nothing else
extra.preposition = ["on the sofa"]              # optional, added to the slot's words

In a recipe that extends another, slots and groups replace those of the same name, and a class of the same name
changes in what is given. This module knows words only: :mod:`fdgpu.captions.grammar` makes grammars of them.
"""

from __future__ import annotations

import csv
import re
import string
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from fdgpu.checks import check_text, shown
from fdgpu.errors import InputError
from fdgpu.files import check_regular_file, read_text_file

Name = Annotated[str, Field(pattern=r"\S")]
Listed = Annotated[list[str], Field(min_length=1)]
Words = dict[str, Listed]  # slot → words
Checked = TypeVar("Checked", bound=BaseModel)

MOST_BYTES = 10_000_000  # of a recipe, or of its table: ImageNet's takes 0.1 MB
MOST_PARTS = 10
LONG_KEY = re.compile(rf"(?<![\w\"'-])[\w\"'-]+(?:[ \t]*\.[ \t]*[\w\"'-]+){{{MOST_PARTS},}}")
MOST_ABOVE = 20  # recipes that extend each other
COLUMNS = ("name", "also", "group")
TAKEN = ("self", "template", "a_or_an")  # names of a grammar's own arguments
REMEDY = {  # by pydantic's name of a mistake; of others its own words are shown
    "string_type": "write a string",
    "string_pattern_mismatch": "write a name",
    "bool_type": "write true or false",
    "list_type": "write a list",
    "dict_type": "write a table",
    "model_type": "write a table",
    "too_short": "write at least one",
}


class Table(BaseModel):
    """A table of a recipe: no other keys, and no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class WrittenGroup(Table):
    """One of ``[[groups]]``."""

    names: Annotated[list[Name], Field(min_length=1)]
    extra: Words = {}


class WrittenClass(Table):
    """One of ``[[classes]]``, or a line of the table of classes. What is not given is empty."""

    name: Name
    also: list[Name] = []
    noun: Annotated[Listed, BeforeValidator(lambda noun: [noun] if isinstance(noun, str) else noun)] = []
    group: str = ""
    reference: str = ""
    extra: Words = {}
    _where: str = PrivateAttr("")

    @property
    def where(self) -> str:
        """Where it is written, for errors: ``"own.toml: classes[3] 'cat'"``."""
        return self._where

    def at(self, where: str) -> Self:
        """Note where the class is written."""
        self._where = f"{where} {self.name!r}"
        return self


class WrittenRecipe(Table):
    """A recipe; :func:`read_bundled` and :func:`read_own` return it with what it extends already in it."""

    template: str = ""
    slots: Words = {}
    source: str = ""
    extends: str = ""
    a_or_an: bool = False
    classes_from: str = ""
    extra: Words = {}
    groups: list[WrittenGroup] = []
    classes: list[WrittenClass] = []

    @property
    def by_group(self) -> dict[str, Words]:
        """Group → its further words."""
        return {name: group.extra for group in self.groups for name in group.names}

    def slots_of(self, entry: WrittenClass) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the words of a class by slot, in the template's order: the last slot there varies fastest."""
        noun = entry.noun or ([entry.group] if entry.group else self.slots.get("noun", [entry.name]))
        extra = joined(joined(self.extra, self.by_group.get(entry.group, {})), entry.extra)
        words = joined({**self.slots, "noun": noun}, extra)
        names = sorted(words, key=lambda name: self.template.find("{" + name + "}"))
        return tuple((name, tuple(words[name])) for name in names)


TABLES: dict[object, type[Table]] = {"groups": WrittenGroup, "classes": WrittenClass}


# --- reading --------------------------------------------------------------------------------------------------------


def bundled_folder() -> Traversable:
    """Return the folder of the recipes that ship with the package."""
    return resources.files("fdgpu.captions") / "recipes"


def bundled_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    files = (entry.name for entry in bundled_folder().iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def read_bundled(name: str) -> WrittenRecipe:
    """Read a recipe that ships with the package.

    Raises:
        InputError: for an unknown name; lists those there are.
    """
    known = bundled_names()
    if name not in known:
        raise InputError(f"there is no recipe {name!r}: use one of {', '.join(known)}, or a TOML file of your own")
    text = (bundled_folder() / f"{name}.toml").read_text(encoding="utf-8")
    return _read(text, f"recipe {name!r}", bundled_folder())


def read_own(path: Path, above: tuple[Path, ...] = ()) -> WrittenRecipe:
    """Read a recipe of the user's own; ``above`` are the files that led here by ``extends``.

    Raises:
        InputError: if the file is missing or malformed; names the file, where in it, what was expected and what came.
    """
    text = read_text_file(path, MOST_BYTES, "a TOML file in UTF-8")
    return _read(text, str(path), path.parent, (*above, path.resolve()))


def _read(text: str, file: str, folder: Traversable, above: tuple[Path, ...] = ()) -> WrittenRecipe:
    """Read a recipe's text; ``file`` is what errors call it, ``folder`` where the files that it names are."""
    if LONG_KEY.search(text):  # for each part more, the parser goes through all before it
        raise InputError(f"{file}: a key has more than {MOST_PARTS} parts with dots between: a recipe needs three")
    try:
        raw = tomllib.loads(text)
    except RecursionError:
        raise InputError(f"{file}: its lists or tables are nested too deeply: a recipe needs three levels") from None
    except ValueError as error:  # TOML's own, and a number of more digits than Python reads
        raise InputError(f"{file}: {error}") from None
    own = _checked(WrittenRecipe, raw, file)
    base = _base(own.extends, file, folder, above) if own.extends else WrittenRecipe()
    tabled = _table_classes(folder / own.classes_from, file) if own.classes_from else ()
    given = own.model_fields_set & {"template", "source", "a_or_an"}
    recipe = base.model_copy(
        update={
            **{name: getattr(own, name) for name in given},
            "slots": base.slots | own.slots,
            "extra": joined(base.extra, own.extra),
            "groups": [*base.groups, *own.groups],
            "classes": _merged(
                base.classes, [*tabled, *(entry.at(f"{file}: classes[{i}]") for i, entry in enumerate(own.classes))]
            ),
        }
    )
    _check_slots(recipe, own, file)
    for entry in recipe.classes:
        if entry.group and entry.group not in recipe.by_group:
            known = f"use {', '.join(recipe.by_group)}" if recipe.groups else "and there are none: add [[groups]]"
            raise InputError(f"{entry.where}: there is no group {entry.group!r}, {known}")
    return recipe


def _base(name: str, file: str, folder: Traversable, above: tuple[Path, ...]) -> WrittenRecipe:
    """Read what a recipe extends."""
    if not name.endswith(".toml"):
        try:
            return read_bundled(name)
        except InputError as error:
            raise InputError(f"{file}: extends: {error}") from None
    path = check_regular_file(Path(str(folder)) / name, f"a TOML file that {file} can extend")
    if len(above) >= MOST_ABOVE:
        raise InputError(f"{file}: extends: {name} is one more than {MOST_ABOVE} recipes in a row: extend another")
    if path.resolve() in above:
        raise InputError(f"{file}: extends: {name} leads back to itself, extend another recipe")
    return read_own(path, above)


def _table_classes(table: Traversable, file: str) -> Iterator[WrittenClass]:
    """Read classes from a CSV with the columns name, also and group; other names are joined by semicolons."""
    try:
        text = read_text_file(Path(str(table)), MOST_BYTES, "a CSV beside the recipe")
    except InputError as error:
        raise InputError(f"{file}: classes_from: {error}") from None
    rows = _csv_rows(text, table.name)
    _, header = next(rows, (1, []))
    if "name" not in header or not set(header) <= set(COLUMNS):
        raise InputError(
            f"{table.name}, line 1: the header is {','.join(header)!r}, use the columns {','.join(COLUMNS)}"
        )
    for number, row in rows:
        line = f"{table.name}, line {number}"
        if len(row) != len(header):
            raise InputError(f"{line}: {len(row)} fields, the header has {len(header)}")
        entry: dict[str, object] = dict(zip(header, row, strict=True))
        entry["also"] = [name for name in str(entry.get("also", "")).split(";") if name]
        yield _checked(WrittenClass, entry, line).at(f"{line}, class")


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{name}, line {reader.line_num}: {error}") from None


# --- checking -------------------------------------------------------------------------------------------------------


def _checked(model: type[Checked], raw: Mapping[str, object], file: str) -> Checked:
    """Check the keys and types of a table.

    Raises:
        InputError: names the file, where in it, what came and what to write instead.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    at, where = first["loc"], f"{file}: {_location(first['loc'], raw)}"
    if first["type"] == "missing":
        raise InputError(f'{where} is missing: add {at[-1]} = "…"')
    if first["type"] == "extra_forbidden":
        table = TABLES.get(at[0], model) if len(at) > 1 else model
        raise InputError(f"{where}: unknown key {shown(at[-1])}, use {', '.join(table.model_fields)}")
    raise InputError(f"{where} is {shown(first['input'])}: {REMEDY.get(first['type'], first['msg'])}")


def _location(location: tuple[int | str, ...], raw: Mapping[str, object]) -> str:
    """Return ``"classes[3] 'cat': extra.preposition[0]"`` of pydantic's location, and of the table that it is in."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in location]
    listed = raw.get(str(location[0]))
    if len(location) > 2 and isinstance(listed, list) and isinstance(location[1], int):
        entry = listed[location[1]]
        name = f" {entry['name']!r}" if isinstance(entry, dict) and isinstance(entry.get("name"), str) else ""
        return "".join(parts[:2])[1:] + f"{name}: " + "".join(parts[2:])[1:]
    return "".join(parts)[1:]


def _check_slots(recipe: WrittenRecipe, own: WrittenRecipe, file: str) -> None:
    """Check the template, that it has every slot that words are written for, and that its own slots have words."""
    if not recipe.template:
        raise InputError(f'{file}: there is no template, add template = "a photo of a {{noun}}"')
    try:
        named = slot_names(recipe.template)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    _check_known(own.slots, named, f"{file}: slots")
    _check_known(own.extra, named, f"{file}: extra")
    for i, group in enumerate(own.groups):
        _check_known(group.extra, named, f"{file}: groups[{i}] {group.names[0]!r}: extra")
    for i, entry in enumerate(own.classes):
        _check_known(entry.extra, named, f"{file}: classes[{i}] {entry.name!r}: extra")
    for name in named:
        if name not in recipe.slots and name != "noun":
            raise InputError(f'{file}: template names {{{name}}}, but [slots] has no words for it: add {name} = ["…"]')


def _check_known(words: Collection[str], slots: Collection[str], where: str) -> None:
    odd = [name for name in words if name not in slots]
    if odd:
        raise InputError(
            f"{where}: there are words for {odd[0]!r}, but the template has no {{{odd[0]}}}: use {', '.join(slots)}, "
            f"or write {{{odd[0]}}} into the template"
        )


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


# --- merging --------------------------------------------------------------------------------------------------------


def joined(words: Words, more: Words) -> Words:
    """Return the words of both, slot by slot."""
    return {name: [*words.get(name, []), *more.get(name, [])] for name in dict.fromkeys([*words, *more])}


def _merged(base: Sequence[WrittenClass], entries: Sequence[WrittenClass]) -> list[WrittenClass]:
    """Return the base's classes, changed in what those of the same name give, and then the new ones.

    Raises:
        InputError: if two classes have the same name and no other name distinguishes them.
    """
    own: dict[str, WrittenClass] = {}
    for key, entry in zip(class_keys(entries), entries, strict=True):
        if key in own:
            raise InputError(
                f"{entry.where}: a class of this name is already written in {own[key].where}: leave one out, or "
                f'distinguish them by another name, also = ["…"]'
            )
        own[key] = entry
    known = dict(zip(class_keys(base), base, strict=True))
    changed = [_changed(entry, own[key]) if key in own else entry for key, entry in known.items()]
    return changed + [entry for key, entry in own.items() if key not in known]


def class_keys(entries: Sequence[WrittenClass]) -> list[str]:
    """Return the names of classes, all of them different where the recipe was read."""
    return distinct_names([entry.name for entry in entries], [entry.also for entry in entries])


def _changed(entry: WrittenClass, by: WrittenClass) -> WrittenClass:
    given = {key: getattr(by, key) for key in ("also", "group", "noun", "reference") if getattr(by, key)}
    changed = entry.model_copy(update={**given, "extra": joined(entry.extra, by.extra)})
    changed._where = by.where
    return changed


def distinct_names(names: Sequence[str], others: Iterable[Sequence[str]]) -> list[str]:
    """Return the names, and in brackets the first of its ``others`` behind each name that stands several times."""
    count = Counter(names)
    return [
        f"{name} ({other[0]})" if count[name] > 1 and other else name for name, other in zip(names, others, strict=True)
    ]
