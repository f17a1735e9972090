from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.captions import CaptionRecipe
from fdgpu.captions.recipe import WrittenRecipe
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
    recipe = CaptionRecipe.from_file(path)
    assert len(recipe.grammars["cat"]) == 2 * 2 * 2
    assert "a photo of a red kitten indoors" in recipe.grammars["cat"]
    assert recipe.references["cat"] == "a photo of an animal"
    assert list(recipe.grammars["<script>"]) == ["a photo of a <script>", "a photo of a red <script>"]
    assert list(CaptionGrammar.from_file(path)) == ["cat", "<script>"]


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
    recipe = CaptionRecipe.from_file(path)
    assert list(recipe.grammars) == ["crane (n02012849)", "crane (n03126707)"]
    nouns = {"bird": "a photo of a bird", "device": "a photo of a device", "": "a photo of a crane"}
    for names, expected in {
        ("crane", "crane"): ("bird", "device"),
        ("crane", "crane bird"): ("device", "bird"),
        ("N03126707",): ("device",),
        ("crane (n02012849)",): ("bird",),
        ("crane",): ("",),
    }.items():
        resolved = CaptionRecipe.resolve(recipe, names)
        assert [entry.reference for entry in resolved.classes] == [nouns[noun] for noun in expected]
        assert resolved.ambiguous == (("crane",) if "" in expected else ())
        assert resolved.fallen_back == ()
    assert list(CaptionRecipe.resolve(None, ["crane", "crane"]).grammars) == ["crane (0)", "crane (1)"]


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
    recipe = CaptionRecipe.from_file(path)
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
    recipe = CaptionRecipe.from_file(path)
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
        ("template = 'a {noun}'\nslots = [1,,2]", r": .*\(at line 2, column 12\)"),
        ("[[classes]]\nname = 'x'", ": there is no template, add template"),
        ("source = 'x'\ntemplate = 'a cat'", r": template 'a cat' has no \{noun\}"),
        ("template = 'a {noun'", ": template .* cannot be read"),
        ("template = 'a {noun}'\nsloots = 1", ": sloots: unknown key 'sloots', use template, slots, source, extends"),
        ("template = 5", ": template is 5: write a string"),
        ("template = 'a {noun}'\na_or_an = 'yes'", ": a_or_an is 'yes': write true or false"),
        ("template = 'a {noun} {verb}'\n[[classes]]\nname='x'", r": template names \{verb\}.* add verb ="),
        (
            "template = 'a {noun}'\n[slots]\nadjective=['x']",
            r": slots: there are words for 'adjective', but the template has no \{adjective\}: use noun, or write",
        ),
        (TOP.replace("['']", "[]"), r": slots\.place is \[\]: write at least one"),
        (TOP.replace("['']", "'q'"), r": slots\.place is 'q': write a list"),
        (TOP.replace("['']", "[3]"), r": slots\.place\[0\] is 3: write a string"),
        ("template = 'a {noun}'\nslots='q'", ": slots is 'q': write a table"),
        ("template = 'a {noun}'\nclasses=5", ": classes is 5: write a list"),
        ("template = 'a {noun}'\nclasses=[5]", r": classes\[0\] is 5: write a table"),
        (TOP + "[extra]\nverb = ['x']", ": extra: there are words for 'verb'"),
        (TOP + "[[classes]]\nnoun = 'x'", r": classes\[0\]: name is missing: add name"),
        (
            TOP + "[[classes]]\nname = 'x'\n[[classes]]\nname = 'y'\nextra.verb=['y']",
            r": classes\[1\] 'y': extra: there are words for 'verb'",
        ),
        (TOP + "[[classes]]\nname='x'\nnoun=5", r": classes\[0\] 'x': noun is 5: write a list"),
        (TOP + "[[classes]]\nname='x'\nnoun=[]", r": classes\[0\] 'x': noun is \[\]: write at least one"),
        (TOP + "[[classes]]\nname='x'\nnoun=['']", r": classes\[0\] 'x': noun holds no word"),
        (TOP + "[[classes]]\nname='x'\nextra.place='on'", r": classes\[0\] 'x': extra\.place is 'on': write a list"),
        (TOP + "[[classes]]\nname='x'\nalso=[1]", r": classes\[0\] 'x': also\[0\] is 1: write a string"),
        (
            TOP + "[[classes]]\nname='x'\nnouns='y'",
            r": classes\[0\] 'x': nouns: unknown key 'nouns', use name, also, noun",
        ),
        (
            TOP + "[[classes]]\nname='x'\n[[classes]]\nname='x'",
            r": classes\[1\] 'x': a class of this name is already written in .*own\.toml: classes\[0\] 'x': .* "
            "distinguish them by another name",
        ),
        (
            TOP + "[[classes]]\nname='x'\nalso=['1']\n[[classes]]\nname='x'\nalso=['1']",
            r": classes\[1\] 'x': a class of this name",
        ),
        (
            TOP + "[[classes]]\nname='x'\ngroup='dog'",
            r": classes\[0\] 'x': there is no group 'dog', and there are none: add \[\[groups\]\]",
        ),
        (TOP + "[[groups]]\nextra.place=['x']", r": groups\[0\]: names is missing: add names"),
        (TOP + "[[groups]]\nnames=['x']\nextra.verb=['x']", r": groups\[0\] 'x': extra: there are words for 'verb'"),
        (TOP + "[[groups]]\nnames=['']", r": groups\[0\]: names\[0\] is '': write a name"),
        ("extends = 'imagnet'", ": extends: there is no recipe 'imagnet': use one of celeba"),
        ("\nextends = 'own.toml'", ": extends: own.toml leads back to itself"),
        (
            "classes_from = 'none.csv'\n" + TOP,
            r": classes_from: .*none\.csv cannot be read, it does not exist: pass a CSV beside",
        ),
    ],
)
def test_a_mistake_is_named_with_its_file_and_where_in_it(tmp_path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=r"own\.toml" + message):
        CaptionRecipe.from_file(write(tmp_path, own=text))


