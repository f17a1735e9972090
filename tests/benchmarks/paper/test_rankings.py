"""Shares among the hardest, and flags of as many as ours."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.paper.rankings import share_in_top
from benchmarks.paper.remedies import as_many


def test_share_in_top_is_of_each_class_and_averaged() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0])
    labels = np.repeat([0, 1], 4)
    inside = np.array([True, False, False, True, True, True, False, False])
    assert share_in_top(values, labels, inside, (1, 2, 4)) == {1: 1.0, 2: 0.75, 4: 0.5}


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(-1, 1)), min_size=1, max_size=40))
def test_as_many_of_each_class_as_ours_and_the_lowest(rows: list[tuple[int, bool, float]]) -> None:
    labels, flagged = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    values = np.array([r[2] for r in rows])
    own = as_many(values, labels, flagged)
    for label in range(3):
        members = labels == label
        assert own[members].sum() == flagged[members].sum()
        if own[members].any() and not own[members].all():
            assert values[members & own].max() <= values[members & ~own].min()
