"""Word effects of a grammar; the additive fit beside the dense one, exact effects, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.captions import WordEffects, word_effects
from fdgpu.captions.additive import FEWEST_SPARE, Against, Fit, _quantile, fit_additive, fit_additive_plain
from fdgpu.errors import InputError
from fdgpu.findings import WordEffect

COLOURS = [None, "white", "blue", "red", "green"]
BACKGROUNDS = [None, "outside", "inside", "on grass"]


def grammar_of(colours: list[str | None] = COLOURS, backgrounds: list[str | None] = BACKGROUNDS) -> CaptionGrammar:
    template = "a photo of a {adjective} {noun} {preposition}"
    return CaptionGrammar(template, adjective=colours, noun=["cat"], preposition=backgrounds)


def scores_of(grammar: CaptionGrammar, seed: int = 0, noise: float = 0.05) -> np.ndarray:
    """Scores by the words, in any order of them; the reference has none."""
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
    outside = scores[[i for i, caption in enumerate(grammar) if caption.endswith("cat outside")]]
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
@given(st.permutations(COLOURS), st.permutations(BACKGROUNDS), st.floats(-3, 3), st.sampled_from(list(Against)))
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
    with pytest.raises(InputError, match="against is 'none': use one of mean, left out"):
        word_effects(grammar, np.zeros(20), against="none")
    with pytest.raises(InputError, match="infinite"):
        word_effects(grammar, np.full(20, np.inf))
    with pytest.raises(InputError, match="this grammar has 0 to 19"):
        word_effects(grammar, [1.0, 2.0], [0, 20])


# --- the additive fit ---


def factorial(*sizes: int) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)


def first_words(*sizes: int) -> list[np.ndarray]:
    return [np.eye(size)[0] for size in sizes]


def assert_same(one: Fit, other: Fit) -> None:
    for mine, theirs in zip(one[0] + one[1], other[0] + other[1], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)
    assert one[2] == pytest.approx(other[2], nan_ok=True)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(1, 60),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_the_eliminated_slot_changes_nothing(sizes: list[int], m: int, seed: int, means: bool) -> None:
    """Unbalanced, with words that never occur, and with slots that mean the same."""
    rng = np.random.default_rng(seed)
    words = np.stack([rng.integers(0, size, m) for size in sizes], axis=1)
    if seed % 3 == 0:
        words = np.minimum(words[:, :1], np.array(sizes) - 1)  # one slot says all
    seen = [np.bincount(own, minlength=size) > 0 for own, size in zip(words.T, sizes, strict=True)]
    baselines = [own / own.sum() for own in seen] if means else first_words(*sizes)
    scores = rng.normal(size=m)
    assert_same(fit_additive(words, scores, baselines), fit_additive_plain(words, scores, baselines))


@pytest.mark.parametrize("means", [False, True])
def test_scores_that_are_sums_are_taken_apart_exactly(means: bool) -> None:
    sizes = (5, 3, 7)
    words = factorial(*sizes)[::2]  # unbalanced
    rng = np.random.default_rng(0)
    own = [rng.normal(size=size) for size in sizes]
    scores = sum(values[at] for values, at in zip(own, words.T, strict=True))
    baselines = [np.full(size, 1 / size) for size in sizes] if means else first_words(*sizes)
    *fit, explained = fit_additive(words, scores, baselines)
    for effects, half_widths, values, weights in zip(*fit, own, baselines, strict=True):
        np.testing.assert_allclose(effects, values - weights @ values, atol=1e-10)
        np.testing.assert_allclose(half_widths, 0, atol=1e-10)
    assert explained == pytest.approx(1)


@pytest.mark.parametrize("uneven", [False, True])
def test_intervals_cover_what_is_true_about_as_often_as_they_say(uneven: bool) -> None:
    """The general recipe's size: 13 adjectives, 8 backgrounds, the reference left out; uneven: one word is noisy."""
    sizes = (13, 8)
    words = factorial(*sizes)[1:]
    rng = np.random.default_rng(5)
    own = [rng.normal(size=size) for size in sizes]
    mean = sum(values[at] for values, at in zip(own, words.T, strict=True))
    deviation = np.where(words[:, 1] == 2, 4.0, 1.0) if uneven else np.ones(len(words))
    covered = []
    for _ in range(300):
        *fit, _ = fit_additive(words, mean + deviation * rng.normal(size=len(words)), first_words(*sizes))
        for effects, half_widths, values in zip(*fit, own, strict=True):
            covered += (np.abs(effects - (values - values[0])) <= half_widths)[1:].tolist()
    assert 0.93 < np.mean(covered) < 0.985


def test_what_the_captions_cannot_tell_is_nan() -> None:
    words = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0, 0], [2, 2], [3, 0], [0, 1], [1, 1]])
    effects, half_widths, _ = fit_additive(words, np.arange(9.0), first_words(5, 3))
    assert np.isnan(effects[0]).tolist() == [False, False, True, False, True]  # 2 stands with 2 alone, 4 nowhere
    assert np.isnan(effects[1]).tolist() == [False, False, True]
    assert np.isfinite(half_widths[0][1])
    assert np.isnan(half_widths[0][3])  # one caption has it, and shows no spread


def test_too_few_captions_have_no_interval_and_equal_scores_no_share() -> None:
    effects, half_widths, _ = fit_additive(factorial(2, 2), np.array([0.0, 1.0, 2.0, 4.0]), first_words(2, 2))
    assert effects[0][1] == pytest.approx(2.5)
    assert np.isnan(half_widths[0]).all()
    effects, _, explained = fit_additive(factorial(3, 4), np.full(12, 0.1), first_words(3, 4))
    np.testing.assert_allclose(effects[0], 0, atol=1e-12)
    assert np.isnan(explained)


@pytest.mark.parametrize(
    ("spare", "expected"), [(3, 3.1824), (5, 2.5706), (10, 2.2281), (100, 1.9840), (10**6, 1.9600)]
)
def test_the_quantile_is_students(spare: int, expected: float) -> None:
    assert _quantile(spare) == pytest.approx(expected, abs=1e-4)
    assert np.isnan(_quantile(FEWEST_SPARE - 1))


def test_thousands_of_words_need_no_matrix_of_them() -> None:
    """100 000 captions, 3000 nouns: a dense matrix of the words alone would take 2.4 GB."""
    sizes, m = (13, 3000, 2), 100_000
    rng = np.random.default_rng(0)
    words = np.stack([rng.integers(0, size, m) for size in sizes], axis=1)
    own = [rng.normal(size=size) for size in sizes]
    scores = sum(values[at] for values, at in zip(own, words.T, strict=True)) + 0.1 * rng.normal(size=m)
    *fit, _ = fit_additive(words, scores, first_words(*sizes))
    for effects, half_widths, values in zip(*fit, own, strict=True):
        assert np.mean(np.abs(effects - (values - values[0])) <= half_widths) > 0.9
