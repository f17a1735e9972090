"""Precision of the top k of the best-matching proposal, on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.slices.metric import precision_at

TRUTH = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]], bool)


def test_every_slice_takes_its_own_best_proposal() -> None:
    proposals = np.array([[5, 0], [4, 1], [0, 5], [1, 2], [2, 4]], float)
    np.testing.assert_allclose(precision_at(2, proposals, TRUTH), [1.0, 0.5])
    np.testing.assert_allclose(precision_at(2, proposals[:, :1], TRUTH), [1.0, 0.0])


def test_a_proposal_that_shows_too_few_is_divided_by_k() -> None:
    proposals = np.array([[1.0], [-np.inf], [-np.inf], [-np.inf], [-np.inf]])
    np.testing.assert_allclose(precision_at(4, proposals, TRUTH), [0.25, 0.0])


def test_no_proposal_finds_nothing() -> None:
    np.testing.assert_array_equal(precision_at(2, np.empty((5, 0)), TRUTH), [0, 0])


def test_bad_proposals_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        precision_at(2, np.full((5, 1), np.nan), TRUTH)
    with pytest.raises(ValueError, match="3 rows, truth has 5"):
        precision_at(2, np.zeros((3, 1)), TRUTH)
