"""Recipes: TOML files that say which captions to try for which class.

template = "a photo of a {adjective} {noun} {preposition}"

[slots]                      # words that every class tries; "" leaves the slot out
adjective = ["", "white"]
preposition = ["", "outside"]

[[classes]]
name = "cat"                 # as in the predictions; noun defaults to it
noun = ["cat", "kitten"]     # optional
reference = "a photo of a cat"                   # optional
extra.preposition = ["on the grass"]             # optional, added to the slot's words
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.errors import InputError

KEYS = {"template", "slots", "classes", "source"}
CLASS_KEYS = {"name", "noun", "reference", "extra"}


@dataclass(frozen=True)
class Recipe:
    """Class name → grammar, and class name → reference caption.

    ``fallen_back`` names the classes that the recipe which was asked for does not know.
    """

    grammars: Mapping[str, CaptionGrammar]
    references: Mapping[str, str]
    fallen_back: tuple[str, ...] = ()

    @classmethod
    def bundled(cls, name: str) -> Recipe:
        """Read one of the recipes that ship with the package.

        Raises:
            InputError: for an unknown name; lists those there are.
        """
        folder = resources.files("fdgpu.captions") / "recipes"
        file = folder / f"{name}.toml"
        if Path(name).name != name or not file.is_file():
            known = sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))
            raise InputError(f"there is no recipe {name!r}: use one of {', '.join(known)}, or a TOML file of your own")
        return cls.parse(file.read_text(encoding="utf-8"), f"recipe {name!r}")

    @classmethod
    def named(cls, name: str) -> Recipe:
        """Read the recipe of a TOML file, or one that ships, by its name."""
        return cls.from_file(Path(name)) if name.endswith(".toml") else cls.bundled(name)

    @classmethod
    def from_file(cls, path: Path) -> Recipe:
        """Read a recipe of the user's own.

        Raises:
            InputError: if the file is missing or malformed; names the line.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read ({error}): pass a TOML file in UTF-8") from None
        return cls.parse(text, str(path))

    @classmethod
    def for_classes(cls, names: Sequence[str]) -> Recipe:
        """Make the general recipe for classes that no recipe knows: the class name as noun, the paper's words."""
        general = tomllib.loads(
            (resources.files("fdgpu.captions") / "recipes" / "general.toml").read_text(encoding="utf-8")
        )
        return cls._build({**general, "classes": [{"name": name} for name in dict.fromkeys(names)]}, "general")

    @classmethod
    def resolve(cls, grammar: Any, class_names: Sequence[str]) -> Recipe:
        """Make a recipe for ``class_names`` of whatever the caller has.

        Args:
            grammar: None (the general recipe), a recipe's name, the path of a TOML file, one grammar for every
                class, a mapping of class name to grammar, or a recipe. Classes it does not know get the general one.
            class_names: the classes that need captions.

        Raises:
            InputError: for a name or file that does not exist, or anything else.
        """
        general = cls.for_classes(class_names)
        chosen = cls._given(grammar, class_names)
        return cls(
            {name: chosen.grammars.get(name, general.grammars[name]) for name in class_names},
            {name: chosen.references.get(name, general.references[name]) for name in class_names},
            fallen_back=tuple(name for name in class_names if chosen.grammars and name not in chosen.grammars),
        )

    @classmethod
    def _given(cls, grammar: Any, class_names: Sequence[str]) -> Recipe:
        if grammar is None:
            return cls({}, {})
        if isinstance(grammar, Recipe):
            return grammar
        if isinstance(grammar, (str, Path)):
            return cls.named(str(grammar))
        if isinstance(grammar, CaptionGrammar):
            grammar = dict.fromkeys(class_names, grammar)
        if isinstance(grammar, Mapping) and all(isinstance(g, CaptionGrammar) for g in grammar.values()):
            return cls(grammar, {name: g.reference() for name, g in grammar.items()})
        raise InputError(
            f"grammar is a {type(grammar).__name__}: pass a recipe's name, a TOML file or a CaptionGrammar"
        )

    @classmethod
    def parse(cls, text: str, where: str) -> Recipe:
        """Read a recipe from TOML text; ``where`` names it in errors."""
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InputError(f"{where}: {error}") from None
        return cls._build(raw, where)

    @classmethod
    def _build(cls, raw: dict[str, Any], where: str) -> Recipe:
        _check_keys(raw, KEYS, where)
        template = raw.get("template")
        _check_types(raw, {"slots": dict, "classes": list}, where)
        if not isinstance(template, str):
            raise InputError(f'{where}: there is no template, add template = "a photo of a {{noun}}"')
        grammars: dict[str, CaptionGrammar] = {}
        references: dict[str, str] = {}
        for entry in raw.get("classes", []):
            name = _class_name(entry, grammars, where)
            try:
                grammar = CaptionGrammar(template, **_slots(raw.get("slots", {}), entry, template))
                references[name] = entry.get("reference") or grammar.reference(noun=_nouns(entry)[0])
            except InputError as error:
                raise InputError(f"{where}, class {name!r}: {error}") from None
            grammars[name] = grammar
        return cls(grammars, references)


def _class_name(entry: Any, seen: Mapping[str, Any], where: str) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise InputError(f"{where}: a [[classes]] entry has no name")
    name: str = entry["name"]
    _check_keys(entry, CLASS_KEYS, f"{where}, class {name!r}")
    _check_types(entry, {"noun": (str, list), "reference": str, "extra": dict}, f"{where}, class {name!r}")
    if name in seen:
        raise InputError(f"{where}: the class {name!r} stands twice")
    return name


def _nouns(entry: dict[str, Any]) -> list[str]:
    noun = entry.get("noun", entry["name"])
    return [noun] if isinstance(noun, str) else list(noun)


def _slots(shared: dict[str, Any], entry: dict[str, Any], template: str) -> dict[str, list[str | None]]:
    """Return the words of each slot of one class, in the template's order."""
    extra = entry.get("extra", {})
    words: dict[str, Any] = {**shared, "noun": _nouns(entry)}
    for name, more in extra.items():
        if name not in words:
            raise InputError(f"extra names the slot {name!r}, which [slots] does not have")
        _check_types(extra, {name: list}, "extra")
        words[name] = [*_listed(words[name], name), *more]
    ordered = sorted(words, key=lambda name: template.find("{" + name + "}"))
    return {name: [word or None for word in dict.fromkeys(_listed(words[name], name))] for name in ordered}


def _listed(words: Any, slot: str) -> list[Any]:
    if not isinstance(words, list):
        raise InputError(f"{slot} is {words!r}: write a list of words, [{words!r}]")
    return words


def _check_types(table: dict[str, Any], kinds: dict[str, Any], where: str) -> None:
    for key, kind in kinds.items():
        if key in table and not isinstance(table[key], kind):
            raise InputError(f"{where}: {key} is {table[key]!r}, which is of the wrong kind; see the head of recipe.py")


def _check_keys(table: dict[str, Any], allowed: set[str], where: str) -> None:
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}, use {', '.join(sorted(allowed))}")
