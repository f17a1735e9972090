from __future__ import annotations

from pathlib import Path

import pytest

from fdgpu import CaptionGrammar
from fdgpu.captions import Recipe
from fdgpu.errors import InputError

OWN = """
template = "a photo of a {adjective} {noun} {preposition}"
[slots]
adjective = ["", "red"]
preposition = [""]
[[classes]]
name = "cat"
noun = ["cat", "kitten"]
reference = "a photo of an animal"
extra.preposition = ["indoors"]
[[classes]]
name = "<script>"
"""


def test_a_recipe_of_ones_own(tmp_path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(OWN)
    recipe = Recipe.from_file(path)
    assert len(recipe.grammars["cat"]) == 2 * 2 * 2
    assert "a photo of a red kitten indoors" in recipe.grammars["cat"]
    assert recipe.references["cat"] == "a photo of an animal"
    assert list(recipe.grammars["<script>"]) == ["a photo of a <script>", "a photo of a red <script>"]
    assert list(CaptionGrammar.from_file(path)) == ["cat", "<script>"]


def test_classes_that_a_recipe_does_not_know_get_the_general_one() -> None:
    recipe = Recipe.resolve("cifar10", ["cat", "unicorn"])
    assert [entry.name for entry in recipe.classes] == ["cat", "unicorn"]
    assert len(recipe.grammars["cat"]) == 99
    assert "a photo of a white unicorn outside" in recipe.grammars["unicorn"]
    assert recipe.references["unicorn"] == "a photo of a unicorn"
    assert recipe.fallen_back == ("unicorn",)
    assert set(Recipe.resolve(None, ["x"]).grammars) == {"x"}
    assert Recipe.resolve(None, ["x"]).fallen_back == ()


def test_one_grammar_or_a_mapping_will_do() -> None:
    grammar = CaptionGrammar("a {adjective} {noun}", adjective=[None, "big"], noun=["thing"])
    recipe = Recipe.resolve(grammar, ["a", "b"])
    assert recipe.grammars["b"] is grammar
    assert recipe.references["a"] == "a thing"
    assert Recipe.resolve({"a": grammar}, ["a", "b"]).references == {"a": "a thing", "b": "a photo of a b"}
    assert Recipe.resolve(recipe, ["b"]).classes == recipe.classes[1:]


def test_two_classes_of_a_name_keep_captions_of_their_own(tmp_path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        """
template = "a photo of a {noun}"
[[classes]]
name = "crane"
also = ["n02012849", "crane bird"]
noun = "bird"
[[classes]]
name = "crane"
also = ["n03126707"]
noun = "device"
"""
    )
    recipe = Recipe.from_file(path)
    assert list(recipe.grammars) == ["crane (n02012849)", "crane (n03126707)"]
    nouns = {"bird": "a photo of a bird", "device": "a photo of a device", "": "a photo of a crane"}
    for names, expected in {
        ("crane", "crane"): ("bird", "device"),
        ("crane", "crane bird"): ("device", "bird"),
        ("N03126707",): ("device",),
        ("crane (n02012849)",): ("bird",),
        ("crane",): ("",),
    }.items():
        resolved = Recipe.resolve(recipe, names)
        assert [entry.reference for entry in resolved.classes] == [nouns[noun] for noun in expected]
        assert resolved.ambiguous == (("crane",) if "" in expected else ())
        assert resolved.fallen_back == ()
    assert list(Recipe.resolve(None, ["crane", "crane"]).grammars) == ["crane (0)", "crane (1)"]


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder / "own.toml"


def test_groups_and_a_table_of_classes(tmp_path) -> None:
    path = write(
        tmp_path,
        own="""
template = "a {noun} {place}"
classes_from = "names.csv"
[slots]
place = [""]
[[groups]]
names = ["dog", "cat"]
extra.place = ["indoors"]
[[groups]]
names = ["fish"]
[[classes]]
name = "tabby"
group = "cat"
noun = ["tabby", "cat"]
extra.place = ["on a sofa"]
""",
    )
    (tmp_path / "names.csv").write_text("name,also,group\npug,n02110958;mops,dog\nbeagle,,dog\ntench,,fish\nhouse,,\n")
    recipe = Recipe.from_file(path)
    assert list(recipe.grammars["pug"]) == ["a dog", "a dog indoors"]
    assert recipe.grammars["beagle"] is recipe.grammars["pug"]  # one grammar for all of the same words
    assert recipe.classes[0].also == ("n02110958", "mops")
    assert list(recipe.grammars["tench"]) == ["a fish"]
    assert list(recipe.grammars["house"]) == ["a house"]
    assert recipe.references["tabby"] == "a tabby"
    assert list(recipe.grammars["tabby"])[3:] == ["a cat", "a cat indoors", "a cat on a sofa"]


def test_a_recipe_that_extends_others(tmp_path) -> None:
    path = write(
        tmp_path,
        own="""
source = "mine"
extends = "mine.toml"
a_or_an = true
[extra]
adjective = ["orange"]
[[classes]]
name = "animal"
""",
        mine="""
extends = "cifar10"
[slots]
adjective = ["", "old"]
[[classes]]
name = "cat"
reference = "a photo of a animal"
extra.preposition = ["on a sofa"]
""",
    )
    recipe = Recipe.from_file(path)
    assert list(recipe.grammars) == [*CaptionGrammar.recipe("cifar10"), "animal"]
    assert recipe.source == "mine"
    assert recipe.grammars["animal"].slots["adjective"] == (None, "old", "orange")
    assert "an animal outside" in str(list(recipe.grammars["animal"]))
    assert recipe.grammars["cat"].slots["preposition"][-2:] == ("in the forest", "on a sofa")
    assert recipe.references["cat"] == "a photo of a animal"  # written out: kept as it is
    assert recipe.references["dog"] == "a photo of a dog"


TOP = "template = 'a {noun} {place}'\n[slots]\nplace = ['']\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("template = 'a {noun}'\nslots = [1,,2]", r"own\.toml, line 2: .*\(column 12\)"),
        ("[[classes]]\nname = 'x'", r"own\.toml: there is no template, add template"),
        ("source = 'x'\ntemplate = 'a cat'", r"line 2: template 'a cat' has no \{noun\}"),
        ("template = 'a {noun'", "line 1: .* cannot be read"),
        ("template = 'a {noun}'\nsloots = 1", "line 2: unknown key 'sloots', use source, extends"),
        ("template = 5", "line 1: template is 5: write a string"),
        ("template = 'a {noun}'\na_or_an = 'yes'", "line 2: a_or_an is 'yes': write true or false"),
        ("template = 'a {noun} {verb}'\n[[classes]]\nname='x'", r"line 1: template names \{verb\}.* add verb ="),
        (
            "template = 'a {noun}'\n[slots]\nadjective=['x']",
            r"line 3: there are words for 'adjective', but the template has no \{adjective\}: use noun, or write",
        ),
        (TOP.replace("['']", "[]"), "line 3: place is an empty list"),
        (TOP.replace("['']", "'q'"), "line 3: place is 'q': pass a list of words"),
        (TOP.replace("['']", "[3]"), "line 3: place holds 3"),
        ("template = 'a {noun}'\nslots='q'", "line 2: slots is 'q': write a table"),
        ("template = 'a {noun}'\nclasses=5", "line 2: classes is 5: write a list"),
        (TOP + "[extra]\nverb = ['x']", "line 5: there are words for 'verb'"),
        (TOP + "[[classes]]\nnoun = 'x'", "line 4: a .* entry has no name"),
        (
            TOP + "[[classes]]\nname = 'x'\n[[classes]]\nname = 'y'\nextra.verb=['y']",
            "line 8: there are words for 'verb'",
        ),
        (TOP + "[[classes]]\nname='x'\nnoun=5", "line 6: noun is 5: write a string or a list of strings"),
        (TOP + "[[classes]]\nname='x'\nnoun=[]", "line 6: noun is an empty list"),
        (TOP + "[[classes]]\nname='x'\nnoun=['']", "line 4, class 'x': noun holds no word"),
        (TOP + "[[classes]]\nname='x'\nextra.place='on'", "line 6: place is 'on'"),
        (TOP + "[[classes]]\nname='x'\nalso=[1]", "line 4: also holds 1: write names"),
        (TOP + "[[classes]]\nname='x'\nnouns='y'", "line 6: unknown key 'nouns', use name, also, noun"),
        (
            TOP + "[[classes]]\nname='x'\n[[classes]]\nname='x'",
            r"line 6, class 'x': a class of this name stands already in .*line 4, .* tell them apart by another name",
        ),
        (TOP + "[[classes]]\nname='x'\nalso=['1']\n[[classes]]\nname='x'\nalso=['1']", "line 7, class 'x'"),
        (TOP + "[[classes]]\nname='x'\ngroup='dog'", r"line 4, class 'x': there is no group 'dog'.*add \[\[groups\]\]"),
        (TOP + "[[groups]]\nextra.place=['x']", "line 4: a .* entry has no names"),
        (TOP + "[[groups]]\nnames=['x']\nextra.verb=['x']", "line 6: there are words for 'verb'"),
        (TOP + "[[groups]]\nnames=['']", "line 5: names holds ''"),
        ("extends = 'imagnet'", "line 1: there is no recipe 'imagnet': use one of celeba"),
        ("\nextends = 'own.toml'", "line 2: own.toml leads back to itself"),
        ("extends = 'none.toml'", r"none\.toml cannot be read"),
        ("classes_from = 'none.csv'\n" + TOP, r"line 1: none\.csv cannot be read .* beside the recipe"),
    ],
)
def test_a_mistake_is_named_with_its_file_and_line(tmp_path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe.from_file(write(tmp_path, own=text))


def test_two_recipes_that_extend_each_other(tmp_path) -> None:
    path = write(tmp_path, own="extends = 'other.toml'", other="extends = 'own.toml'")
    with pytest.raises(InputError, match=r"other\.toml, line 1: own\.toml leads back to itself"):
        Recipe.from_file(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"names\.csv, line 1: the header is ''"),
        ("nmae,group\n", "line 1: the header is 'nmae,group', use the columns name,also,group"),
        ("name,group\na,\nb\n", r"names\.csv, line 3: 1 fields, the header has 2"),
        ("name,group\n,\n", "line 2: the name is empty"),
        ("name,group\na,dog\n", r"names\.csv, line 2, class 'a': there is no group 'dog'"),
        ("name,also\na,\na,\n", r"line 3, class 'a': a class of this name stands already in names\.csv, line 2"),
    ],
)
def test_a_mistake_in_the_table_of_classes(tmp_path, table: str, message: str) -> None:
    (tmp_path / "names.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        Recipe.from_file(write(tmp_path, own="classes_from = 'names.csv'\n" + TOP))


def test_recipes_that_do_not_exist(tmp_path) -> None:
    with pytest.raises(InputError, match="use one of celeba, chestxray14, cifar10, cifar100, cifar10_extended"):
        CaptionGrammar.recipe("imagnet")
    with pytest.raises(InputError, match="no recipe"):
        CaptionGrammar.recipe("../recipes/demo")
    with pytest.raises(InputError, match="cannot be read"):
        Recipe.resolve(str(tmp_path / "none.toml"), ["x"])
    with pytest.raises(InputError, match="grammar is a int"):
        Recipe.resolve(3, ["x"])
