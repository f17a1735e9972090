"""Recipes: which captions to try for which class, by the class's name. How they are written: ``recipe_file.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fdgpu.captions.grammar import CaptionGrammar, Word
from fdgpu.captions.names import ClassNames, told_apart
from fdgpu.captions.recipe_classes import ClassEntry
from fdgpu.captions.recipe_file import RecipeFile, read_bundled, read_own
from fdgpu.captions.toml_checks import Words, joined
from fdgpu.errors import InputError


@dataclass(frozen=True)
class ClassCaptions:
    """A class's candidates and the reference caption that describes all of it; ``also`` are its other names."""

    name: str
    grammar: CaptionGrammar
    reference: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """The captions of every class.

    ``source`` is the section of the paper. :meth:`resolve` fills in what it had to decide: ``fallen_back`` names the
    classes that the recipe does not know, ``ambiguous`` those that it knows several of; both got general captions.
    """

    classes: tuple[ClassCaptions, ...]
    source: str = ""
    fallen_back: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """One name a class, those of one name told apart by another of their names, or by their number."""
        others = [entry.also or (str(place),) for place, entry in enumerate(self.classes)]
        return told_apart([entry.name for entry in self.classes], others)

    @property
    def grammars(self) -> dict[str, CaptionGrammar]:
        """Class name → grammar."""
        return {name: entry.grammar for name, entry in zip(self.names, self.classes, strict=True)}

    @property
    def references(self) -> dict[str, str]:
        """Class name → reference caption."""
        return {name: entry.reference for name, entry in zip(self.names, self.classes, strict=True)}

    @classmethod
    def bundled(cls, name: str) -> Recipe:
        """Read one of the recipes that ship with the package.

        Raises:
            InputError: for an unknown name; lists those there are.
        """
        return cls.of_file(read_bundled(name))

    @classmethod
    def from_file(cls, path: Path) -> Recipe:
        """Read a recipe of the user's own.

        Raises:
            InputError: if the file is missing or malformed; names the file and the line.
        """
        return cls.of_file(read_own(path))

    @classmethod
    def named(cls, name: str) -> Recipe:
        """Read the recipe of a TOML file, or one that ships, by its name."""
        return cls.from_file(Path(name)) if name.endswith(".toml") else cls.bundled(name)

    @classmethod
    def for_classes(cls, names: Sequence[str]) -> Recipe:
        """Make the general recipe for classes that no recipe knows: the class name as noun, the paper's words."""
        entries = tuple(ClassEntry(name, f"class {name!r}") for name in names)
        return cls.of_file(replace(read_bundled("general"), classes=entries))

    @classmethod
    def of_file(cls, file: RecipeFile) -> Recipe:
        """Make the grammars of a recipe as it is written."""
        return cls(tuple(_class_captions(file)), source=file.source)

    @classmethod
    def resolve(cls, grammar: Any, class_names: Sequence[str]) -> Recipe:
        """Make a recipe for ``class_names`` of whatever the caller has.

        Args:
            grammar: None (the general recipe), a recipe's name, the path of a TOML file, one grammar for every
                class, a mapping of class name to grammar, or a recipe.
            class_names: the classes that need captions, by any of the names that the recipe has for them; see
                :class:`fdgpu.captions.names.ClassNames`.

        Returns:
            A recipe with one entry for each of ``class_names``, in their order.

        Raises:
            InputError: for a name or file that does not exist, or anything else.
        """
        chosen = cls._given(grammar, class_names)
        found = ClassNames(
            (entry.name, key, *entry.also) for entry, key in zip(chosen.classes, chosen.names, strict=True)
        )
        places = found.match(class_names)
        missing = [name for name, place in zip(class_names, places.places, strict=True) if place is None]
        general = iter(cls.for_classes(missing).classes)
        return cls(
            tuple(
                next(general) if place is None else replace(chosen.classes[place], name=name)
                for name, place in zip(class_names, places.places, strict=True)
            ),
            source=chosen.source,
            fallen_back=tuple(name for name in missing if chosen.classes and name not in places.ambiguous),
            ambiguous=tuple(places.ambiguous),
        )

    @classmethod
    def _given(cls, grammar: Any, class_names: Sequence[str]) -> Recipe:
        if grammar is None:
            return cls(())
        if isinstance(grammar, Recipe):
            return grammar
        if isinstance(grammar, (str, Path)):
            return cls.named(str(grammar))
        if isinstance(grammar, CaptionGrammar):
            grammar = dict.fromkeys(class_names, grammar)
        if isinstance(grammar, Mapping) and all(isinstance(g, CaptionGrammar) for g in grammar.values()):
            return cls(tuple(ClassCaptions(str(name), g, g.reference()) for name, g in grammar.items()))
        raise InputError(
            f"grammar is a {type(grammar).__name__}: pass a recipe's name, a TOML file or a CaptionGrammar"
        )


def _class_captions(file: RecipeFile) -> Iterator[ClassCaptions]:
    """Yield the classes; those with the same words share one grammar, so that a thousand classes stay small."""
    made: dict[tuple[Any, ...], CaptionGrammar] = {}
    for entry in file.classes:
        nouns = entry.nouns or ((entry.group,) if entry.group else file.slots.get("noun", (entry.name,)))
        extra = joined(joined(file.extra, file.groups.get(entry.group, {})), entry.extra)
        slots = _in_order(file.template, joined({**file.slots, "noun": nouns}, extra))
        if slots not in made:
            try:
                made[slots] = CaptionGrammar(file.template, a_or_an=file.a_or_an, **dict(slots))
            except InputError as error:
                raise InputError(f"{entry.where}: {error}") from None
        grammar = made[slots]
        reference = entry.reference or grammar.reference(noun=next(filter(None, grammar.slots["noun"])))
        yield ClassCaptions(entry.name, grammar, reference, entry.also)


def _in_order(template: str, words: Words) -> tuple[tuple[str, tuple[Word, ...]], ...]:
    """Return the slots in the template's order, so that the last one there varies fastest."""
    return tuple(sorted(words.items(), key=lambda slot: template.find("{" + slot[0] + "}")))
