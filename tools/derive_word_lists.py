"""Derive the shipped lists from WordNet: ``python -m tools.derive_word_lists``.

Writes into ``fdgpu/captions/words`` and ``fdgpu/captions/recipes``:

- ``nouns.csv``: every name at and below the synsets of CIFAR-10's classes; ``common`` as in :func:`nouns_below`.
- ``adjectives.csv``: the common adjectives that are values of the nouns in ``VISIBLE``; see :func:`visual_adjectives`.
- ``cifar10_extended.toml``: of these the common ones whose every word is in the list of words (paper, C.1.2).
- ``imagenet_classes.csv``: ImageNet's classes with their WordNet ids and their ancestors (paper, C.2).

Needs WordNet 3.0 and Webster's Second, which NLTK's list of words is taken from; both are packages of Debian:
``apt-get install wordnet-base miscfiles``. timm and torchvision, which come with open_clip, have ImageNet's ids and
names.
"""

from __future__ import annotations

import csv
import gzip
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from io import StringIO
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from fdgpu.files import write_atomically
from tools.wordnet_database import WordNetAdjectives, WordNetDatabase

CAPTIONS = Path(__file__).parents[1] / "fdgpu" / "captions"
WORDS, RECIPES = CAPTIONS / "words", CAPTIONS / "recipes"

# The synsets of CIFAR-10's classes. The paper does not name them; two for deer and ship, as in the published code:
# figure 25 has a kob, an antelope, among the deer.
CIFAR10 = {
    "airplane": ["airplane.n.01"],
    "automobile": ["car.n.01"],
    "bird": ["bird.n.01"],
    "cat": ["cat.n.01"],
    "deer": ["deer.n.01", "antelope.n.01"],
    "dog": ["dog.n.01"],
    "frog": ["frog.n.01"],
    "horse": ["horse.n.01"],
    "ship": ["boat.n.01", "ship.n.01"],
    "truck": ["truck.n.01"],
}
# Nouns for what a picture shows, by kind: of WordNet's 320 nouns that have adjectives for values.
VISIBLE = {
    "colour": ["hue.n.01", "value.n.04", "color.n.01", "color.n.02"],
    "light": ["light.n.07", "luminosity.n.01", "dullness.n.02"],
    "size": ["size.n.01", "thickness.n.01", "length.n.01", "width.n.01", "height.n.01", "depth.n.01"],
    "shape": ["shape.n.01", "curliness.n.01", "evenness.n.01"],
    "surface": ["texture.n.01", "clearness.n.02", "opacity.n.03"],
    "build": ["stature.n.02", "body_weight.n.01"],
    "age": ["age.n.01", "modernity.n.01"],
    "beauty": ["beauty.n.01"],
    "condition": ["cleanness.n.01", "wetness.n.01", "integrity.n.01", "fullness.n.03", "perfection.n.01"],
    "place": ["position.n.04", "orientation.n.03", "distance.n.01"],
}
WRITTEN_BY = "# Written by python -m tools.derive_word_lists; WordNet's licence is in captions/words/LICENSE.\n"
EXTENDED = """\
# CIFAR-10, the Extended caption set of the paper (C.1.2): nouns from WordNet below the class's synset, in lower case.
# Each synset gives its first name, if it is the first thing that name means: so did the published code, and the paper
# says "common names". Names with a word that is not in Webster's Second are left out: NLTK's list of words, which the
# paper used, is taken from it; here it is web2 with its proper names, from Debian's miscfiles.
"""
IMAGENET_NAMES = {  # ImageNet itself calls these like another class; other lists of its names do too
    "n02012849": "crane",
    "n03126707": "crane",
    "n03710637": "maillot",
    "n03710721": "maillot",
}


def noun_lists(wordnet: WordNetDatabase) -> str:
    """Return ``nouns.csv``."""
    rows = [
        (synset, name, "yes" if common else "no")
        for synset in sorted(synset for synsets in CIFAR10.values() for synset in synsets)
        for name, common in sorted(set(wordnet.nouns_below(synset)))
    ]
    return _csv(("below", "noun", "common"), rows)