def test_a_mistake_in_what_a_recipe_extends(tmp_path) -> None:
    for text, message in (
        ("template = 5", r"other\.toml: template is 5"),
        ("extends = 'own.toml'", r"other\.toml: extends: own\.toml leads back to itself"),
        (
            "extends = 'none.toml'",
            r"none\.toml cannot be read, it does not exist: pass a TOML file that .*other\.toml can extend",
        ),
    ):
        path = write(tmp_path, own="extends = 'other.toml'", other=text)
        with pytest.raises(InputError, match=message):
            CaptionRecipe.from_file(path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "line 1: the header is ''"),
        ("nmae,group\n", "line 1: the header is 'nmae,group', use the columns name,also,group"),
        ("name,group\na,\nb\n", "line 3: 1 fields, the header has 2"),
        ("name,group\n,\n", "line 2: name is '': write a name"),
        ("name,group\na,dog\n", "line 2, class 'a': there is no group 'dog'"),
        ("name,also\na,\na,\n", r"line 3, class 'a': a class of this name is already written in names\.csv, line 2"),
    ],
)
def test_a_mistake_in_the_table_of_classes(tmp_path, table: str, message: str) -> None:
    (tmp_path / "names.csv").write_text(table)
    with pytest.raises(InputError, match=r"names\.csv, " + message):
        CaptionRecipe.from_file(write(tmp_path, own="classes_from = 'names.csv'\n" + TOP))


def test_recipes_that_do_not_exist(tmp_path) -> None:
    with pytest.raises(InputError, match="use one of celeba, chestxray14, cifar10, cifar100, cifar10_extended"):
        CaptionGrammar.recipe("imagnet")
    with pytest.raises(InputError, match="no recipe"):
        CaptionGrammar.recipe("../recipes/demo")
    with pytest.raises(InputError, match=r"none\.toml cannot be read, it does not exist"):
        CaptionRecipe.resolve(str(tmp_path / "none.toml"), ["x"])
    with pytest.raises(InputError, match="grammar is a int"):
        CaptionRecipe.resolve(3, ["x"])


