from __future__ import annotations

import pytest

from fdgpu import CaptionGrammar
from fdgpu.captions import Recipe
from fdgpu.demo.settings import world_settings
from fdgpu.demo.speech import all_captions
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


def test_the_papers_cifar_10_recipe_has_the_papers_words() -> None:
    recipe = CaptionGrammar.recipe("cifar10")
    assert len(recipe) == 10
    assert len(recipe["cat"]) == 9 * (7 + 4)
    assert len(recipe["frog"]) == 9 * (7 + 2)
    assert "a photo of a white cat on the grass" in recipe["cat"]
    assert "a photo of a white truck in the ocean" not in recipe["truck"]


def test_the_demo_recipe_says_what_the_renderer_draws() -> None:
    recipe = CaptionGrammar.recipe("demo")
    assert tuple(recipe) == world_settings().class_names
    assert sorted(c for grammar in recipe.values() for c in grammar) == sorted(c.text for c in all_captions())


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("template = 'a {noun}'\nslots = [1,,2]", r"own.toml: .*line 2"),
        ("[[classes]]\nname = 'x'", "there is no template"),
        ("template = 'a {noun}'\nsloots = 1", "unknown key 'sloots'"),
        ("template = 'a {noun}'\n[[classes]]\nnoun = 'x'", "has no name"),
        ("template = 'a {noun}'\n[[classes]]\nname='x'\n[[classes]]\nname='x'", "'x' stands twice"),
        ("template = 'a {noun}'\n[[classes]]\nname='x'\nextra.verb=['y']", "slot 'verb'"),
        ("template = 'a {noun} {verb}'\n[[classes]]\nname='x'", "class 'x': template names {verb}"),
        ("template = 'a {noun}'\n[slots]\nadjective=['x']\n[[classes]]\nname='x'", "has no {adjective}"),
        ("template = 'a {noun}'\n[[classes]]\nname='x'\nnoun=5", "noun is 5"),
        ("template = 'a {noun}'\nclasses=5", "classes is 5"),
        ("template = 'a {noun}'\nslots='q'", "slots is 'q'"),
        ("template = 'a {noun} {a}'\n[slots]\na='q'\n[[classes]]\nname='x'", "write a list of words"),
        ("template = 'a {noun}'\n[[classes]]\nname='x'\nextra.noun='on'", "noun is 'on'"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        Recipe.from_file(path)


def test_recipes_that_do_not_exist(tmp_path) -> None:
    with pytest.raises(InputError, match="use one of cifar10, demo"):
        CaptionGrammar.recipe("imagnet")
    with pytest.raises(InputError, match="no recipe"):
        CaptionGrammar.recipe("../recipes/demo")
    with pytest.raises(InputError, match="cannot be read"):
        Recipe.resolve(str(tmp_path / "none.toml"), ["x"])
    with pytest.raises(InputError, match="grammar is a int"):
        Recipe.resolve(3, ["x"])
