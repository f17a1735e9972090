from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.auditing.truth import Planted, compare_with_planted, k_grid, running_share
from fdgpu.findings import CaptionEvidence, CurveRole, DecidedBy, ScoredCaption


@given(st.integers(0, 3000), st.integers(2, 80))
def test_the_grid_of_k_ends_at_the_last_image(n: int, points: int) -> None:
    ks = k_grid(n, points)
    assert ks == sorted(set(ks))
    assert len(ks) <= points
    assert not ks if n == 0 else (ks[-1] == n and ks[0] >= 1)


def test_the_share_among_the_first_k() -> None:
    curve = running_share("near", CurveRole.HARD_CAPTION, np.array([False] * 4 + [True] * 4))
    values = dict(zip(curve.k, curve.value, strict=True))
    assert values[5] == pytest.approx(1 / 5)
    assert values[8] == pytest.approx(4 / 8)


def test_a_planted_failure_is_judged_by_words_and_by_pictures() -> None:
    rows, decisions = np.arange(10, 18), np.array([-4.0, -3, -2, -1, 1, 2, 3, 4])
    minority = np.zeros(20, bool)
    minority[[10, 11, 12, 17]] = True
    planted = Planted("colour", "red", "blue", "a blue a", minority)
    unsure = CaptionEvidence(False, DecidedBy.NEITHER, 1, 9, 4.0, 1.0, 8.0, 3, 0.2, 0.4, 10, 0.5, 0.0, -0.1, 0.1)
    captions = [
        ScoredCaption("a photo of a red a on a blue background", -1.0, -0.5),
        ScoredCaption("a photo of a blue a", -0.9, -0.4),
        ScoredCaption("a photo of a blue a at night", -0.8, -0.3, evidence=unsure),
    ]
    by_confidence = np.array([3, 2, 1, 0, 4, 5, 6, 7])
    truth = compare_with_planted(planted, rows, decisions, by_confidence, captions)
    assert (truth.named_at, truth.named_but_withheld) == (2, False)
    assert (truth.top, truth.share_by_decision, truth.share_by_chance) == (8, 0.5, 0.5)
    assert dict(zip(truth.shares[0].k, truth.shares[0].value, strict=True))[5] == pytest.approx(3 / 5)
    assert [curve.name for curve in truth.shares] == ["decision value", "confidence", "chance"]
    withheld = compare_with_planted(planted, rows, decisions, None, [captions[0], captions[2]])
    assert (withheld.named_at, withheld.named_but_withheld) == (2, True)
    assert compare_with_planted(planted, rows, decisions, None, captions[:1]).named_at is None