def adjective_lists(wordnet: WordNetAdjectives) -> str:
    """Return ``adjectives.csv``."""
    rows = [
        (kind, noun, name)
        for kind, nouns in VISIBLE.items()
        for noun in nouns
        for name in sorted({adjective.name for adjective in wordnet.values_of(noun) if adjective.common})
    ]
    return _csv(("kind", "value_of", "adjective"), rows)


def cifar10_extended(wordnet: WordNetDatabase, words: set[str]) -> str:
    """Return ``cifar10_extended.toml``."""
    classes = []
    for name, synsets in CIFAR10.items():
        below = {noun.lower() for synset in synsets for noun, common in wordnet.nouns_below(synset) if common}
        nouns = sorted(noun for noun in below if noun in words or all(word in words for word in noun.split()))
        reference = f'reference = "a photo of a {name}"'
        classes.append(f'\n[[classes]]\nname = "{name}"\n{reference}\nnoun = [\n{_wrapped(nouns)}\n]\n')
    return EXTENDED + WRITTEN_BY + 'source = "C.1.2"\nextends = "cifar10"\n' + "".join(classes)


def imagenet_classes(wordnet: WordNetDatabase, ids: Iterable[str], names: Iterable[str], groups: set[str]) -> str:
    """Return ``imagenet_classes.csv``.

    Args:
        wordnet: version 3.0.
        ids: the classes' WordNet ids, ``"n01440764"``, in ImageNet's order.
        names: the classes' names in the same order.
        groups: the ancestors.
    """
    rows = []
    for wnid, name in zip(ids, names, strict=True):
        known = IMAGENET_NAMES.get(wnid, name)
        also = wnid if known == name else f"{wnid};{known}"
        rows.append((name, also, wordnet.ancestor(int(wnid[1:]), groups)))
    return _csv(("name", "also", "group"), rows)


def derived(adjectives: WordNetAdjectives, words: set[str]) -> Mapping[Path, str]:
    """Return every derived file: path → text."""
    from torchvision.models import ResNet18_Weights

    ids = (resources.files("timm") / "data" / "_info" / "imagenet_synsets.txt").read_text(encoding="utf-8").split()
    names = ResNet18_Weights.DEFAULT.meta["categories"]
    groups = tomllib.loads((RECIPES / "imagenet.toml").read_text(encoding="utf-8"))["groups"]
    ancestors = {name for group in groups for name in group["names"]}
    wordnet = adjectives.nouns
    return {
        WORDS / "nouns.csv": noun_lists(wordnet),
        WORDS / "adjectives.csv": adjective_lists(adjectives),
        RECIPES / "cifar10_extended.toml": cifar10_extended(wordnet, words),
        RECIPES / "imagenet_classes.csv": imagenet_classes(wordnet, ids, names, ancestors),
    }


def read_words(folder: Path) -> set[str]:
    """Read the list of words: ``web2`` and ``propernames.gz`` of Debian's miscfiles, in lower case."""
    with gzip.open(folder / "propernames.gz", "rt", encoding="utf-8") as names:
        proper = names.read()
    return set((folder / "web2").read_text(encoding="utf-8").lower().split()) | set(proper.lower().split())


def _wrapped(nouns: list[str]) -> str:
    """Return a TOML list's lines; a line does not end inside a noun."""
    listed = " ".join(f'"{noun}",'.replace(" ", "\0") for noun in nouns)
    lines = fill(listed, 118, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
    return lines.replace("\0", " ")


def _csv(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def main(
    wordnet: Annotated[Path, typer.Option(help="Folder of WordNet 3.0's data.noun and data.adj.")] = Path(
        "/usr/share/wordnet"
    ),
    words: Annotated[Path, typer.Option(help="Folder of web2 and propernames.gz.")] = Path("/usr/share/dict"),
) -> None:
    """Write the lists that fdgpu ships."""
    for path, text in derived(WordNetAdjectives(wordnet), read_words(words)).items():
        write_atomically(path, text)
        typer.echo(f"{path.relative_to(CAPTIONS)}: {len(text.splitlines())} lines")


if __name__ == "__main__":
    typer.run(main)
