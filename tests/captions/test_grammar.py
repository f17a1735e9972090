from __future__ import annotations

import itertools

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
    assert (len(grammar), grammar[3], grammar[-1], grammar[1:3]) == (
        4,
        list(grammar)[3],
        list(grammar)[3],
        list(grammar)[1:3],
    )
    assert "a photo of a white cat" in grammar


def test_the_reference_leaves_every_other_slot_out() -> None:
    assert cats().reference(noun="cat") == "a photo of a cat"
    assert cats().reference() == "a photo of a cat"
    assert cats().reference(noun="cat", adjective="white") == "a photo of a white cat"


@given(SLOT, st.lists(WORDS, min_size=1, max_size=3), SLOT)
def test_indexing_is_iteration(adjectives: list, nouns: list, prepositions: list) -> None:
    grammar = CaptionGrammar(TEMPLATE, adjective=adjectives, noun=nouns, preposition=prepositions)
    expected = [
        " ".join(" ".join(["a photo of a", a or "", n, p or ""]).split())
        for a, n, p in itertools.product(adjectives, nouns, prepositions)
    ]
    assert list(grammar) == expected
    assert [grammar[i] for i in range(len(grammar))] == expected


def test_a_grammar_of_a_trillion_captions_costs_nothing_until_used() -> None:
    words = [str(i) for i in range(10_000)]
    grammar = CaptionGrammar("{a} {b} {c}", a=words, b=words, c=words)
    assert len(grammar) == 10**12
    assert grammar[123_456_789_012 % 10**12] == "1234 5678 9012"


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
        ("a cat", {}, "has no slot"),
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
