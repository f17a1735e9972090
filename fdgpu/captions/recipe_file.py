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
also = ["n02121808"]         # optional: other names it goes by; the first tells classes of one name apart
noun = ["cat", "kitten"]     # optional: default the group, then the noun of [slots], then the name
group = "feline"             # optional
reference = "a photo of a cat"                   # optional: default the first noun and nothing else
extra.preposition = ["on the sofa"]              # optional, added to the slot's words

In a recipe that extends another, slots and groups replace those of the same name, and a class of the same name
changes in what is given.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from fdgpu.captions.grammar import slot_names
from fdgpu.captions.recipe_classes import ClassEntry, listed_classes, merged, table_classes
from fdgpu.captions.toml_checks import Words, check_strings, check_table, check_words, joined
from fdgpu.captions.toml_lines import TomlLines
from fdgpu.errors import InputError

KEYS = {
    "source": str,
    "extends": str,
    "template": str,
    "a_or_an": bool,
    "classes_from": str,
    "slots": dict,
    "extra": dict,
    "groups": list,
    "classes": list,
}
GROUP_KEYS = {"names": list, "extra": dict}


@dataclass(frozen=True)
class RecipeFile:
    """A recipe as it is written, with what it extends already in it; every word has been looked at."""

    template: str
    slots: Words
    source: str = ""
    a_or_an: bool = False
    extra: Words = field(default_factory=dict)
    groups: Mapping[str, Words] = field(default_factory=dict)
    classes: tuple[ClassEntry, ...] = ()


def bundled_folder() -> Traversable:
    """Return the folder of the recipes that ship with the package."""
    return resources.files("fdgpu.captions") / "recipes"


def bundled_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in bundled_folder().iterdir() if entry.name.endswith(".toml")
    )


def read_bundled(name: str) -> RecipeFile:
    """Read a recipe that ships with the package.

    Raises:
        InputError: for an unknown name; lists those there are.
    """
    known = bundled_names()
    if name not in known:
        raise InputError(f"there is no recipe {name!r}: use one of {', '.join(known)}, or a TOML file of your own")
    text = (bundled_folder() / f"{name}.toml").read_text(encoding="utf-8")
    return read_recipe(text, f"recipe {name!r}", bundled_folder())


def read_own(path: Path, above: tuple[Path, ...] = ()) -> RecipeFile:
    """Read a recipe of the user's own; ``above`` are the files that led here by ``extends``.

    Raises:
        InputError: if the file is missing or malformed; names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): pass a TOML file in UTF-8") from None
    return read_recipe(text, str(path), path.parent, (*above, path.resolve()))


def read_recipe(text: str, file: str, folder: Traversable, above: tuple[Path, ...] = ()) -> RecipeFile:
    """Read a recipe.

    Args:
        text: TOML.
        file: what errors call it.
        folder: where the files that it names are.
        above: the files that led here by ``extends``, itself the last, so that a circle is seen.

    Raises:
        InputError: names the file, the line, what was expected and what came.
    """
    lines = TomlLines(text, file)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(lines.syntax(error)) from None
    check_table(raw, KEYS, lines)
    base = _base(raw, folder, above, lines)
    template = raw.get("template", base.template)
    named = _slots_of(template, lines)
    slots = {**base.slots, **check_words(raw.get("slots", {}), named, lines, "slots")}
    _check_all_given(named, slots, lines)
    groups = {**base.groups, **dict(_groups(raw.get("groups", []), named, lines))}
    table = raw.get("classes_from")
    tabled = table_classes(folder / table, lines.at(key="classes_from")) if table else ()
    classes = merged(base.classes, [*tabled, *listed_classes(raw.get("classes", []), named, lines)])
    for entry in classes:
        if entry.group and entry.group not in groups:
            known = ", ".join(groups) or "and there are none: add [[groups]]"
            raise InputError(f"{entry.where}: there is no group {entry.group!r}, use {known}")
    return RecipeFile(
        template=template,
        slots=slots,
        source=raw.get("source", base.source),
        a_or_an=raw.get("a_or_an", base.a_or_an),
        extra=joined(base.extra, check_words(raw.get("extra", {}), named, lines, "extra")),
        groups=groups,
        classes=tuple(classes),
    )


def _base(raw: dict[str, Any], folder: Traversable, above: tuple[Path, ...], lines: TomlLines) -> RecipeFile:
    """Read what a recipe extends; an empty recipe, if it extends none."""
    name, where = raw.get("extends"), lines.at(key="extends")
    if name is None:
        return RecipeFile(template="", slots={})
    if not name.endswith(".toml"):
        try:
            return read_bundled(name)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    path = Path(str(folder)) / name
    if path.resolve() in above:
        raise InputError(f"{where}: {name} leads back to itself: extend another recipe")
    return read_own(path, above)


def _slots_of(template: str, lines: TomlLines) -> list[str]:
    if not template:
        raise InputError(f'{lines.file}: there is no template, add template = "a photo of a {{noun}}"')
    try:
        return slot_names(template)
    except InputError as error:
        raise InputError(f"{lines.at(key='template')}: {error}") from None


def _check_all_given(named: list[str], slots: Words, lines: TomlLines) -> None:
    for name in named:
        if name not in slots and name != "noun":
            raise InputError(
                f"{lines.at(key='template')}: template names {{{name}}}, but [slots] has no words for it: add "
                f'{name} = ["…"]'
            )


def _groups(raw: list[Any], slots: Collection[str], lines: TomlLines) -> Iterator[tuple[str, Words]]:
    for place, entry in enumerate(raw):
        where = lines.at("groups", place=place)
        if not isinstance(entry, dict) or not entry.get("names"):
            raise InputError(f'{where}: a [[groups]] entry has no names, add names = ["…"]')
        check_table(entry, GROUP_KEYS, lines, "groups", place)
        words = check_words(entry.get("extra", {}), slots, lines, "groups", place, "extra")
        for name in check_strings(entry["names"], "names", lines.at("groups", "names", place)):
            yield name, words
