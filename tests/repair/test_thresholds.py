"""The best F1 against a search over every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from fdgpu.errors import InputError
from fdgpu.repair import best_f1_threshold


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30).filter(
        lambda x: any(b for _, b in x)
    )
)
def test_no_threshold_is_better(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([s for s, _ in pairs]) / 5, np.array([b for _, b in pairs])
    chosen = best_f1_threshold(scores, labels)
    own = f1_score(labels, scores >= chosen)
    for other in np.unique(scores):
        score = f1_score(labels, scores >= other)
        assert score <= own + 1e-12
        assert score < own - 1e-12 or other <= chosen


def test_what_has_no_best_threshold() -> None:
    with pytest.raises(InputError, match="no 1"):
        best_f1_threshold([0.1, 0.2], [0, 0])
    with pytest.raises(InputError, match="both"):
        best_f1_threshold([0.1, 0.2], [1])


@pytest.mark.parametrize("kind", [bool, np.int8, np.float32])
def test_labels_of_every_kind_that_holds_0_and_1(kind: type) -> None:
    assert best_f1_threshold([0.1, 0.4, 0.3], np.array([0, 1, 1], kind)) == 0.3


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, 1.0, 2.0], [-1, 1, 1], "labels holds -1: pass 1 where it applies and 0"),
        ([0.1, 1.0, 2.0], [0, 3, 1], "labels holds 3"),
        ([0.1, 1.0], [np.nan, 1], "labels holds nan"),
        ([0.1, 1.0], ["no", "yes"], "labels is of type <U3"),
        ([0.1, np.nan, 2.0], [1, 0, 1], "scores holds NaN or infinity, the first at 1"),
        (["a"], [1], "scores is of type <U1"),
    ],
)
def test_scores_and_labels_that_have_no_f1(scores: list[object], labels: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        best_f1_threshold(scores, labels)
