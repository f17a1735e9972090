"""The candidate captions of every class: grammars by class name, and their texts without repetition (paper, 2.2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions.grammar import CaptionGrammar, class_grammars
from fdgpu.captions.recipe import WrittenClass, WrittenRecipe, distinct_names, read_bundled, read_own
from fdgpu.captions.sentences import ENDINGS, Sentences, is_sentences, listed_sentences, read_sentences
from fdgpu.checks import shown
from fdgpu.errors import InputError


@dataclass(frozen=True)
class ClassCaptions:
    """A class's candidates and the reference caption that describes all of it; ``also`` are its other names.

    Candidates are those of a grammar, or sentences; with these, ``reference`` is "" until a recipe resolves it.
    """

    name: str
    grammar: Sequence[str]
    reference: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaptionRecipe:
    """The captions of every class.

    ``source`` is the section of the paper. :meth:`resolve` fills in what it had to decide: ``fallen_back`` names the
    classes that the recipe does not know, ``ambiguous`` those that it knows several of; both got general captions.
    ``for_all`` are sentences for every class there may be.
    """

    classes: tuple[ClassCaptions, ...]
    source: str = ""
    fallen_back: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    for_all: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """One name a class; equal ones are distinguished by another of the class's names, or by its number."""
        others = [entry.also or (str(i),) for i, entry in enumerate(self.classes)]
        return distinct_names([entry.name for entry in self.classes], others)

    @property
    def grammars(self) -> dict[str, Sequence[str]]:
        """Class name → grammar, or sentences."""
        return {name: entry.grammar for name, entry in zip(self.names, self.classes, strict=True)}

    @property
    def references(self) -> dict[str, str]:
        """Class name → reference caption."""
        return {name: entry.reference for name, entry in zip(self.names, self.classes, strict=True)}

    @classmethod
    def bundled(cls, name: str) -> CaptionRecipe:
        """Read one of the recipes that ship with the package.

        Raises:
            InputError: for an unknown name; lists those there are.
        """
        return cls._of(read_bundled(name))

    @classmethod
    def from_file(cls, path: Path) -> CaptionRecipe:
        """Read a recipe of the user's own.

        Raises:
            InputError: if the file is missing or malformed; names the file, and where in it.
        """
        return cls._of(read_own(path))

    @classmethod
    def named(cls, name: str) -> CaptionRecipe:
        """Read the recipe of a TOML file, a file of sentences, or a recipe that ships, by its name."""
        if name.lower().endswith(ENDINGS):
            return cls.of_sentences(read_sentences(Path(name)))
        return cls.from_file(Path(name)) if name.endswith(".toml") else cls.bundled(name)

    @classmethod
    def of_sentences(cls, sentences: Sentences | Mapping[str, Sentences]) -> CaptionRecipe:
        """Make a recipe of sentences, for all classes or by class name; the general recipe has the references."""
        if isinstance(sentences, tuple):
            return cls((), for_all=sentences)
        return cls(tuple(ClassCaptions(name, own, "") for name, own in sentences.items()))

    @classmethod
    def for_classes(cls, names: Sequence[str], nouns: Mapping[str, str] | None = None) -> CaptionRecipe:
        """Make the general recipe for classes that no recipe knows: its noun, or its name, and the paper's words."""
        of = nouns or {}
        entries = [
            WrittenClass.model_construct(name=name, noun=[of[name]] if name in of else []).at("class") for name in names
        ]
        return cls._of(read_bundled("general").model_copy(update={"classes": entries}))

    @classmethod
    def _of(cls, recipe: WrittenRecipe) -> CaptionRecipe:
        """Make the grammars of a recipe as it is written."""
        classes = [
            ClassCaptions(
                entry.name,
                grammar,
                entry.reference or grammar.reference(noun=next(filter(None, grammar.slots["noun"]))),
                tuple(entry.also),
            )
            for entry, grammar in zip(recipe.classes, class_grammars(recipe), strict=True)
        ]
        return cls(tuple(classes), source=recipe.source)

    @classmethod
    def resolve(
        cls, grammar: object, class_names: Sequence[str], nouns: Mapping[str, str] | None = None
    ) -> CaptionRecipe:
        """Make a recipe for ``class_names`` of what the caller has.

        Args:
            grammar: None (the general recipe), a recipe's name, the path of a TOML file or of a file of sentences
                (:func:`fdgpu.captions.sentences.read_sentences`), one grammar or list of sentences for every class, a
                mapping of class name to either, or a recipe.
            class_names: the classes that need captions, by any of the names that the recipe has for them; see
                :class:`ClassNames`.
            nouns: what general captions call a class, where that is not its name.

        Returns:
            A recipe with one entry for each of ``class_names``, in their order.

        Raises:
            InputError: for a name or file that does not exist, sentences of other classes alone, or anything else.
        """
        if isinstance(grammar, CaptionGrammar):
            return cls(tuple(ClassCaptions(name, grammar, grammar.reference()) for name in class_names))
        chosen = cls._given(grammar)
        if chosen.for_all:
            general = cls.for_classes(class_names, nouns).classes
            return cls(tuple(replace(entry, grammar=chosen.for_all) for entry in general))
        found = ClassNames(
            (entry.name, key, *entry.also) for entry, key in zip(chosen.classes, chosen.names, strict=True)
        )
        indices, ambiguous = found.match(class_names)
        missing = [name for name, index in zip(class_names, indices, strict=True) if index is None]
        if chosen.classes and len(missing) == len(class_names) and not any(one.reference for one in chosen.classes):
            raise InputError(
                f"grammar has sentences for {shown(chosen.classes[0].name)}, and for none of the audit's classes, such "
                f"as {shown(class_names[0])}: name its columns as the classes are, or pass one column, caption"
            )
        known = [None if index is None else chosen.classes[index] for index in indices]
        wanting = [name for name, one in zip(class_names, known, strict=True) if one is None or not one.reference]
        further = iter(cls.for_classes(wanting, nouns).classes)
        return cls(
            tuple(
                next(further)
                if one is None
                else replace(one, name=name, reference=one.reference or next(further).reference)
                for name, one in zip(class_names, known, strict=True)
            ),
            source=chosen.source,
            fallen_back=tuple(name for name in missing if chosen.classes and name not in ambiguous),
            ambiguous=tuple(ambiguous),
        )

    @classmethod
    def _given(cls, grammar: object) -> CaptionRecipe:
        if grammar is None:
            return cls(())
        if isinstance(grammar, CaptionRecipe):
            return grammar
        if isinstance(grammar, (str, Path)):
            return cls.named(str(grammar))
        if is_sentences(grammar):
            return cls.of_sentences(listed_sentences(grammar, "grammar"))
        if isinstance(grammar, Mapping) and all(map(_are_captions, grammar.values())):
            return cls(
                tuple(
                    ClassCaptions(str(name), own, own.reference())
                    if isinstance(own, CaptionGrammar)
                    else ClassCaptions(str(name), listed_sentences(own, f"grammar of {shown(name)}"), "")
                    for name, own in grammar.items()
                )
            )
        raise InputError(
            f"grammar is a {type(grammar).__name__}: pass a recipe's name, a TOML file, a CaptionGrammar, or sentences"
        )


