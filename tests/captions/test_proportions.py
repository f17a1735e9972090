from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from fdgpu.captions.gaps import AccuracyGap, accuracy_gap, nearest_count
from fdgpu.captions.proportions import difference_of_shares, wilson

LEVELS = st.sampled_from([0.8, 0.95, 0.99])
COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [  # Newcombe (1998), table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0),
        ((10, 10, 0, 10), 0.6075, 1.0),
    ],
)
def test_newcombes_own_examples(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    gap, below, above = difference_of_shares(*counts)
    assert gap == pytest.approx(counts[0] / counts[1] - counts[2] / counts[3])
    assert (below, above) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(COUNTS, LEVELS)
def test_wilson_is_scipys(counts: tuple[int, int], level: float) -> None:
    hits, n = counts
    theirs = binomtest(hits, n).proportion_ci(level, method="wilson")
    low, high = wilson(hits, n, level)
    assert (low, high) == (pytest.approx(theirs.low, abs=1e-12), pytest.approx(theirs.high, abs=1e-12))


@given(COUNTS, COUNTS, LEVELS)
def test_an_interval_holds_its_difference_and_turns_with_it(
    one: tuple[int, int], other: tuple[int, int], level: float
) -> None:
    gap, low, high = difference_of_shares(*one, *other, level)
    assert -1 - 1e-12 <= low <= gap + 1e-12
    assert gap - 1e-12 <= high <= 1 + 1e-12
    turned = difference_of_shares(*other, *one, level)
    assert np.allclose(turned, (-gap, -high, -low))
    _, wider, _ = difference_of_shares(*one, *other, 0.999)
    assert wider <= low + 1e-12


def test_an_interval_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    for p, other in ((0.5, 0.5), (0.1, 0.3), (0.02, 0.02)):
        hits, others = rng.binomial(50, p, 20_000), rng.binomial(450, other, 20_000)
        _, low, high = difference_of_shares(hits, 50, others, 450, 0.95)
        assert ((low <= p - other) & (p - other <= high)).mean() > 0.94


def test_nothing_to_compare_has_no_interval() -> None:
    assert np.isnan(difference_of_shares(0, 0, 3, 4)).all()
    assert accuracy_gap(np.ones(1, bool), 0.95).nearest == 0
    assert np.isnan(accuracy_gap(np.zeros(0, bool), 0.95).gap)
    assert AccuracyGap().nearest == 0


@pytest.mark.parametrize(("n", "k"), [(0, 0), (1, 0), (2, 1), (15, 7), (20, 10), (99, 10), (100, 10), (500, 50)])
def test_how_many_are_near(n: int, k: int) -> None:
    assert nearest_count(n) == k


@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_a_gap_is_the_accuracy_of_the_nearest_minus_that_of_the_class(correct: list[bool]) -> None:
    right = np.array(correct)
    found = accuracy_gap(right, 0.95)
    k = found.nearest
    assert found.accuracy == pytest.approx(right[:k].mean())
    assert found.gap == pytest.approx(right[:k].mean() - right.mean(), abs=1e-12)
    assert found.low <= found.gap + 1e-12
    assert found.gap - 1e-12 <= found.high
    _, low, high = difference_of_shares(right[:k].sum(), k, right[k:].sum(), len(right) - k)
    assert np.sign([found.low, found.high]).tolist() == np.sign([low, high]).tolist()
