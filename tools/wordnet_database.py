"""WordNet 3.0 as it is distributed, read from its files: ImageNet numbers its classes by the offsets in them.

They are read here because wn does not know this format, and NLTK's reader asks for a file, lexnames, that Debian's
package lacks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fdgpu.captions.wordnet import Noun, all_below, nouns_of
from fdgpu.errors import InputError

HYPERNYM, HYPONYM, ATTRIBUTE, SIMILAR = "@", "~", "=", "&"
BEFORE, AFTER = "(a)", ("(p)", "(ip)")  # an adjective stands before its noun only, or after it only


@dataclass(frozen=True)
class Synset:
    """A synset: its names, and the offsets of the synsets right above and below it.

    ``values`` of a noun are the adjectives that say how much of it there is (size: large, small); ``similar`` of an
    adjective are those of like meaning (large: huge).
    """

    names: tuple[str, ...]
    above: tuple[int, ...]
    below: tuple[int, ...]
    values: tuple[int, ...] = ()
    similar: tuple[int, ...] = ()


class WordNetDatabase:
    """The nouns of a WordNet in its own format; a synset goes by its offset in ``data.noun``.

    Args:
        folder: holds ``data.noun`` and ``index.noun``; ``/usr/share/wordnet`` in Debian's package wordnet-base.

    Raises:
        InputError: if they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.synsets = dict(map(_synset, _lines(folder / "data.noun")))
        self.senses = dict(map(_senses, _lines(folder / "index.noun")))

    def offset(self, name: str) -> int:
        """Return the offset of a synset such as ``"dog.n.01"``."""
        word, _, number = name.rsplit(".", 2)
        return self.senses[word][int(number) - 1]

    def name(self, offset: int) -> str:
        """Return what NLTK calls a synset: its first name, and which of that name's meanings it is."""
        first = self.synsets[offset].names[0].lower()
        return f"{first}.n.{self.senses[first].index(offset) + 1:02d}"

    def nouns_below(self, name: str) -> list[Noun]:
        """Return the nouns at and below a synset such as ``"dog.n.01"``."""
        return [
            noun
            for offset in all_below(self.offset(name), lambda offset: self.synsets[offset].below)
            for noun in nouns_of(self.synsets[offset].names, self.name(offset).endswith(".n.01"))
        ]

    def ancestor(self, offset: int, words: set[str]) -> str:
        """Return the first of ``words`` on the way up from a synset, in any meaning.

        Where the way forks it takes the synset whose name comes first in the alphabet, as NLTK lists them and so the
        paper's code did: clothing is a consumer good before it is a covering.
        """
        word = self.name(offset).rsplit(".", 2)[0].replace("_", " ")
        return word if word in words else self.ancestor(min(self.synsets[offset].above, key=self.name), words)


@dataclass(frozen=True)
class Adjective:
    """An adjective in its first name: ``common`` if this is the first thing that name means, and found in texts."""

    name: str
    common: bool


class WordNetAdjectives:
    """The adjectives of the same WordNet, by the nouns that they are values of.

    Args:
        folder: holds ``data.adj`` and ``index.adj`` beside the nouns.

    Raises:
        InputError: if they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.nouns = WordNetDatabase(folder)
        self.synsets = dict(map(_synset, _lines(folder / "data.adj")))
        self.senses = dict(map(_senses, _lines(folder / "index.adj")))
        self.tagged = dict(map(_tagged, _lines(folder / "index.adj")))

    def values_of(self, name: str) -> list[Adjective]:
        """Return the adjectives that are values of a noun's synset such as ``"size.n.01"``, and those like them.

        Left out are those that do not stand before a noun ("in evidence"), which WordNet marks.
        """
        heads = self.nouns.synsets[self.nouns.offset(name)].values
        offsets = dict.fromkeys(offset for head in heads for offset in (head, *self.synsets[head].similar))
        return [self._adjective(offset) for offset in offsets if not self.synsets[offset].names[0].endswith(AFTER)]

    def _adjective(self, offset: int) -> Adjective:
        name = self.synsets[offset].names[0].removesuffix(BEFORE)
        first = self.senses[name.lower()][0] == offset
        return Adjective(name.replace("_", " "), first and self.tagged[name.lower()] > 0)


def _lines(file: Path) -> list[str]:
    try:
        text = file.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(f"{file.parent} holds no WordNet ({error}): apt-get install wordnet-base, say") from None
    return [line for line in text.splitlines() if not line.startswith(" ")]


def _synset(line: str) -> tuple[int, Synset]:
    """Read a line: offset, file, "n", number of names (hexadecimal), names and ids, number of pointers, pointers."""
    fields = line.partition("|")[0].split()
    count = int(fields[3], 16)
    pointers = fields[5 + 2 * count :]
    kinds = list(zip(pointers[0::4], map(int, pointers[1::4]), strict=False))
    return int(fields[0]), Synset(
        names=tuple(fields[4 : 4 + 2 * count : 2]),
        above=tuple(offset for kind, offset in kinds if kind == HYPERNYM),
        below=tuple(offset for kind, offset in kinds if kind == HYPONYM),
        values=tuple(offset for kind, offset in kinds if kind == ATTRIBUTE),
        similar=tuple(offset for kind, offset in kinds if kind == SIMILAR),
    )


def _senses(line: str) -> tuple[str, list[int]]:
    """Read a line: the word, "n", the number of meanings, what does not matter here, and the offsets, as many."""
    fields = line.split()
    return fields[0], [int(offset) for offset in fields[-int(fields[2]) :]]


def _tagged(line: str) -> tuple[str, int]:
    """Read the same line: how many of the word's meanings, the first of them, occur in WordNet's tagged texts."""
    fields = line.split()
    return fields[0], int(fields[-int(fields[2]) - 1])
