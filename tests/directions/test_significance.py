from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import FailureDirections
from fdgpu.directions.significance import benjamini_hochberg, permutation_test
from tests.conftest import make_class


def many_classes(count: int, n: int, d: int, separation: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [make_class(n, d, 0.2, separation, seed + k) for k in range(count)]
    labels = np.repeat(np.arange(count), n)
    return np.concatenate([p.x for p in parts]), labels, np.concatenate([p.right for p in parts])


def test_p_values_are_uniform_where_there_is_nothing_to_find() -> None:
    fit = FailureDirections(n_permutations=39).fit(*many_classes(400, 60, 16, 0.0, seed=0))
    p = fit.p_value_[:, 0]
    for level in (0.05, 0.25, 0.5):  # ties of a coarse score make it a little conservative
        share, noise = (p <= level).mean(), np.sqrt(level * (1 - level) / 400)
        assert level - 0.35 * level - 3 * noise <= share <= level + 3 * noise
    assert fit.significant_.mean() <= 0.01
    assert (fit.n_permutations_ == 39).all()


def test_a_planted_failure_reaches_the_smallest_p_value() -> None:
    x, labels, right = many_classes(3, 100, 16, 1.5, seed=0)
    fit = FailureDirections(n_permutations=99).fit(x, labels, right)
    assert (fit.p_value_ == 1 / 100).all()
    assert (fit.q_value_ == 1 / 100).all()
    assert fit.significant_.all()


def test_a_class_keeps_its_p_value_whatever_stands_beside_it() -> None:
    x, labels, right = many_classes(3, 60, 16, 0.4, seed=5)
    whole = FailureDirections(n_permutations=60, whiten=False).fit(x, labels, right)
    first = FailureDirections(n_permutations=60, whiten=False).fit(x[:60], labels[:60], right[:60])
    assert whole.p_value_[0, 0] == first.p_value_[0, 0]


def test_the_same_seed_gives_the_same_p_values_and_another_seed_others() -> None:
    data = many_classes(6, 60, 16, 0.3, seed=9)
    p = [FailureDirections(n_permutations=50, random_state=seed).fit(*data).p_value_ for seed in (1, 1, 2)]
    assert np.array_equal(p[0], p[1])
    assert not np.array_equal(p[0], p[2])


def test_an_early_stop_settles_null_classes_only() -> None:
    null, planted = many_classes(8, 60, 16, 0.0, seed=20), many_classes(2, 60, 16, 3.0, seed=40)
    x, right = np.concatenate([null[0], planted[0]]), np.concatenate([null[2], planted[2]])
    labels = np.repeat(np.arange(10), 60)
    every = FailureDirections(n_permutations=200).fit(x, labels, right)
    some = FailureDirections(n_permutations=200, stop_after=10).fit(x, labels, right)
    stopped = some.n_permutations_ < 200
    assert stopped[:8].any()
    assert not stopped[8:].any()
    assert np.array_equal(some.p_value_[~stopped], every.p_value_[~stopped])
    # p = h / m at the h-th exceedance
    assert np.allclose(some.p_value_[stopped, 0], 10 / some.n_permutations_[stopped])
    assert np.abs(some.p_value_ - every.p_value_).max() < 0.35


class _Drawn:
    """A batch whose null scores are given: permutation ``b`` scores ``null[b]``."""

    solver = "gram"

    def __init__(self, null: list[float]) -> None:
        from fdgpu.directions.batch import Layout

        self.layout = Layout((4,), np.array([True, True, False, False]))
        self._null = iter(null)

    def cross_validate(self, labels, classes=None):  # noqa: ARG002 - the protocol's names
        scores = np.array([next(self._null) for _ in labels]).reshape(-1, 1, 1, 1)
        return scores, np.zeros((len(labels), 1))


@pytest.mark.parametrize(
    ("null", "stop_after", "p", "drawn"),
    [
        ([0.1, 0.2, 0.3, 0.4], 0, 1 / 5, 4),
        ([0.1, 0.5, 0.3, 0.9], 0, 3 / 5, 4),
        ([0.9, 0.1, 0.9, 0.9], 2, 2 / 3, 3),  # settled at the second exceedance
        ([0.9, 0.1, 0.1, 0.9], 2, 3 / 5, 4),  # at the last draw there is nothing left to stop
        ([0.9, 0.1, 0.1, 0.1], 2, 2 / 5, 4),
    ],
)
def test_the_p_value_counts_ties_and_stops_by_the_rule(
    null: list[float], stop_after: int, p: float, drawn: int
) -> None:
    found, used = permutation_test(_Drawn(null), np.array([0.5]), [0], 4, stop_after)
    assert found[0] == pytest.approx(p)
    assert used[0] == drawn


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_its_definition(values: list[float]) -> None:
    p = np.array(values)
    q = benjamini_hochberg(p)
    for level in (0.05, 0.2, 0.7):
        ordered = np.sort(p)
        below = np.flatnonzero(ordered <= level * np.arange(1, len(p) + 1) / len(p) + 1e-15)
        expected = p <= (ordered[below[-1]] if len(below) else -1)
        near = np.isclose(q, level, atol=1e-12)
        assert ((q <= level) == expected)[~near].all()
    assert (q >= p - 1e-15).all()


def test_q_values_pass_over_what_was_not_tested() -> None:
    q = benjamini_hochberg(np.array([[0.01, np.nan], [0.04, 0.5]]))
    assert np.allclose(q, [[0.03, np.nan], [0.06, 0.5]], equal_nan=True)
    assert np.isnan(benjamini_hochberg(np.full(3, np.nan))).all()


def test_nested_scores_are_not_optimistic_on_noise_and_agree_on_signal() -> None:
    noise = FailureDirections(nested=True).fit(*many_classes(150, 60, 16, 0.0, seed=100))
    assert noise.cv_score_.mean() > 0.515
    assert abs(noise.nested_score_.mean() - 0.5) < 0.02
    signal = FailureDirections(nested=True).fit(*many_classes(5, 200, 16, 3.0, seed=100))
    assert np.abs(signal.nested_score_ - signal.cv_score_[:, 0]).max() < 0.05


def test_a_class_too_small_to_nest_has_no_nested_score() -> None:
    data = make_class(30, 8, 3 / 30, 2.0, seed=0)  # 3 errors: an outer fold leaves one
    fit = FailureDirections(nested=True).fit(data.x, np.zeros(30, int), data.right)
    assert fit.status_ == ["ok"]
    assert np.isnan(fit.nested_score_).all()
