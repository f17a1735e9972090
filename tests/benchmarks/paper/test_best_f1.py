"""The best F1 against a search over every threshold."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from benchmarks.paper.experiments.chestxray14 import best_f1_threshold


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30).filter(
        lambda x: any(b for _, b in x)
    )
)
@settings(deadline=None)
def test_no_threshold_is_better(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([s for s, _ in pairs]) / 5, np.array([b for _, b in pairs])
    chosen = best_f1_threshold(scores, labels)
    own = f1_score(labels, scores >= chosen)
    for other in np.unique(scores):
        score = f1_score(labels, scores >= other)
        assert score <= own + 1e-12
        assert score < own - 1e-12 or other <= chosen
