"""When a caption is believed: its rank over resamples, and the verdict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import FailureDirections
from fdgpu.captions.duplicates import CaptionGroup
from fdgpu.captions.gaps import AccuracyGap
from fdgpu.captions.ranks import RankStability, ResampledScores, top_ranks
from fdgpu.captions.trust import is_stable, judge

FIRM, LOOSE = RankStability(1, 1, 2, 1.0, 0.02), RankStability(9, 1, 40, 0.3, 0.6)
UNKNOWN = RankStability()


def gap(low: float, high: float) -> AccuracyGap:
    return AccuracyGap(10, 0.5, (low + high) / 2, low, high)


@pytest.mark.parametrize(("m", "top"), [(1, 1), (9, 1), (10, 1), (20, 2), (64, 3), (100, 5), (8000, 400)])
def test_how_many_ranks_are_the_top(m: int, top: int) -> None:
    assert top_ranks(m) == top


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10**6))
def test_ranks_are_those_of_every_half_alone(m: int, halves: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(m, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[rng.integers(m)] = np.nan  # the reference
    w, resampled = rng.normal(size=5), rng.normal(size=(halves, 5))
    scores = ResampledScores.of(points, w, resampled)
    for row, half in zip(scores.ranks, resampled, strict=True):
        own = points @ half
        for c in np.flatnonzero(~np.isnan(own)):
            assert row[c] == 1 + (own < own[c]).sum()
            assert scores.other_end.ranks[0, c] == (m - 1) + 1 - scores.ranks[0, c]
    assert np.allclose(scores.whole, points @ w / np.linalg.norm(w), equal_nan=True)


def test_a_group_is_at_the_top_where_any_of_it_is() -> None:
    halves = np.array([[0.1, 0.2, 0.3, 0.4] * 5, [0.2, 0.1, 0.3, 0.4] * 5], float) + np.arange(20) * 1e-3
    scores = ResampledScores(halves[0], halves, 1.0)
    assert top_ranks(20) == 2
    alone, together = (scores.stability(CaptionGroup(1, also)) for also in ((), (0,)))
    assert (alone.share, together.share) == (0.5, 1.0)
    assert (alone.median, alone.low, alone.high) == (3.5, pytest.approx(1.25), pytest.approx(5.75))


def test_without_resamples_nothing_is_known_and_nothing_is_stable() -> None:
    scores = ResampledScores.of(np.eye(3), np.ones(3), np.empty((0, 3)))
    found = scores.stability(CaptionGroup(0, ()))
    assert np.isnan([found.median, found.share, found.noise_p]).all()
    assert not is_stable(found)


def test_a_direction_of_length_zero_is_noise() -> None:
    scores = ResampledScores.of(np.eye(3), np.zeros(3), np.zeros((4, 3)))
    assert scores.stability(CaptionGroup(0, ())).noise_p == 1.0


def stability_of_the_hardest(x: np.ndarray, right: np.ndarray, points: np.ndarray, seed: int) -> RankStability:
    fit = FailureDirections(n_resamples=50, whiten=False, random_state=seed).fit(x, np.zeros(len(x), int), right)
    scores = ResampledScores.of(points, fit.coef_[0, 0], fit.resampled_coef_[0, 0])
    return scores.stability(CaptionGroup(int(np.nanargmin(scores.whole)), ()))


@pytest.mark.parametrize("m", [10, 64, 2000])
def test_on_noise_captions_are_withheld_however_many_there_are(m: int) -> None:
    rng = np.random.default_rng(m)
    passed = []
    for seed in range(40):
        x = rng.normal(size=(150, 24)).astype(np.float32)
        points = rng.normal(size=(m, 24))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        passed.append(is_stable(stability_of_the_hardest(x, rng.permutation(150) >= 40, points, seed)))
    assert np.mean(passed) <= 0.1


def test_a_planted_caption_is_stable(planted_class: Callable[..., object]) -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        data = planted_class(200, 24, 0.3, 1.5, seed)
        points = rng.normal(size=(64, 24))
        points[7] = -data.direction + 0.1 * points[7]
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        found = stability_of_the_hardest(data.x, data.right, points, seed)
        assert found.median == 1
        assert is_stable(found)


@pytest.mark.parametrize(
    ("stability", "interval", "reliable", "decided_by"),
    [
        (FIRM, (-0.3, -0.1), True, "rank and gap"),
        (FIRM, (-0.3, 0.1), True, "rank"),
        (LOOSE, (-0.3, -0.1), True, "gap"),
        (LOOSE, (-0.3, 0.1), False, "neither"),
        (FIRM, (0.1, 0.3), False, "contradicted"),
        (UNKNOWN, (-0.3, -0.1), True, "gap"),
        (UNKNOWN, (np.nan, np.nan), False, "neither"),
        (FIRM, (np.nan, np.nan), True, "rank"),
        (RankStability(1, 1, 2, 1.0, 0.06), (-0.3, 0.1), False, "neither"),  # as far as noise may lift
        (RankStability(1, 1, 9, 0.89, 0.02), (-0.3, 0.1), False, "neither"),
    ],
)
def test_what_decides(stability: RankStability, interval: tuple[float, float], reliable: bool, decided_by: str) -> None:
    low, high = interval
    hard, easy = judge(stability, gap(low, high), hard=True), judge(stability, gap(-high, -low), hard=False)
    assert (hard.reliable, hard.decided_by) == (easy.reliable, easy.decided_by) == (reliable, decided_by)


def test_a_gap_of_the_fits_own_images_proves_nothing_but_may_contradict() -> None:
    assert judge(LOOSE, gap(-0.3, -0.1), hard=True, held_out=False).decided_by == "neither"
    assert judge(FIRM, gap(-0.3, -0.1), hard=True, held_out=False).decided_by == "rank"
    assert judge(FIRM, gap(0.1, 0.3), hard=True, held_out=False).decided_by == "contradicted"


def test_a_mode_that_may_be_chance_has_no_reliable_caption() -> None:
    verdict = judge(FIRM, gap(-0.3, -0.1), hard=True, chance=True)
    assert (verdict.reliable, verdict.decided_by) == (False, "chance")
