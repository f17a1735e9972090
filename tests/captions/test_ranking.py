from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.captions.ranking import distinct, rank_captions

SCORES = st.lists(st.floats(-1, 1) | st.just(float("nan")), max_size=30).map(np.array)


@given(SCORES, st.integers(1, 8))
def test_hard_is_negative_easy_is_positive_and_none_is_both(scores: np.ndarray, top: int) -> None:
    ranked = rank_captions(scores, top)
    assert [scores[i] for i in ranked.hard] == sorted(s for s in scores if s < 0)[:top]
    assert [scores[i] for i in ranked.easy] == sorted((s for s in scores if s > 0), reverse=True)[:top]


def test_a_caption_is_numbered_once() -> None:
    assert distinct([["a", "b"], ["b", "c"]]) == {"a": 0, "b": 1, "c": 2}
