"""When a caption is believed: its rank over resamples, the accuracy of the images near it, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from fdgpu import FailureDirections
from fdgpu.captions import reliability
from fdgpu.captions.reliability import (
    Candidates,
    JudgedCaptions,
    ShownImages,
    accuracy_gap,
    decide,
    difference_of_shares,
    group_captions,
    is_stable,
    judge_captions,
    nearest_count,
    rank_captions,
    rank_stability,
    top_ranks,
)
from fdgpu.findings import Side
from fdgpu.rows import TensorRows
from tests.counted_rows import CountedRows, read_in_blocks

NAN = float("nan")
FIRM, LOOSE, UNKNOWN = (1.0, 0.02), (0.3, 0.6), (NAN, NAN)  # the share of the top, and the noise's p


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# Ranking and grouping

SCORES = st.lists(st.floats(-1, 1) | st.just(NAN), max_size=30).map(np.array)


@given(SCORES, st.integers(1, 8))
def test_the_lowest_are_hard_the_highest_easy_and_none_is_both(scores: np.ndarray, top: int) -> None:
    hard, easy = rank_captions(scores, top)
    valid = sorted(s for s in scores if not np.isnan(s))
    assert [scores[i] for i in hard] == valid[: len(hard)]
    assert [scores[i] for i in easy] == valid[::-1][: len(easy)]
    assert not set(hard) & set(easy)
    assert len(hard) == min(top, len(valid) - len(valid) // 2)
    assert len(easy) == min(top, len(valid) // 2)


def test_the_hardest_caption_is_shown_even_if_all_score_above_zero() -> None:
    assert rank_captions(np.array([0.5, np.nan, 0.1, 0.3, 0.4]), 1)[0] == [2]


def candidates(points: list[np.ndarray], texts: list[list[str]] | None = None) -> Candidates:
    """Captions of classes of any number each, whose unit differences from their reference are ``points`` (m, d)."""
    d = points[0].shape[1]
    texts = texts or [[f"word{i}" for i in range(len(own))] for own in points]
    rows = np.full((len(points), max(1, *map(len, points))), -1)
    first = 0
    for row, own in zip(rows, points, strict=True):
        row[: len(own)] = first + np.arange(len(own))
        first += len(own)
    vectors = torch.from_numpy(
        np.nan_to_num(np.concatenate([*points, np.zeros((1, d))]))
    )  # NaN stands for the reference, at the origin
    return Candidates(texts, vectors, rows, torch.zeros(len(points), d, dtype=torch.float64), torch.ones(d))


def grouped(order: list[int], texts: list[str], points: np.ndarray) -> list[list[int]]:
    """The groups of one class whose ranking is ``order``, on the hard side."""
    whole = np.full((1, 2 * len(order) + 1), np.nan)  # as many that are easier, so that all of these are hard
    whole[0, order] = np.arange(len(order))
    whole[0, len(order) : 2 * len(order)] = 100 + np.arange(len(order))
    others = -np.ones((len(order) + 1, points.shape[1]))
    own = candidates([np.concatenate([points, others])], [[*texts, *(f"other{i}" for i in range(len(others)))]])
    return group_captions(own, [rank_captions(whole[0], whole.shape[1])])[0][0]


def test_captions_that_point_the_same_way_are_one_thing() -> None:
    points = unit(np.array([[1.0, 0, 0], [0, 1, 0], [0.95, 0.1, 0], [0, 0, 1], [0, 0.9, 0.1]]))
    assert grouped([2, 4, 0, 1, 3], ["snow", "night", "winter", "water", "dark"], points) == [[2, 0], [4, 1], [3]]


def test_a_caption_with_all_the_words_of_another_says_the_same() -> None:
    texts = [
        "a photo of a white cat on a sofa", "a photo of a white cat", "a photo of an orange cat", "a photo of the cat",
        "a photo of a black cat on a white sofa", "a photo of a cat on a black sofa",
    ]  # fmt: skip
    # "black" of a cat is not "black" of a sofa, though each word of the one stands in the other
    assert grouped(list(range(6)), texts, np.eye(6)) == [[0, 1, 3], [2], [4], [5]]


def test_nothing_comes_of_nothing() -> None:
    nothing = candidates([np.full((1, 3), np.nan), np.empty((0, 3))])
    assert group_captions(nothing, [([], []), ([], [])]) == [([], []), ([], [])]


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 1000))
def test_groups_cut_a_ranking_into_different_things(m: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, whole = unit(rng.normal(size=(m, 3))), rng.normal(size=(1, m))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reliability, "SHOWN", most)
        patch.setattr(reliability, "SAME", 0.6)
        sides = group_captions(candidates([points]), [rank_captions(whole[0], m)])[0]
    cosines = points @ points.T
    for groups, order in zip(sides, rank_captions(whole[0], m), strict=True):
        rank = {int(i): r for r, i in enumerate(order)}
        heads = [group[0] for group in groups]
        assert heads[:1] == order[:1]
        assert [rank[h] for h in heads] == sorted(rank[h] for h in heads)
        assert all(cosines[a, b] < 0.6 for i, a in enumerate(heads) for b in heads[:i])
        for i, (head, *also) in enumerate(groups):
            assert [rank[a] for a in also] == sorted(rank[a] for a in also)
            assert all(cosines[a, head] >= 0.6 and rank[a] > rank[head] for a in also)
            assert all(cosines[a, h] < 0.6 for a in also for h in heads[:i])
        taken = [index for group in groups for index in group]
        assert len(taken) == len(set(taken))
        assert len(groups) == most or len(taken) == len(order)


# Ranks over resamples


@pytest.mark.parametrize(("m", "top"), [(1, 1), (9, 1), (10, 1), (20, 2), (64, 3), (100, 5), (8000, 400)])
def test_how_many_ranks_are_the_top(m: int, top: int) -> None:
    assert top_ranks(m) == top


def stability(along: np.ndarray, hard: list[int], members: list[int] | None = None, cosine: float = 1.0) -> np.ndarray:
    """What is known of the hard captions of one class, one group each; ``along`` (m, 1 + B)."""
    heads = torch.tensor([hard + [-1] * len(hard)])
    of = np.full(len(along), 2 * len(hard))
    of[hard] = range(len(hard))
    group = torch.tensor(of.tolist() if members is None else members)[None]
    found = rank_stability(torch.from_numpy(along)[None], heads, group, torch.tensor([cosine], dtype=torch.float64))
    assert found[0, len(hard) :].isnan().all()
    return found[0, : len(hard)].numpy()


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 10**6))
def test_ranks_are_those_of_every_resample_alone(m: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    along = rng.normal(size=(m, 1 + count))
    along[rng.integers(m)] = np.nan  # the reference
    scored = np.flatnonzero(~np.isnan(along[:, 0]))
    heads = torch.from_numpy(np.concatenate([scored, scored]))[None]  # each asked about from both sides
    group = torch.full((1, m), 2 * len(scored))
    found = rank_stability(torch.from_numpy(along)[None], heads, group, torch.ones(1, dtype=torch.float64))[0]
    for c, hard, easy in zip(scored, found[: len(scored)], found[len(scored) :], strict=True):
        ranks = 1 + (along[:, 1:] < along[c, 1:]).sum(axis=0)
        assert np.allclose(hard[:3], np.quantile(ranks, [0.5, 0.05, 0.95]))
        assert np.allclose(easy[:3], np.quantile(m - ranks, [0.5, 0.05, 0.95]))


def test_a_group_is_at_the_top_where_any_of_it_is() -> None:
    resampled = np.array([[0.1, 0.2, 0.3, 0.4] * 5, [0.2, 0.1, 0.3, 0.4] * 5], float) + np.arange(20) * 1e-3
    along = np.concatenate([resampled[:1], resampled]).T
    assert top_ranks(20) == 2
    (alone,) = stability(along, [1])
    (together,) = stability(along, [1], [0, 0] + [2] * 18)
    assert (alone[3], together[3]) == (0.5, 1.0)
    assert alone[:3] == pytest.approx([3.5, 1.25, 5.75])  # median, 5th and 95th percentile


def test_without_resamples_nothing_is_known_and_nothing_is_stable() -> None:
    (found,) = stability(np.eye(3)[:, :1], [0])
    assert np.isnan(found).all()
    assert not is_stable(*found[3:])


def test_a_direction_of_length_zero_is_noise() -> None:
    (found,) = stability(np.zeros((3, 5)), [0], cosine=0.0)
    assert found[4] == 1.0


def stability_of_the_hardest(x: np.ndarray, right: np.ndarray, points: np.ndarray, seed: int) -> np.ndarray:
    fit = FailureDirections(n_resamples=50, whiten=False, random_state=seed).fit(x, np.zeros(len(x), int), right)
    units = unit(np.concatenate([fit.coef_[0], np.asarray(fit.resampled_coef_[0, 0])]).astype(np.float64))
    along = points @ units.T
    return stability(along, [int(along[:, 0].argmin())], cosine=float((units[1:] @ units[0]).mean()))[0]


@pytest.mark.parametrize("m", [10, 64, 2000])
def test_on_noise_captions_are_withheld_however_many_there_are(m: int) -> None:
    rng = np.random.default_rng(m)
    passed = []
    for seed in range(40):
        x = rng.normal(size=(150, 24)).astype(np.float32)
        points = unit(rng.normal(size=(m, 24)))
        passed.append(is_stable(*stability_of_the_hardest(x, rng.permutation(150) >= 40, points, seed)[3:]))
    assert np.mean(passed) <= 0.1


def test_a_planted_caption_is_stable(planted_class: Callable[..., object]) -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        data = planted_class(200, 24, 0.3, 1.5, seed)
        points = rng.normal(size=(64, 24))
        points[7] = -data.direction + 0.1 * points[7]
        median, _, _, top_share, noise_p = stability_of_the_hardest(data.x, data.right, unit(points), seed)
        assert median == 1
        assert is_stable(top_share, noise_p)


# The accuracy gap

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


@settings(deadline=None)
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
        held = []
        for hits, others in zip(rng.binomial(50, p, 20_000), rng.binomial(450, other, 20_000), strict=True):
            _, low, high = difference_of_shares(int(hits), 50, int(others), 450, 0.95)
            held.append(low <= p - other <= high)
        assert np.mean(held) > 0.94


def test_nothing_to_compare_has_no_interval() -> None:
    for n in (1, 0):
        nearest, *figures = accuracy_gap(0, n, n, 0.95)
        assert nearest == 0
        assert np.isnan(figures).all()


@pytest.mark.parametrize(("n", "k"), [(0, 0), (1, 0), (2, 1), (15, 7), (20, 10), (99, 10), (100, 10), (500, 50)])
def test_how_many_are_near(n: int, k: int) -> None:
    assert nearest_count(n) == k


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=200))
def test_a_gap_is_the_accuracy_of_the_nearest_minus_that_of_the_class(correct: list[bool]) -> None:
    right = np.array(correct)
    nearest = right[: nearest_count(len(right))]
    k, accuracy, gap, low, high = accuracy_gap(int(nearest.sum()), int(right.sum()), len(right), 0.95)
    assert accuracy == pytest.approx(right[:k].mean())
    assert gap == pytest.approx(right[:k].mean() - right.mean(), abs=1e-12)
    assert low <= gap + 1e-12
    assert gap - 1e-12 <= high
    _, of_rest_low, of_rest_high = difference_of_shares(int(right[:k].sum()), k, int(right[k:].sum()), len(right) - k)
    assert np.sign([low, high]).tolist() == np.sign([of_rest_low, of_rest_high]).tolist()
    assert binomtest(int(right[:k].sum()), k).proportion_ci(0.95, "wilson").low <= accuracy


# The verdict


@pytest.mark.parametrize(
    ("stability", "interval", "decided_by"),
    [
        (FIRM, (-0.3, -0.1), "rank and gap"),
        (FIRM, (-0.3, 0.1), "rank"),
        (LOOSE, (-0.3, -0.1), "gap"),
        (LOOSE, (-0.3, 0.1), "neither"),
        (FIRM, (0.1, 0.3), "contradicted"),
        (UNKNOWN, (-0.3, -0.1), "gap"),
        (UNKNOWN, (NAN, NAN), "neither"),
        (FIRM, (NAN, NAN), "rank"),
        ((1.0, 0.06), (-0.3, 0.1), "neither"),  # as far as noise may lift
        ((0.89, 0.02), (-0.3, 0.1), "neither"),
    ],
)
def test_what_decides(stability: tuple[float, float], interval: tuple[float, float], decided_by: str) -> None:
    low, high = interval
    assert decide(*stability, low, high, Side.HARD) == decided_by
    assert decide(*stability, -high, -low, Side.EASY) == decided_by


def test_a_gap_of_the_fits_own_images_proves_nothing_but_may_contradict() -> None:
    assert decide(*LOOSE, -0.3, -0.1, Side.HARD, held_out=False) == "neither"
    assert decide(*FIRM, -0.3, -0.1, Side.HARD, held_out=False) == "rank"
    assert decide(*FIRM, 0.1, 0.3, Side.HARD, held_out=False) == "contradicted"


def test_a_mode_that_may_be_chance_has_no_reliable_caption() -> None:
    assert decide(*FIRM, -0.3, -0.1, Side.HARD, chance=True) == "chance"


# All of it


def judged(
    points: np.ndarray, w: list[float], resampled: np.ndarray, images: ShownImages | None = None, texts: str = "abc"
) -> JudgedCaptions:
    own = candidates([points], [list(texts[: len(points)])])
    images = images or ShownImages.none(1, own.vectors)
    return judge_captions(own, np.array([w], np.float32), torch.from_numpy(resampled)[None], images, np.zeros(1, bool))[
        0
    ]


def test_few_captions_and_none() -> None:
    points = np.array([[np.nan, np.nan], [1.0, 0.0], [0.0, 1.0]])
    resampled = np.random.default_rng(0).normal(size=(5, 2))
    found = judged(points, [1.0, 0.5], resampled)
    assert {side: list(own) for side, own in found.sides.items()} == {"hard": [2], "easy": [1]}
    assert np.allclose(found.scores, [np.nan, 1.0, 0.5], equal_nan=True)
    hard = found.sides[Side.HARD][2]
    assert (hard.caption, hard.score, hard.evidence.candidates, hard.evidence.nearest) == ("c", 0.5, 2, 0)
    assert hard.alignment == pytest.approx(0.5 / np.hypot(1, 0.5))  # over ‖w‖
    nothing = judged(points[:0], [1.0, 1.0], resampled)
    alone = judged(points[:1], [1.0, 1.0], resampled)
    assert nothing.sides == alone.sides == {"hard": {}, "easy": {}}
    assert nothing.nearest == {}


def test_a_direction_of_length_zero_has_no_alignment_and_no_reliable_caption() -> None:
    found = judged(np.eye(2), [0.0, 0.0], np.zeros((4, 2)))
    first = found.sides[Side.HARD][0]
    assert (first.score, first.withheld) == (0.0, True)
    assert np.isnan(first.alignment)


@pytest.mark.parametrize("kind", [torch.float64, torch.float16])
def test_the_gap_is_that_of_the_images_nearest_to_the_caption(
    kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_in_blocks(monkeypatch, 7, 2)
    vectors = np.stack([np.linspace(1, 0, 30), np.zeros(30)], axis=1)  # the last is the nearest to b
    right = np.array([True] * 20 + [False] * 10)

    def evidence(correct: np.ndarray):
        images = ShownImages(CountedRows(torch.from_numpy(-vectors).to(kind)), [correct], [np.arange(30)])
        found = judged(np.array([[1.0, 0.0], [-1.0, 0.0]]), [1.0, 0.0], np.empty((0, 2)), images, "cb")
        assert list(found.sides[Side.HARD]) == [1]
        assert found.nearest[Side.HARD].tolist() == correct.tolist()
        assert found.nearest[Side.EASY].tolist() == correct[::-1].tolist()
        return found.sides[Side.HARD][1].evidence

    found = evidence(right[::-1])
    assert (found.nearest, found.nearest_accuracy) == (10, 0.0)
    assert found.gap == pytest.approx(-2 / 3)
    assert (found.decided_by, found.reliable) == ("gap", True)
    assert evidence(right).nearest_accuracy == 1.0
    assert (evidence(right).decided_by, evidence(right).reliable) == ("contradicted", False)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=5), st.integers(0, 10**6))
def test_what_is_found_of_a_class_does_not_depend_on_the_classes_around_it(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [unit(rng.normal(size=(m, 4))) for m in sizes]
    w, resampled = (
        rng.normal(size=(len(sizes), 4)).astype(np.float32),
        torch.from_numpy(rng.normal(size=(len(sizes), 6, 4))),
    )
    counts = rng.integers(0, 30, len(sizes))
    rows = np.split(rng.permutation(counts.sum()), np.cumsum(counts)[:-1])
    vectors, right = torch.from_numpy(unit(rng.normal(size=(counts.sum(), 4)))), rng.random(counts.sum()) < 0.5
    chance = rng.random(len(sizes)) < 0.3

    def shown(classes: Iterable[int]) -> ShownImages:
        return ShownImages(TensorRows(vectors), [right[rows[k]] for k in classes], [rows[k] for k in classes])

    together = judge_captions(candidates(points), w, resampled, shown(range(len(sizes))), chance)
    for k, found in enumerate(together):
        (alone,) = judge_captions(
            candidates([points[k]]), w[k : k + 1], resampled[k : k + 1], shown([k]), chance[k : k + 1]
        )
        assert np.allclose(found.scores, alone.scores, equal_nan=True, atol=1e-12)
        assert {side: list(own) for side, own in found.sides.items()} == {
            side: list(own) for side, own in alone.sides.items()
        }
        for side, own in found.sides.items():
            for at, caption in own.items():
                assert caption.evidence.decided_by == alone.sides[side][at].evidence.decided_by
                assert caption.also == alone.sides[side][at].also
        assert all((found.nearest[side] == alone.nearest[side]).all() for side in alone.nearest)