def deep_lists(levels: int) -> str:
    return f"source = {'[' * levels}{']' * levels}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (deep_lists(100_000), "nested too deeply"),
        ("a" + ".a" * 50_000 + " = 1", "a key has more than 10 parts"),
        ("[extra]\nnoun" + ".a" * 50_000 + " = 1", "a key has more than 10 parts"),
        ("[" + " . ".join("abc" * 4) + "]", "a key has more than 10 parts"),
        ("source = " + "x" * 10**6, "Invalid value"),
        ("source = " + "9" * 5000, "digits"),
        (f"template = {'x' * 10**6!r}", "has no {noun}"),
        ('template = "a {noun:>9999999999}"', "formats a slot"),
        ('template = "a {noun!r}"', "formats a slot"),
        ('template = "a {noun.x}"', "name slots like"),
        ('template = "a {self} {noun}"\n[slots]\nself = ["x"]', "has the slot {self}: name slots like"),
        ('extends = "a\\u0000.toml"', "cannot be read"),
        ('extends = "/dev/zero"', "there is no recipe '/dev/zero'"),
        ('classes_from = "/dev/zero"', "a device, no regular file: pass a CSV beside the recipe"),
        ('classes_from = ""\nsource = 1979-05-27', "source is .*: write a string"),
    ],
)
def test_a_recipe_that_was_made_to_hurt(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        CaptionRecipe.from_file(path)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_recipes_that_extend_each_other_without_end(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"{i}.toml").write_text(f'extends = "{i + 1}.toml"')
    with pytest.raises(InputError, match=r"20\.toml is one more than 20 recipes in a row"):
        CaptionRecipe.from_file(tmp_path / "0.toml")


def test_a_table_of_classes_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('template = "a {noun}"\nclasses_from = "names.csv"')
    for text, message in (("name\n" + "x" * 200_000, "field larger than"), ('name\n"a"b', "names.csv, line 2: ")):
        (tmp_path / "names.csv").write_text(text)
        with pytest.raises(InputError, match=message):
            CaptionRecipe.from_file(tmp_path / "own.toml")


VALUES = st.recursive(
    st.sampled_from(["true", "3", "nan", "-inf", "1979-05-27", '""', '"a {noun}"', '"own.toml"', '"cifar10"', '"{x}"'])
    | st.text(st.characters(codec="utf-8"), max_size=8).map(json.dumps),
    lambda inner: st.lists(inner, max_size=3).map(lambda listed: f"[{', '.join(listed)}]"),
    max_leaves=6,
)
KEYS = st.sampled_from([*WrittenRecipe.model_fields, "name", "noun", "also", "group", "reference", "names", "more"])
LINES = st.one_of(
    st.tuples(KEYS, VALUES).map(" = ".join),
    st.sampled_from(["[slots]", "[extra]", "[[classes]]", "[[groups]]", "[classes]", "[[slots]]", "[a.b]"]),
    st.sampled_from(OWN.strip().splitlines()),
)


@settings(max_examples=400, derandomize=True)
@given(st.data())
def test_recipes_of_any_text(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "own.toml"
    text = bytearray(OWN.encode())
    if data.draw(st.booleans()):
        text = bytearray("\n".join(data.draw(st.lists(LINES, min_size=1, max_size=9))).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=4) | st.sampled_from([b"[[", b'"']))
    path.write_bytes(text)
    try:
        recipe = CaptionRecipe.from_file(path)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017 - one of two outcomes
        return
    written = tomllib.loads(text.decode("utf-8-sig"))
    own = [entry["name"] for entry in written.get("classes", [])]
    assert [entry.name for entry in recipe.classes][-len(own) :] == own or not own or "extends" in written
    assert all(len(entry.grammar) and entry.grammar[0] for entry in recipe.classes)
