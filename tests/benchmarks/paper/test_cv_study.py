"""What a CV score is held against, on a few answers that are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.baselines import Examples
from benchmarks.paper.correlations import pearson
from benchmarks.paper.cv_study import Degree, conclude, degrees, study
from benchmarks.paper.results import Figure


class Known:
    """Directions whose decision values are the embeddings themselves."""

    method = "svm"
    classes_ = np.array([0, 1])
    cv_score_ = np.array([[0.6], [0.7]])

    def decision_function(self, embeddings: np.ndarray, labels: np.ndarray, loss: None) -> np.ndarray:
        assert len(embeddings) == len(labels)
        assert loss is None
        return embeddings[:, 0]


def test_every_class_has_its_own_errors_and_those_predicted() -> None:
    labels, minority = np.array([0, 0, 0, 0, 1, 1]), np.array([True, True, False, False, True, False])
    predicted = np.array([1, 0, 1, 0, 1, 1])
    values = np.array([[-1.0], [-1.0], [-1.0], [1.0], [1.0], [1.0]])
    first, second = degrees(0.75, Known(), Examples(labels, None, values, np.eye(2)[predicted]), minority)  # type: ignore
    assert first == Degree(0.75, 0.6, 0.5, pytest.approx(2 / 3), 0.5)
    assert (second.score, second.minority_accuracy) == (0.7, 1.0)
    assert np.isnan([second.predicted, second.actual]).all()  # nothing is flagged, and nothing is wrong


def test_figures_are_means_over_classes_and_correlations_over_shares_and_between_classes() -> None:
    points = [
        Degree(removed, 0.5 + removed * steep, 0.9 - removed * steep, steep, 1 - steep)
        for removed in (0.1, 0.5, 0.75)
        for steep in (0.1, 0.2, 0.4)
    ]
    points.append(Degree(0.75, 0.5, 0.9, float("nan"), float("nan")))
    found = {(figure.measure, figure.at): figure.value for figure in study(points, 0.75)}
    assert found["CV score by share removed", 0.5] == pytest.approx(0.5 + 0.5 * 0.7 / 3)
    assert found["minority of predicted errors", 0.75] == pytest.approx(0.7 / 3)
    assert found["Pearson r, CV score and minority accuracy", None] == pytest.approx(-1)
    assert found["Pearson r between classes, CV score and minority of predicted errors", None] == pytest.approx(1)
    assert found["Pearson r between classes, CV score and minority of actual errors", None] == pytest.approx(-1)


def test_pairs_that_are_not_known_do_not_count() -> None:
    assert pearson([1, 2, 3, 9], [2, 4, 6, float("nan")]) == pytest.approx(1)


def test_numbers_stand_in_the_order_of_the_shares() -> None:
    points = [Degree(share, share + x, 1 - share, 0.1 * x, x) for share in (0.9, 0.1, 0.5) for x in (0, 1)]
    assert [f.at for f in study(points, 0.5) if f.measure == "CV score by share removed"] == [0.1, 0.5, 0.9]


def test_what_follows_from_the_means_is_their_own_correlation() -> None:
    one, other = (
        study(
            [Degree(share, score, 1 - share, 0.5, 0.5) for share, score in zip((0.1, 0.5, 0.9), scores, strict=True)],
            0.5,
        )
        for scores in ((0.5, 0.9, 0.6), (0.6, 0.3, 1.0))
    )
    means = [Figure(f.measure, f.method, (f.value + g.value) / 2, f.at) for f, g in zip(one, other, strict=True)]
    found = {figure.measure: figure.value for figure in conclude(means)}
    expected = np.corrcoef([0.1, 0.5, 0.9], [0.55, 0.6, 0.8])[0, 1]
    assert found["Pearson r, CV score and share removed, of means"] == pytest.approx(expected)
    assert found["Pearson r, CV score and minority accuracy, of means"] == pytest.approx(-expected)
