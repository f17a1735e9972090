"""WordNet 3.0 as it is distributed, read from its files: ImageNet numbers its classes by the places in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fdgpu.captions.wordnet.libraries import Noun, all_below, nouns_of
from fdgpu.errors import InputError

HYPERNYM, HYPONYM = "@", "~"


@dataclass(frozen=True)
class Synset:
    """A noun's synset: its names, and the places of the synsets right above and below it."""

    names: tuple[str, ...]
    above: tuple[int, ...]
    below: tuple[int, ...]


class WordNetDatabase:
    """The nouns of a WordNet in its own format; a synset goes by its place in ``data.noun``.

    Args:
        folder: holds ``data.noun`` and ``index.noun``; ``/usr/share/wordnet`` in Debian's package wordnet-base.

    Raises:
        InputError: if they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        try:
            data = (folder / "data.noun").read_text(encoding="latin-1")
            index = (folder / "index.noun").read_text(encoding="latin-1")
        except OSError as error:
            raise InputError(f"{folder} holds no WordNet ({error}): apt-get install wordnet-base, say") from None
        self.synsets = dict(_synset(line) for line in data.splitlines() if not line.startswith(" "))
        self.senses = dict(_senses(line) for line in index.splitlines() if not line.startswith(" "))

    def place(self, name: str) -> int:
        """Return the place of a synset such as ``"dog.n.01"``."""
        word, _, number = name.rsplit(".", 2)
        return self.senses[word][int(number) - 1]

    def name(self, place: int) -> str:
        """Return what NLTK calls a synset: its first name, and which of that name's meanings it is."""
        first = self.synsets[place].names[0].lower()
        return f"{first}.n.{self.senses[first].index(place) + 1:02d}"

    def nouns_below(self, name: str) -> list[Noun]:
        """Return the nouns at and below a synset such as ``"dog.n.01"``."""
        return [
            noun
            for place in all_below(self.place(name), lambda place: self.synsets[place].below)
            for noun in nouns_of(self.synsets[place].names, self.name(place).endswith(".n.01"))
        ]

    def ancestor(self, place: int, words: set[str]) -> str:
        """Return the first of ``words`` on the way up from a synset, in whatever meaning.

        Where the way forks it takes the synset whose name comes first in the alphabet, as NLTK lists them and so the
        paper's code did: clothing is a consumer good before it is a covering.
        """
        word = self.name(place).rsplit(".", 2)[0].replace("_", " ")
        return word if word in words else self.ancestor(min(self.synsets[place].above, key=self.name), words)


def _synset(line: str) -> tuple[int, Synset]:
    """Read a line: place, file, "n", number of names (hexadecimal), names and ids, number of pointers, pointers."""
    fields = line.partition("|")[0].split()
    count = int(fields[3], 16)
    pointers = fields[5 + 2 * count :]
    kinds = list(zip(pointers[0::4], map(int, pointers[1::4]), strict=False))
    return int(fields[0]), Synset(
        names=tuple(fields[4 : 4 + 2 * count : 2]),
        above=tuple(place for kind, place in kinds if kind == HYPERNYM),
        below=tuple(place for kind, place in kinds if kind == HYPONYM),
    )


def _senses(line: str) -> tuple[str, list[int]]:
    """Read a line: the word, "n", the number of meanings, what does not matter here, and the places, as many."""
    fields = line.split()
    return fields[0], [int(place) for place in fields[-int(fields[2]) :]]
