from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from fdgpu import nouns_below, visual_adjectives
from fdgpu.captions.wordnet import shipped_adjectives, shipped_nouns
from fdgpu.errors import InputError
from tools.derive_word_lists import VISIBLE

# instrument.n.01 ─┬─ guitar.n.01 (guitar, axe) ─ electric_guitar.n.01
#                  └─ axe.n.02 (axe) ─ electric_guitar.n.01
NAMES = {
    "instrument.n.01": ["instrument"],
    "guitar.n.01": ["guitar", "axe"],
    "axe.n.02": ["axe"],
    "electric_guitar.n.01": ["electric_guitar"],
}
BELOW = {
    "instrument.n.01": ["guitar.n.01", "axe.n.02"],
    "guitar.n.01": ["electric_guitar.n.01"],
    "axe.n.02": ["electric_guitar.n.01"],
    "electric_guitar.n.01": [],
}
ALL, COMMON = ["axe", "electric guitar", "guitar", "instrument"], ["electric guitar", "guitar", "instrument"]


def test_the_shipped_lists_answer_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("nltk", "nltk.corpus", "wn"):
        monkeypatch.setitem(sys.modules, library, None)
    dogs = nouns_below("dog.n.01")
    assert dogs == sorted(dogs, key=str.lower)
    assert {"dog", "Saint Bernard", "Canis familiaris", "pooch"} < set(dogs)
    common = nouns_below("dog.n.01", common=True)
    assert set(common) < set(dogs)
    assert {"Canis familiaris", "boxer"} & set(common) == set()  # a boxer is a fighter first
    assert nouns_below("cat.n.01", common=True, words={"persian", "cat"}) == ["cat", "Persian cat"]


def test_the_shipped_synsets_are_cifar_10s() -> None:
    assert len(shipped_nouns()) == 12
    assert all(name and "_" not in name for nouns in shipped_nouns().values() for name, _ in nouns)


def test_without_a_wordnet_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("nltk.corpus", "wn"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=r"'guitar.n.01' is not among .*airplane.n.01.* pip install wn, then"):
        nouns_below("guitar.n.01")
    for written in ("guitar", "run.v.01", "guitar.n.1"):
        with pytest.raises(InputError, match="is not a noun's synset: write it like"):
            nouns_below(written)


@dataclass(frozen=True)
class NltkSynset:
    """NLTK's own, as far as we ask it."""

    key: str
    names: list[str] = field(compare=False)

    def name(self) -> str:
        return self.key

    def lemma_names(self) -> list[str]:
        return self.names

    def hyponyms(self) -> list[NltkSynset]:
        return [NltkSynset(key, NAMES[key]) for key in BELOW[self.key]]


@pytest.fixture
def nltk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """NLTK with a WordNet of four synsets, and no wn beside it."""

    def synset(key: str) -> NltkSynset:
        if key not in NAMES:
            raise error(f"no lemma for {key}")
        return NltkSynset(key, NAMES[key])

    error = type("WordNetError", (Exception,), {})
    reader = SimpleNamespace(synset=synset, ensure_loaded=lambda: None)
    modules = {
        "nltk": ModuleType("nltk"),
        "nltk.corpus": SimpleNamespace(wordnet=reader),
        "nltk.corpus.reader.wordnet": SimpleNamespace(WordNetError=error),
        "wn": None,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return reader


@pytest.mark.usefixtures("nltk")
def test_nltk_expands_other_synsets() -> None:
    assert nouns_below("instrument.n.01") == ALL
    assert nouns_below("instrument.n.01", common=True) == COMMON
    with pytest.raises(InputError, match=r"NLTK's WordNet has no 'banjo\.n\.01'"):
        nouns_below("banjo.n.01")


def test_nltk_without_its_data_is_as_good_as_none(nltk: SimpleNamespace) -> None:
    def missing() -> None:
        raise LookupError("Resource wordnet not found")

    nltk.ensure_loaded = missing
    with pytest.raises(InputError, match=r"nltk\.downloader wordnet"):
        nouns_below("instrument.n.01")


def lexicon() -> str:
    """Return the four synsets as wn reads them."""
    entries = {}
    for key, names in NAMES.items():
        for name in names:
            entries.setdefault(name.replace("_", " "), []).append(key)
    entries["axe"] = ["guitar.n.01", "axe.n.02"]
    words = "".join(
        f'<LexicalEntry id="t-{i}"><Lemma writtenForm="{name}" partOfSpeech="n"/>'
        + "".join(f'<Sense id="t-{i}-{key}" synset="t-{key}"/>' for key in keys)
        + "</LexicalEntry>"
        for i, (name, keys) in enumerate(entries.items())
    )
    members = {key: " ".join(f"t-{i}-{key}" for i, keys in enumerate(entries.values()) if key in keys) for key in NAMES}
    synsets = "".join(
        f'<Synset id="t-{key}" ili="" partOfSpeech="n" members="{members[key]}">'
        + "".join(f'<SynsetRelation relType="hyponym" target="t-{below}"/>' for below in BELOW[key])
        + "</Synset>"
        for key in NAMES
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE LexicalResource SYSTEM '
        '"http://globalwordnet.github.io/schemas/WN-LMF-1.1.dtd">\n'
        '<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/"><Lexicon id="t" label="test" '
        f'language="en" email="t@example.org" license="MIT" version="1">{words}{synsets}</Lexicon></LexicalResource>'
    )


@pytest.fixture
def wn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The real wn, with an empty folder of its own, and no NLTK beside it."""
    library = pytest.importorskip("wn")
    monkeypatch.setitem(sys.modules, "nltk.corpus", None)
    before = library.config.data_directory
    library.config.data_directory = tmp_path
    yield library
    library.config.data_directory = before


def test_wn_expands_other_synsets(wn: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="download omw-en"):
        nouns_below("instrument.n.01")
    (tmp_path / "test.xml").write_text(lexicon())
    wn.add(tmp_path / "test.xml", progress_handler=None)
    assert nouns_below("instrument.n.01") == ALL
    assert nouns_below("instrument.n.01", common=True) == COMMON
    assert nouns_below("axe.n.02") == ["axe", "electric guitar"]
    with pytest.raises(InputError, match=r"t:1 has 2 meanings of the noun 'axe', not 3"):
        nouns_below("axe.n.03")


def test_adjectives_by_kind() -> None:
    colours, sizes = visual_adjectives("colour"), visual_adjectives("size")
    assert {"red", "blue", "white", "black", "olive"} <= set(colours)
    assert {"large", "huge", "small", "narrow"} <= set(sizes)
    assert visual_adjectives("colour", "size") == sorted({*colours, *sizes})
    everything = visual_adjectives()
    assert everything == sorted(set(everything))
    assert set(everything) == {adjective for kind in shipped_adjectives().values() for adjective in kind}
    assert list(shipped_adjectives()) == list(VISIBLE)
    assert not [adjective for adjective in everything if "(" in adjective or "_" in adjective]


def test_a_kind_that_there_is_not() -> None:
    with pytest.raises(InputError, match="no adjectives of the kind 'smell': use colour, light, size"):
        visual_adjectives("colour", "smell")
