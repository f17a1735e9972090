from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.auditing.curves import k_grid
from fdgpu.auditing.evidence import Shown
from fdgpu.auditing.inputs import check_inputs
from fdgpu.auditing.truth import Planted, hardest_by_confidence, judge


def test_sure_and_wrong_comes_first_sure_and_right_last() -> None:
    correct, confidence = np.array([True, False, True, False]), np.array([0.9, 0.6, 0.5, 0.99])
    assert hardest_by_confidence(correct, confidence).tolist() == [3, 1, 2, 0]


@given(st.integers(0, 3000), st.integers(2, 80))
def test_the_grid_of_k_ends_at_the_last_image(n: int, points: int) -> None:
    ks = k_grid(n, points)
    assert ks == sorted(set(ks))
    assert len(ks) <= points
    assert not ks if n == 0 else (ks[-1] == n and ks[0] >= 1)


def shown() -> tuple[Shown, np.ndarray]:
    """Eight images at rows 10 to 17; the first four are wrong and hard."""
    labels, said = ["a"] * 20, ["a"] * 20
    for row in range(10, 14):
        said[row] = "b"
    inputs = check_inputs(labels, said, ["a", "b"], None, np.linspace(0, 1, 20))
    decisions = np.array([-4.0, -3, -2, -1, 1, 2, 3, 4])
    return Shown.of(np.arange(10, 18), decisions, inputs), decisions


def test_examples_are_the_extremes() -> None:
    images, _ = shown()
    assert images.hardest(3).tolist() == [10, 11, 12]
    assert images.easiest(3).tolist() == [17, 16, 15]
    assert images.least_sure(2).tolist() == [13, 12]


def test_the_histogram_counts_every_image_once() -> None:
    histogram = shown()[0].histogram()
    assert histogram is not None
    assert (sum(histogram.wrong), sum(histogram.right)) == (4, 4)
    assert len(histogram.edges) == len(histogram.right) + 1
    assert sum(histogram.wrong[: len(histogram.wrong) // 2]) == 4


def test_a_class_whose_decisions_are_equal_but_for_rounding_has_a_histogram() -> None:
    inputs = check_inputs(["a"] * 3, ["a", "a", "b"], ["a", "b"], None, None)
    images = Shown.of(np.arange(3), np.array([0.5, 0.5 + 2e-16, 0.5]), inputs)
    histogram = images.histogram()
    assert histogram is not None
    assert (sum(histogram.right), sum(histogram.wrong)) == (2, 1)


def test_accuracy_of_the_k_nearest_images() -> None:
    images, decisions = shown()
    curve = images.nearest_accuracy("hard", -decisions)  # the hardest are nearest
    values = dict(zip(curve.k, curve.value, strict=True))
    assert values[5] == pytest.approx(1 / 5)
    assert values[8] == pytest.approx(4 / 8)


def test_a_planted_failure_is_judged_by_words_and_by_pictures() -> None:
    images, decisions = shown()
    minority = np.zeros(20, bool)
    minority[[10, 11, 12, 17]] = True
    planted = Planted("colour", "red", "blue", "a blue a", minority)
    captions = ["a photo of a red a on a blue background", "a photo of a blue a"]
    truth = judge(planted, images.rows, decisions, images.by_confidence, captions)
    assert truth.named_at == 2
    assert (truth.top, truth.share_by_decision, truth.share_by_chance) == (8, 0.5, 0.5)
    assert dict(zip(truth.shares[0].k, truth.shares[0].value, strict=True))[5] == pytest.approx(3 / 5)
    assert [curve.name for curve in truth.shares] == ["decision value", "confidence", "chance"]
    assert judge(planted, images.rows, decisions, None, captions[:1]).named_at is None
