from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.errors import InputError

TEMPLATE = "a photo of a {adjective} {noun} {preposition}"
WORDS = st.text(st.characters(categories=["L", "N"], include_characters="-{}%"), min_size=1, max_size=8)
SLOT = st.lists(st.none() | WORDS, min_size=1, max_size=4)


def cats() -> CaptionGrammar:
    return CaptionGrammar(TEMPLATE, adjective=[None, "white"], noun=["cat"], preposition=[None, "on the grass"])


def test_every_combination_in_order_and_no_double_space() -> None:
    grammar = cats()
    assert list(grammar) == [
        "a photo of a cat",
        "a photo of a cat on the grass",
        "a photo of a white cat",
        "a photo of a white cat on the grass",
    ]
    assert len(grammar) == 4
    assert "a photo of a white cat" in grammar


def test_the_reference_leaves_every_other_slot_out() -> None:
    assert cats().reference(noun="cat") == "a photo of a cat"
    assert cats().reference() == "a photo of a cat"
    assert cats().reference(noun="cat", adjective="white") == "a photo of a white cat"


GRAMMARS = st.builds(
    lambda adjective, noun, preposition, a_or_an: CaptionGrammar(
        TEMPLATE, a_or_an=a_or_an, adjective=adjective, noun=noun, preposition=preposition
    ),
    SLOT,
    st.lists(WORDS, min_size=1, max_size=3),
    SLOT,
    st.booleans(),
)


@given(SLOT, st.lists(WORDS, min_size=1, max_size=3), SLOT)
def test_a_grammar_is_every_combination(adjectives: list, nouns: list, prepositions: list) -> None:
    grammar = CaptionGrammar(TEMPLATE, adjective=adjectives, noun=nouns, preposition=prepositions)
    slots = [list(dict.fromkeys(words)) for words in (adjectives, nouns, prepositions)]
    assert list(grammar) == [
        " ".join(" ".join(["a photo of a", a or "", n, p or ""]).split()) for a, n, p in itertools.product(*slots)
    ]


@given(GRAMMARS)
def test_indexing_is_iteration(grammar: CaptionGrammar) -> None:
    captions = list(grammar)
    assert len(grammar) == len(captions)
    assert [grammar[i] for i in range(len(grammar))] == captions
    assert [grammar[i] for i in range(-len(grammar), 0)] == captions
    assert not any("  " in caption or caption != caption.strip() for caption in captions)


@given(GRAMMARS, st.slices(30), st.slices(30))
def test_a_slice_is_a_view_of_the_same_captions(grammar: CaptionGrammar, first: slice, second: slice) -> None:
    captions = list(grammar)
    view = grammar[first]
    assert (len(view), list(view)) == (len(captions[first]), captions[first])
    assert [view[i] for i in range(-len(view), len(view))] == captions[first] * 2
    assert view[second] == captions[first][second]
    assert view != [*captions[first], "one more"]
    assert view != "".join(view) or not view


def test_words_that_read_alike_count_once() -> None:
    grammar = CaptionGrammar(
        "a {colour} {noun}", colour=[None, "", "  ", "red", " red", "dark  red"], noun=["cat", "cat"]
    )
    assert list(grammar) == ["a cat", "a red cat", "a dark red cat"]
    assert len(grammar) == 3


def test_a_grammar_of_a_trillion_captions_costs_nothing_until_used() -> None:
    words = [str(i) for i in range(10_000)]
    grammar = CaptionGrammar("{a} {b} {noun}", a=words, b=words, noun=words)
    assert len(grammar) == 10**12
    assert grammar[123_456_789_012] == "1234 5678 9012"
    assert grammar[10**11 :][23_456_789_012] == "1234 5678 9012"
    assert list(itertools.islice(grammar, 2)) == ["0 0 0", "0 0 1"]
    with pytest.raises(InputError, match=r"1\.0e\+20 captions, more than Python can count"):
        CaptionGrammar("{a} {b} {c} {d} {noun}", a=words, b=words, c=words, d=words, noun=words)


def test_a_or_an_is_off_by_default_and_goes_by_the_sound() -> None:
    words = {"adjective": [None, "orange", "one-eyed"], "noun": ["animal", "unicorn"]}
    template = "A photo of a {adjective} {noun} on a ice floe"
    assert CaptionGrammar(template, **words)[2] == "A photo of a orange animal on a ice floe"
    grammar = CaptionGrammar(template, a_or_an=True, **words)
    assert list(grammar) == [
        "A photo of an animal on an ice floe",
        "A photo of a unicorn on an ice floe",
        "A photo of an orange animal on an ice floe",
        "A photo of an orange unicorn on an ice floe",
        "A photo of a one-eyed animal on an ice floe",
        "A photo of a one-eyed unicorn on an ice floe",
    ]
    assert grammar.reference(noun="animal") == "A photo of an animal on an ice floe"


def test_past_the_end() -> None:
    with pytest.raises(IndexError):
        cats()[4]


@pytest.mark.parametrize(
    ("template", "slots", "message"),
    [
        ("a {noun}", {}, "names {noun}, but no words"),
        ("a {noun}", {"noun": ["x"], "verb": ["y"]}, "has no {verb}"),
        ("a {noun}", {"noun": []}, "empty list"),
        ("a {noun}", {"noun": [3]}, "words are strings"),
        ("a {noun}", {"noun": "cat"}, "pass a list of words"),
        ("a {noun}", {"noun": 3}, "pass a list of words"),
        ("a {noun}", {"noun": ["", None]}, "noun holds no word"),
        ("a cat", {}, r"has no \{noun\}"),
        ("a {thing}", {"thing": ["x"]}, r"has no \{noun\}"),
        ("a {noun", {"noun": ["x"]}, "cannot be read"),
        ("a {0}", {}, "name slots like"),
    ],
)
def test_a_grammar_that_cannot_work(template: str, slots: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CaptionGrammar(template, **slots)


def test_a_reference_that_cannot_be_made() -> None:
    with pytest.raises(InputError, match="the slots are"):
        cats().reference(verb="runs")
    with pytest.raises(InputError, match="2 nouns"):
        CaptionGrammar("a {noun}", noun=["cat", "dog"]).reference()


def test_word_indices_are_the_words_of_many_captions_at_once() -> None:
    grammar = CaptionGrammar("{size} {noun} {place}", size=[None, "big"], noun=["cat", "dog", "cow"], place=["here"])
    indices = np.array([5, 0, 3])
    for index, at in zip(indices, grammar.word_indices(indices), strict=True):
        words = [slot[i] for slot, i in zip(grammar.slots.values(), at, strict=True)]
        assert words == list(grammar.words_at(int(index)).values())
    assert grammar.word_indices(np.array([], np.int64)).shape == (0, 3)
    for odd in ([-1], [0, 6]):
        with pytest.raises(InputError, match="this grammar has 0 to 5"):
            grammar.word_indices(np.array(odd))
