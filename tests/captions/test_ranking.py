from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.captions.ranking import rank_captions

SCORES = st.lists(st.floats(-1, 1) | st.just(float("nan")), max_size=30).map(np.array)


@given(SCORES, st.integers(1, 8))
def test_the_lowest_are_hard_the_highest_easy_and_none_is_both(scores: np.ndarray, top: int) -> None:
    ranked = rank_captions(scores, top)
    valid = sorted(s for s in scores if not np.isnan(s))
    assert [scores[i] for i in ranked.hard] == valid[: len(ranked.hard)]
    assert [scores[i] for i in ranked.easy] == valid[::-1][: len(ranked.easy)]
    assert not set(ranked.hard) & set(ranked.easy)
    assert len(ranked.hard) == min(top, len(valid) - len(valid) // 2)
    assert len(ranked.easy) == min(top, len(valid) // 2)


def test_the_hardest_caption_is_shown_even_if_all_score_above_zero() -> None:
    assert rank_captions(np.array([0.5, np.nan, 0.1, 0.3, 0.4]), 1).hard == [2]
