"""Candidates by class: names that are found again, recipes that are resolved, texts that are encoded once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.captions import CaptionRecipe, pool_captions
from fdgpu.captions.candidates import ClassNames
from fdgpu.captions.recipe import distinct_names
from fdgpu.errors import InputError


def test_classes_that_a_recipe_does_not_know_get_the_general_one() -> None:
    recipe = CaptionRecipe.resolve("cifar10", ["cat", "unicorn"])
    assert [entry.name for entry in recipe.classes] == ["cat", "unicorn"]
    assert len(recipe.grammars["cat"]) == 99
    assert "a photo of a white unicorn outside" in recipe.grammars["unicorn"]
    assert recipe.references["unicorn"] == "a photo of a unicorn"
    assert recipe.fallen_back == ("unicorn",)
    assert set(CaptionRecipe.resolve(None, ["x"]).grammars) == {"x"}
    assert CaptionRecipe.resolve(None, ["x"]).fallen_back == ()


def test_a_class_without_a_name_has_no_captions() -> None:
    with pytest.raises(InputError, match="class ' ': noun holds no word"):
        CaptionRecipe.resolve(None, ["cat", " "])


def test_one_grammar_or_a_mapping_will_do() -> None:
    grammar = CaptionGrammar("a {adjective} {noun}", adjective=[None, "big"], noun=["thing"])
    recipe = CaptionRecipe.resolve(grammar, ["a", "b"])
    assert recipe.grammars["b"] is grammar
    assert recipe.references["a"] == "a thing"
    assert CaptionRecipe.resolve({"a": grammar}, ["a", "b"]).references == {"a": "a thing", "b": "a photo of a b"}
    assert CaptionRecipe.resolve(recipe, ["b"]).classes == recipe.classes[1:]


def test_names_are_made_distinct_where_they_must_be() -> None:
    others = [("n1", "x"), ("n2",), ("n3",), ()]
    assert distinct_names(["crane", "tench", "crane", "crane"], others) == [
        "crane (n1)",
        "tench",
        "crane (n3)",
        "crane",
    ]


CRANES = ClassNames([("crane", "n1", "crane bird"), ("tench", "n2"), ("crane", "n3"), ("sea_lion", "Sea Lion 2")])


def test_a_class_is_found_by_any_name_however_it_is_spelled() -> None:
    assert CRANES.match(["n3", "Tench", "sea lion", "sea lion  2", "trout"])[0] == [2, 1, 3, 3, None]


def test_two_of_a_name_are_found_in_their_order_or_by_what_is_left() -> None:
    assert CRANES.match(["crane", "tench", "crane"])[0] == [0, 1, 2]
    assert CRANES.match(["crane", "crane bird"])[0] == [2, 0]
    assert CRANES.match(["crane", "crane bird"])[1] == {}


def test_one_of_two_is_not_guessed() -> None:
    assert CRANES.match(["tench", "crane"]) == ([1, None], {"crane": (0, 2)})
    assert CRANES.match(["crane"] * 3)[0] == [None] * 3


def test_upper_case_decides_where_both_are_known() -> None:
    both = ClassNames([("Turkey",), ("turkey",)])
    assert both.match(["turkey", "Turkey"])[0] == [1, 0]
    assert both.match(["TURKEY"])[1] == {"TURKEY": (0, 1)}


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=6), max_size=4))
def test_every_text_once_and_every_group_complete(groups: list[list[str]]) -> None:
    captions, members, firsts = pool_captions(groups)
    assert len(captions) == len(set(captions))
    assert set(captions) == {text for group in groups for text in group}
    for group, own, first in zip(groups, members, firsts, strict=True):
        assert [captions[i] for i in own] == list(dict.fromkeys(group))
        assert [group.index(captions[i]) for i in own] == first.tolist()


def test_captions_are_joined_across_classes_and_slots() -> None:
    """ "dark" + "red cat" reads like "dark red" + "cat", which no look at one slot could see."""
    cats = CaptionGrammar("a {colour} {noun}", colour=["dark", "dark red"], noun=["cat", "red cat"])
    dogs = CaptionGrammar("a {colour} {noun}", colour=["dark"], noun=["cat", "dog"])
    captions, members, _ = pool_captions([cats, dogs])
    assert captions == ["a dark cat", "a dark red cat", "a dark red red cat", "a dark dog"]
    assert [own.tolist() for own in members] == [[0, 1, 2], [0, 3]]


def test_a_grammar_that_classes_share_is_gone_through_once() -> None:
    looked = []

    class Counted(list):
        def __iter__(self):
            looked.append(self)
            return super().__iter__()

    shared = Counted(["a", "b"])
    _, members, _ = pool_captions([shared, ["c"], shared])
    assert len(looked) == 1
    assert [own.tolist() for own in members] == [[0, 1], [2], [0, 1]]
