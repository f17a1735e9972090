from __future__ import annotations

import gzip
import tomllib
from pathlib import Path

import pytest

from fdgpu.errors import InputError
from tools.derive_word_lists import (
    CIFAR10,
    adjective_lists,
    cifar10_extended,
    derived,
    imagenet_classes,
    read_words,
)
from tools.wordnet_database import Adjective, WordNetAdjectives, WordNetDatabase

DEBIAN, DICTIONARIES = Path("/usr/share/wordnet"), Path("/usr/share/dict")

# A WordNet of six synsets: clothing is a consumer good and a covering, a shirt is clothing, and so is a "jersey".
DATA = """\
  1 The licence stands first, indented.
00000010 03 n 01 entity 0 002 ~ 00000020 n 0000 ~ 00000030 n 0000 | what there is
00000020 03 n 01 covering 0 002 @ 00000010 n 0000 ~ 00000040 n 0000 | what covers
00000030 03 n 02 consumer_goods 0 goods 1 002 @ 00000010 n 0000 ~ 00000040 n 0000 | what is bought
00000040 03 n 02 clothing 0 Wear 0 003 @ 00000020 n 0000 @ 00000030 n 0000 ~ 00000050 n 0000 | what is worn
00000050 03 n 02 jersey 0 t-shirt 0 002 @ 00000040 n 0000 + 00000099 v 0101 | a shirt
00000060 03 n 01 jersey 1 001 @ 00000010 n 0000 | a fabric
"""
INDEX = """\
  1 The licence stands first, indented.
clothing n 1 2 @ ~ 1 1 00000040
consumer_goods n 1 2 @ ~ 1 0 00000030
covering n 1 2 @ ~ 1 1 00000020
entity n 1 1 ~ 1 1 00000010
jersey n 2 1 @ 2 1 00000060 00000050
"""


@pytest.fixture
def wordnet(tmp_path: Path) -> WordNetDatabase:
    (tmp_path / "data.noun").write_text(DATA)
    (tmp_path / "index.noun").write_text(INDEX)
    return WordNetDatabase(tmp_path)


def test_synsets_by_name_and_offset(wordnet: WordNetDatabase) -> None:
    assert wordnet.offset("jersey.n.02") == 50
    assert wordnet.name(50) == "jersey.n.02"
    assert wordnet.synsets[40].names == ("clothing", "Wear")
    assert (wordnet.synsets[40].above, wordnet.synsets[40].below) == ((20, 30), (50,))


def test_the_nouns_below(wordnet: WordNetDatabase) -> None:
    assert wordnet.nouns_below("clothing.n.01") == [
        ("clothing", True),
        ("Wear", False),
        ("jersey", False),  # a fabric first
        ("t-shirt", False),
    ]


def test_the_way_up_takes_the_first_by_the_alphabet(wordnet: WordNetDatabase) -> None:
    assert wordnet.ancestor(50, {"covering", "entity"}) == "entity"
    assert wordnet.ancestor(50, {"covering", "consumer goods", "entity"}) == "consumer goods"
    assert wordnet.ancestor(20, {"covering", "entity"}) == "covering"
    table = imagenet_classes(wordnet, ["n00000050", "n00000020"], ["shirt", "a, b"], {"covering", "entity"})
    assert table == 'name,also,group\nshirt,n00000050,entity\n"a, b",n00000020,covering\n'


def test_no_wordnet_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no WordNet .* apt-get install wordnet-base"):
        WordNetDatabase(tmp_path)


def test_nouns_with_words_that_are_not_listed_are_left_out(wordnet: WordNetDatabase, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tools.derive_word_lists.CIFAR10", {"cover": ["entity.n.01", "covering.n.01"]})
    (tmp_path / "web2").write_text("Consumer\ncovering\nentity\n")
    with gzip.open(tmp_path / "propernames.gz", "wt") as stream:
        stream.write("Goods\n")
    (cover,) = tomllib.loads(cifar10_extended(wordnet, read_words(tmp_path)))["classes"]
    assert cover["noun"] == ["consumer goods", "covering", "entity"]
    assert cover["reference"] == "a photo of a cover"


# "Large" and "small" are values of size; "huge" is like large, "wide" means something else first, "at hand" stands
# behind its noun only, and "ample" is in no tagged text.
SIZES = """\
00000070 03 n 01 size 0 002 = 00000110 a 0000 = 00000120 a 0000 | how big it is
"""
ADJECTIVES = """\
00000110 00 a 02 large 0 big 0 004 = 00000070 n 0000 & 00000130 a 0000 & 00000140 a 0000 & 00000160 a 0000 | above
00000120 00 a 01 small(a) 0 003 = 00000070 n 0000 ! 00000110 a 0101 & 00000150 a 0000 | below
00000130 00 s 01 huge 0 001 & 00000110 a 0000 | very large
00000140 00 s 01 wide 2 001 & 00000110 a 0000 | large in a way
00000150 00 s 01 at_hand(p) 0 001 & 00000120 a 0000 | small and near
00000160 00 s 01 ample 0 001 & 00000110 a 0000 | large enough
"""
ADJECTIVE_INDEX = """\
ample a 1 1 & 1 0 00000160
at_hand a 1 1 & 1 1 00000150
huge a 1 1 & 1 1 00000130
large a 1 2 = & 1 1 00000110
small a 1 3 = ! & 1 1 00000120
wide a 2 1 & 2 2 00000190 00000140
"""


def test_the_adjectives_that_are_values_of_a_noun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.noun").write_text(DATA + SIZES)
    (tmp_path / "index.noun").write_text(INDEX + "size n 1 1 = 1 1 00000070\n")
    (tmp_path / "data.adj").write_text(ADJECTIVES)
    (tmp_path / "index.adj").write_text(ADJECTIVE_INDEX)
    wordnet = WordNetAdjectives(tmp_path)
    assert wordnet.values_of("size.n.01") == [
        Adjective("large", True),
        Adjective("huge", True),
        Adjective("wide", False),
        Adjective("ample", False),
        Adjective("small", True),
    ]
    monkeypatch.setattr("tools.derive_word_lists.VISIBLE", {"extent": ["size.n.01"]})
    rows = ["kind,value_of,adjective", *(f"extent,size.n.01,{name}" for name in ("huge", "large", "small"))]
    assert adjective_lists(wordnet).splitlines() == rows


@pytest.mark.skipif(
    not (DEBIAN / "data.noun").is_file() or not (DICTIONARIES / "web2").is_file(),
    reason="needs Debian's wordnet-base and miscfiles",
)
def test_the_shipped_lists_are_what_the_script_derives() -> None:
    assert len(CIFAR10) == 10
    for path, text in derived(WordNetAdjectives(DEBIAN), read_words(DICTIONARIES)).items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m tools.derive_word_lists"
