"""The additive fit: the fast one beside the dense one, exact effects, and intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.captions.additive import FEWEST_SPARE, AdditiveFit, fit_additive, fit_additive_plain, quantile


def factorial(*sizes: int) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(np.prod(sizes)), sizes), axis=1)


def first_words(*sizes: int) -> list[np.ndarray]:
    return [np.eye(size)[0] for size in sizes]


def assert_same(one: AdditiveFit, other: AdditiveFit) -> None:
    for mine, theirs in zip(one.effects + one.half_widths, other.effects + other.half_widths, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)
    assert one.explained == pytest.approx(other.explained, nan_ok=True)


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(1, 60),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
def test_the_eliminated_slot_changes_nothing(sizes: list[int], m: int, seed: int, means: bool) -> None:
    """Unbalanced, with words that never occur, and with slots that cannot be told apart."""
    rng = np.random.default_rng(seed)
    places = np.stack([rng.integers(0, size, m) for size in sizes], axis=1)
    if seed % 3 == 0:
        places = np.minimum(places[:, :1], np.array(sizes) - 1)  # one slot says all
    seen = [np.bincount(own, minlength=size) > 0 for own, size in zip(places.T, sizes, strict=True)]
    baselines = [own / own.sum() for own in seen] if means else first_words(*sizes)
    scores = rng.normal(size=m)
    assert_same(fit_additive(places, scores, baselines), fit_additive_plain(places, scores, baselines))


@pytest.mark.parametrize("means", [False, True])
def test_scores_that_are_sums_are_taken_apart_exactly(means: bool) -> None:
    sizes = (5, 3, 7)
    places = factorial(*sizes)[::2]  # unbalanced
    rng = np.random.default_rng(0)
    own = [rng.normal(size=size) for size in sizes]
    scores = sum(values[at] for values, at in zip(own, places.T, strict=True))
    baselines = [np.full(size, 1 / size) for size in sizes] if means else first_words(*sizes)
    fit = fit_additive(places, scores, baselines)
    for effects, half_widths, values, weights in zip(fit.effects, fit.half_widths, own, baselines, strict=True):
        np.testing.assert_allclose(effects, values - weights @ values, atol=1e-10)
        np.testing.assert_allclose(half_widths, 0, atol=1e-10)
    assert fit.explained == pytest.approx(1)


@pytest.mark.parametrize("uneven", [False, True])
def test_intervals_cover_what_is_true_about_as_often_as_they_say(uneven: bool) -> None:
    """The general recipe's size: 13 adjectives, 8 backgrounds, the reference left out; uneven: one word is noisy."""
    sizes = (13, 8)
    places = factorial(*sizes)[1:]
    rng = np.random.default_rng(5)
    own = [rng.normal(size=size) for size in sizes]
    mean = sum(values[at] for values, at in zip(own, places.T, strict=True))
    deviation = np.where(places[:, 1] == 2, 4.0, 1.0) if uneven else np.ones(len(places))
    covered = []
    for _ in range(300):
        fit = fit_additive(places, mean + deviation * rng.normal(size=len(places)), first_words(*sizes))
        for effects, half_widths, values in zip(fit.effects, fit.half_widths, own, strict=True):
            covered += (np.abs(effects - (values - values[0])) <= half_widths)[1:].tolist()
    assert 0.93 < np.mean(covered) < 0.985


def test_what_the_captions_cannot_tell_is_nan() -> None:
    places = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0, 0], [2, 2], [3, 0], [0, 1], [1, 1]])
    fit = fit_additive(places, np.arange(9.0), first_words(5, 3))
    assert np.isnan(fit.effects[0]).tolist() == [False, False, True, False, True]  # 2 stands with 2 alone, 4 nowhere
    assert np.isnan(fit.effects[1]).tolist() == [False, False, True]
    assert np.isfinite(fit.half_widths[0][1])
    assert np.isnan(fit.half_widths[0][3])  # one caption has it, and shows no spread


def test_too_few_captions_have_no_interval_and_equal_scores_no_share() -> None:
    fit = fit_additive(factorial(2, 2), np.array([0.0, 1.0, 2.0, 4.0]), first_words(2, 2))
    assert fit.effects[0][1] == pytest.approx(2.5)
    assert np.isnan(fit.half_widths[0]).all()
    flat = fit_additive(factorial(3, 4), np.full(12, 0.1), first_words(3, 4))
    np.testing.assert_allclose(flat.effects[0], 0, atol=1e-12)
    assert np.isnan(flat.explained)


@pytest.mark.parametrize(("spare", "expected"), [(3, 3.182), (5, 2.571), (10, 2.228), (100, 1.984), (10**6, 1.960)])
def test_the_quantile_is_students(spare: int, expected: float) -> None:
    assert quantile(spare) == pytest.approx(expected, rel=1e-2)
    assert np.isnan(quantile(FEWEST_SPARE - 1))


def test_thousands_of_words_need_no_matrix_of_them() -> None:
    """100 000 captions, 3000 nouns: a dense matrix of the words alone would take 2.4 GB."""
    sizes, m = (13, 3000, 2), 100_000
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(0, size, m) for size in sizes], axis=1)
    own = [rng.normal(size=size) for size in sizes]
    scores = sum(values[at] for values, at in zip(own, places.T, strict=True)) + 0.1 * rng.normal(size=m)
    fit = fit_additive(places, scores, first_words(*sizes))
    for effects, half_widths, values in zip(fit.effects, fit.half_widths, own, strict=True):
        assert np.mean(np.abs(effects - (values - values[0])) <= half_widths) > 0.9
