from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.captions.duplicates import group_captions


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_captions_that_point_the_same_way_are_one_thing() -> None:
    points = unit(np.array([[1.0, 0, 0], [0, 1, 0], [0.95, 0.1, 0], [0, 0, 1], [0, 0.9, 0.1]]))
    groups = group_captions([2, 4, 0, 1, 3], ["snow", "night", "winter", "water", "dark"], points, 5)
    assert [(g.head, g.also) for g in groups] == [(2, (0,)), (4, (1,)), (3, ())]


def test_a_caption_with_all_the_words_of_another_says_the_same() -> None:
    texts = [
        "a photo of a white cat on a sofa", "a photo of a white cat", "a photo of an orange cat", "a photo of the cat",
        "a photo of a black cat on a white sofa", "a photo of a cat on a black sofa",
    ]  # fmt: skip
    groups = group_captions(range(6), texts, np.eye(6), 6)
    # "black" of a cat is not "black" of a sofa, though each word of the one stands in the other
    assert [(g.head, g.also) for g in groups] == [(0, (1, 3)), (2, ()), (4, ()), (5, ())]


def test_nothing_comes_of_nothing() -> None:
    assert group_captions([], [], np.empty((0, 3)), 3) == []
    assert group_captions([0], ["one"], np.full((1, 3), np.nan), 0) == []


@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 1000))
def test_groups_cut_a_ranking_into_different_things(m: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, order = unit(rng.normal(size=(m, 3))), rng.permutation(m)
    texts = [f"word{i}" for i in range(m)]
    groups = group_captions(order, texts, points, most, same=0.6)
    place = {int(i): rank for rank, i in enumerate(order)}
    heads = [g.head for g in groups]
    assert heads[0] == order[0]
    assert [place[h] for h in heads] == sorted(place[h] for h in heads)
    cosines = points @ points.T
    assert all(cosines[a, b] < 0.6 for i, a in enumerate(heads) for b in heads[:i])
    for i, group in enumerate(groups):
        assert [place[a] for a in group.also] == sorted(place[a] for a in group.also)
        assert all(cosines[a, group.head] >= 0.6 and place[a] > place[group.head] for a in group.also)
        assert all(cosines[a, h] < 0.6 for a in group.also for h in heads[:i])
    taken = heads + [a for g in groups for a in g.also]
    assert len(taken) == len(set(taken))
    assert len(groups) == most or len(taken) == m
