"""Word effects of a grammar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.captions import WordEffects, word_effects
from fdgpu.captions.effects import AGAINST
from fdgpu.errors import InputError
from fdgpu.findings import WordEffect

COLOURS = [None, "white", "blue", "red", "green"]
BACKGROUNDS = [None, "outside", "inside", "on grass"]


def grammar_of(colours: list[str | None] = COLOURS, backgrounds: list[str | None] = BACKGROUNDS) -> CaptionGrammar:
    template = "a photo of a {adjective} {noun} {preposition}"
    return CaptionGrammar(template, adjective=colours, noun=["cat"], preposition=backgrounds)


def scores_of(grammar: CaptionGrammar, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """Scores by the words, whatever their order; the reference has none."""
    rng = np.random.default_rng(seed)
    value = {word: rng.normal() for word in [*COLOURS, *BACKGROUNDS, "cat"]}
    texts = sorted(grammar)
    together = dict(zip(texts, noise * rng.normal(size=len(texts)), strict=True))
    words = [grammar.words_at(i) for i in range(len(grammar))]
    own = [sum(value[word] for word in w.values()) + together[text] for w, text in zip(words, grammar, strict=True)]
    return np.where([w["adjective"] is w["preposition"] is None for w in words], np.nan, own)


def by_word(effects: WordEffects) -> dict[tuple[str, str], WordEffect]:
    return {(effect.slot, effect.word): effect for effect in effects.effects}


def test_a_word_is_measured_against_the_mean_of_its_slot() -> None:
    grammar = grammar_of()
    scores = scores_of(grammar, noise=0.0)
    effects = word_effects(grammar, scores)
    found = by_word(effects)
    assert set(found) == {("adjective", c) for c in COLOURS[1:]} | {("preposition", b) for b in BACKGROUNDS[1:]}
    outside = scores[[place for place, caption in enumerate(grammar) if caption.endswith("cat outside")]]
    red = found["adjective", "red"]
    assert red.effect == pytest.approx(outside[COLOURS.index("red")] - np.mean(outside))
    assert (red.half_width, red.n, red.against) == (pytest.approx(0, abs=1e-9), 4, "mean")
    assert effects.explained == pytest.approx(1)


def test_or_against_leaving_it_out_where_captions_do() -> None:
    grammar = grammar_of()
    values = dict(zip(grammar, scores_of(grammar, noise=0.0), strict=True))
    red = by_word(word_effects(grammar, list(values.values()), against="left out"))["adjective", "red"]
    assert red.effect == pytest.approx(values["a photo of a red cat outside"] - values["a photo of a cat outside"])
    assert (red.n, red.against) == (4, "left out")
    never = grammar_of(colours=["white", "blue", "red"])
    found = by_word(word_effects(never, np.repeat([1.0, 2.0, 6.0], 4), against="left out"))
    assert [found["adjective", word].effect for word in ("white", "blue", "red")] == pytest.approx([-2, -1, 3])
    assert found["adjective", "red"].against == "mean"
    assert found["preposition", "inside"].against == "left out"


@settings(deadline=None, max_examples=30)
@given(st.permutations(COLOURS), st.permutations(BACKGROUNDS), st.floats(-3, 3), st.sampled_from(AGAINST))
def test_the_order_of_words_and_a_shift_of_all_scores_change_nothing(
    colours: list[str | None], backgrounds: list[str | None], shift: float, against: str
) -> None:
    plain, other = grammar_of(), grammar_of(colours, backgrounds)
    one = word_effects(plain, scores_of(plain), against=against)
    two = word_effects(other, scores_of(other) + shift, against=against)
    assert one.explained == pytest.approx(two.explained)
    assert by_word(one).keys() == by_word(two).keys()
    for key, effect in by_word(one).items():
        again = by_word(two)[key]
        assert (effect.effect, effect.half_width) == pytest.approx((again.effect, again.half_width))
        assert (effect.n, effect.against) == (again.n, again.against)


def test_only_some_of_the_captions() -> None:
    grammar = grammar_of()
    scores = scores_of(grammar)
    some = np.array([i for i in range(len(grammar)) if "green" not in grammar[i]])
    found = by_word(word_effects(grammar, scores[some], some))
    assert ("adjective", "green") not in found
    assert ("adjective", "red") in found
    nothing = word_effects(grammar, np.full(len(grammar), np.nan))
    assert nothing.effects == ()
    assert np.isnan(nothing.explained)
    assert word_effects(grammar, [], []).effects == ()


def test_the_strongest_come_first_and_have_an_interval() -> None:
    sizes = {"a": (-0.1, 0.01), "b": (0.3, 0.01), "c": (-0.5, 0.2), "d": (0.9, np.nan)}
    effects = WordEffects(tuple(WordEffect("s", word, *size, n=9) for word, size in sizes.items()), 0.5)
    assert [effect.word for effect in effects.strongest(2)] == ["c", "b"]


def test_scores_that_do_not_fit() -> None:
    grammar = grammar_of()
    with pytest.raises(InputError, match=r"scores has shape \(3,\) for 20 captions"):
        word_effects(grammar, [1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="against is 'none': use 'mean' or 'left out'"):
        word_effects(grammar, np.zeros(20), against="none")
    with pytest.raises(InputError, match="infinite"):
        word_effects(grammar, np.full(20, np.inf))
    with pytest.raises(InputError, match="this grammar has 0 to 19"):
        word_effects(grammar, [1.0, 2.0], [0, 20])
