from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import FailureDirections
from fdgpu.directions.parameters import SearchSettings
from fdgpu.directions.testing import PermutationTests, false_discovery_rates, most_permutations
from tests.conftest import make_class
from tests.directions.planting import plant_modes

Stream = np.ndarray  # bool: whether each permutation of a class scores as high


def run(streams: Stream, search: SearchSettings) -> PermutationTests:
    """Draw as fit does, from permutations whose outcome is known."""
    m = len(streams)
    tests = PermutationTests(search, np.arange(m), np.zeros(m, np.int64), np.zeros(m, np.int64))
    draw(streams, tests, np.ones(m, bool), search.n_permutations)
    looks = 0
    while (undecided := tests.undecided).any():
        looks += 1
        before = tests.drawn.copy()
        draw(streams, tests, undecided, tests.next_look())
        assert (tests.drawn[undecided] > before[undecided]).all()
        assert (tests.drawn[~undecided] == before[~undecided]).all()
    assert looks < 60
    return tests


def draw(streams: Stream, tests: PermutationTests, which: np.ndarray, until: int) -> None:
    h = tests.search.stop_after
    for i in np.flatnonzero(which & (tests.exceeded < h)):
        while tests.drawn[i] < until and tests.exceeded[i] < h:
            tests.exceeded[i] += streams[i, tests.drawn[i]]
            tests.drawn[i] += 1


def final_p_values(streams: Stream, h: int) -> np.ndarray:
    """Besag and Clifford's, of all B permutations of every class."""
    most = streams.shape[1]
    running = streams.cumsum(axis=1)
    at = np.where(running[:, -1] >= h, (running >= h).argmax(axis=1) + 1, most)
    return np.where(running[:, -1] >= h, h / at, (1 + running[:, -1]) / (1 + most))


@st.composite
def many_streams(draw: st.DrawFn) -> tuple[Stream, SearchSettings]:
    m, h = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    fdr, first = draw(st.sampled_from([0.05, 0.2])), draw(st.integers(1, 40))
    search = SearchSettings(n_permutations=first, stop_after=h, fdr=fdr)
    rates = draw(st.lists(st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.3, 1.0]), min_size=m, max_size=m))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    return rng.random((m, most_permutations(search, m))) < np.reshape(rates, (m, 1)), search


@settings(max_examples=300, deadline=None)
@given(many_streams())
def test_drawing_ends_early_and_decides_as_all_permutations_would(case: tuple[Stream, SearchSettings]) -> None:
    streams, search = case
    tests, exact = run(streams, search), final_p_values(streams, search.stop_after)
    assert (tests.drawn <= tests.most).all()
    assert (tests.p_values >= exact - 1e-12).all()  # valid: a bound is never smaller
    ended = (tests.exceeded >= search.stop_after) | (tests.drawn >= tests.most)
    assert np.allclose(tests.p_values[ended], exact[ended])
    rejected = false_discovery_rates(exact) <= search.fdr
    assert np.array_equal(false_discovery_rates(tests.p_values) <= search.fdr, rejected)


@pytest.mark.parametrize("tests", [1, 3, 10, 1000, 12345])
def test_one_true_failure_among_so_many_can_pass(tests: int) -> None:
    search = SearchSettings(n_permutations=200, stop_after=10)
    most = most_permutations(search, tests)
    assert 1 / (1 + most) <= search.fdr / tests * (1 + 1e-9)
    assert most == 200 or 1 / most > search.fdr / tests  # and not more than that takes
    assert most_permutations(SearchSettings(n_permutations=200), tests) == 200


def test_a_fit_that_draws_on_counts_the_same_permutations() -> None:
    data = [make_class(60, 16, 0.2, separation, seed) for seed, separation in enumerate([0.0] * 6 + [0.8, 3.0])]
    x, right = np.concatenate([one.x for one in data]), np.concatenate([one.right for one in data])
    labels = np.repeat(np.arange(8), 60)
    on = FailureDirections(n_permutations=10, stop_after=3).fit(x, labels, right)
    drawn, h = on.n_permutations_, 3
    assert drawn.max() == 159  # 8 classes at a rate of .05
    assert drawn.min() < 30
    assert on.p_value_[7, 0] == 1 / 160
    for k in np.flatnonzero(drawn < 159):
        whole = FailureDirections(n_permutations=int(drawn[k])).fit(x, labels, right)
        exceeded = round(float(whole.p_value_[k, 0]) * (1 + drawn[k])) - 1
        bound = h / (drawn[k] + h - exceeded)
        assert on.p_value_[k, 0] == pytest.approx(bound)


def test_one_planted_failure_among_a_thousand_null_classes_is_found() -> None:
    data = [make_class(24, 8, 8 / 24, 0.0, seed) for seed in range(1000)]
    planted = make_class(60, 8, 20 / 60, 6.0, seed=1000)
    x = np.concatenate([*(one.x for one in data), planted.x])
    right = np.concatenate([*(one.right for one in data), planted.right])
    labels = np.repeat(np.arange(1001), [24] * 1000 + [60])
    settings = {"Cs": (0.1,), "n_permutations": 200}
    fit = FailureDirections(**settings, stop_after=10).fit(x, labels, right)
    assert fit.significant_[1000, 0]
    assert fit.significant_[:1000].sum() <= 2
    assert fit.n_permutations_[1000] > 15_000
    assert fit.n_permutations_.mean() < 250
    assert not FailureDirections(**settings).fit(x, labels, right).significant_.any()  # with just 200, nothing can be


def test_a_second_mode_can_pass_among_many_classes() -> None:
    two = plant_modes(400, 24, [0.25, 0.25], strength=2.0, seed=0)
    null = [make_class(20, 24, 8 / 20, 0.0, seed) for seed in range(60)]
    x = np.concatenate([two.x, *(one.x for one in null)])
    right = np.concatenate([two.right, *(one.right for one in null)])
    labels = np.repeat(np.arange(61), [400] + [20] * 60)
    settings = {"Cs": (0.1,), "n_permutations": 100, "n_directions": 2}
    drawn_on = FailureDirections(**settings, stop_after=5).fit(x, labels, right)
    assert drawn_on.most_permutations_ == 61 * 2 * 20 - 1
    assert drawn_on.n_directions_[0] == 2
    assert drawn_on.p_value_[0, 1] < 1 / 500
    fixed = FailureDirections(**settings).fit(x, labels, right)
    assert not fixed.significant_[0].any()