def _are_captions(given: object) -> bool:
    return isinstance(given, CaptionGrammar) or is_sentences(given)


class ClassNames:
    """Classes by every name they go by; upper case and underscores are as good as lower case and spaces.

    Args:
        names: the names of each class.
    """

    def __init__(self, names: Iterable[Iterable[str]]) -> None:
        self._exact: defaultdict[str, list[int]] = defaultdict(list)
        self._spelled: defaultdict[str, list[int]] = defaultdict(list)
        for index, of_class in enumerate(names):
            listed = list(of_class)
            for name in dict.fromkeys(listed):
                self._exact[name].append(index)
            for name in dict.fromkeys(map(_spelled, listed)):
                self._spelled[name].append(index)

    def match(self, wanted: Sequence[str]) -> tuple[list[int | None], dict[str, tuple[int, ...]]]:
        """Find every wanted name.

        A name that several classes have means them in their order if it is wanted as often, as in the list of
        ImageNet's thousand names, which has two cranes. A class that another wanted name means alone is not meant.

        Returns:
            The index of each wanted name's class, None where no class has it or several do; and ambiguous name →
            the classes that it might mean.
        """
        candidates = [tuple(self._exact.get(name) or self._spelled.get(_spelled(name)) or ()) for name in wanted]
        indices = [meant[0] if len(meant) == 1 else None for meant in candidates]
        taken = set(indices)
        ambiguous: dict[str, tuple[int, ...]] = {}
        for meant in dict.fromkeys(filter(lambda meant: len(meant) > 1, candidates)):
            wanting = [i for i, other in enumerate(candidates) if other == meant]
            free = [index for index in meant if index not in taken]
            if len(free) != len(wanting):
                ambiguous |= {wanted[i]: meant for i in wanting}
                continue
            for i, index in zip(wanting, free, strict=True):
                indices[i] = index
        return indices, ambiguous


def _spelled(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def pool_captions(
    groups: Sequence[Iterable[str]],
) -> tuple[list[str], list[NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Number the captions of all groups, texts that are equal once, so that each is encoded once.

    A group that is listed several times, as the grammar that a hundred breeds of dogs share, is gone through once.

    Returns:
        Every text once, in the order they first appear; by group the indices in it of the group's texts, each once, in
        the group's order; and by group the indices in the group where these texts are first.

    Example:
        >>> texts, own, _ = pool_captions([["a cat", "a white cat"], ["a white cat", "a dog"]])
        >>> texts, [rows.tolist() for rows in own]
        (['a cat', 'a white cat', 'a dog'], [[0, 1], [1, 2]])
    """
    numbers: dict[str, int] = {}
    known: dict[int, NDArray[np.int64]] = {}
    for group in groups:
        if id(group) not in known:
            own: dict[int, int] = {}
            for first, caption in enumerate(group):
                own.setdefault(numbers.setdefault(caption, len(numbers)), first)
            known[id(group)] = np.array([list(own), list(own.values())], np.int64)
    members, firsts = zip(*(known[id(group)] for group in groups), strict=True) if groups else ((), ())
    return list(numbers), list(members), list(firsts)
