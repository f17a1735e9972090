from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score

from fdgpu.directions.batch import ClassBatch, choose_costs, standard_error
from fdgpu.directions.dealing import over_batches
from fdgpu.directions.parameters import SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.kernels.folds import folds_of_class
from fdgpu.kernels.smo_numba import cross_validate_jobs, fit_jobs
from tests.directions.planting import make_classes
from tests.kernels.test_folds import enough_of_both, signs


@settings(max_examples=30, deadline=None)
@given(enough_of_both(), st.integers(0, 999))
def test_scores_are_the_mean_balanced_accuracy_of_the_held_out_samples(case: tuple[np.ndarray, int], seed: int) -> None:
    right, cv = case
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(right), 5)) + right[:, None]
    gram, labels, costs = x @ x.T, signs(right)[None], np.array([0.01, 1.0])
    recalls, violation = np.full((1, cv, 2, 2), np.nan), np.full((1, cv), np.nan)
    folds = folds_of_class(labels, cv)[0]
    cross_validate_jobs(gram, labels, folds[None], cv, 0, cv, costs, 1e-6, 100_000, recalls, violation)
    for fold in range(cv):
        a, b = np.zeros((1, len(right))), np.empty(1)
        masked = np.where(folds == fold, 0, labels).astype(np.int8)
        fit_jobs(gram, masked, np.array([1]), 0, 1, costs, 1e-6, 100_000, a, b, np.empty(1), np.empty(1, np.int64))
        held = folds == fold
        decisions = (gram @ a[0] + b[0])[held]
        if np.abs(decisions).min() > 1e-4:
            expected = balanced_accuracy_score(right[held], decisions > 0)
            assert recalls[0, fold, 1].mean() == pytest.approx(expected, abs=1e-12)


def test_of_equal_scores_the_smaller_cost_wins() -> None:
    scores = torch.tensor(
        [[0.5, 0.7, 0.7, 0.6], [0.7 - 1e-15, 0.7, 0, 0], [0.6, 0.6 + 1e-9, 0, 0], [torch.nan] * 4], dtype=torch.float64
    )
    assert choose_costs(scores).tolist() == [1, 0, 1, 0]


def test_with_slack_the_smallest_of_the_good_ones_is_taken() -> None:
    scores = torch.tensor([[0.5, 0.68, 0.7, 0.69]], dtype=torch.float64)
    error = standard_error(scores, torch.tensor([200]), torch.tensor([50]))
    assert error.shape == (1, 1)
    assert float(error[0, 0]) == pytest.approx(np.sqrt(0.7 * 0.3 * (1 / 200 + 1 / 50) / 4))
    assert choose_costs(scores, error).tolist() == [1]


class Holding:
    """A backend whose classes take as many bytes as samples, and which fails on more than ``most`` of them at once."""

    name = "holding"
    at_once = 1

    def __init__(self, most: int = 100) -> None:
        self.most = most

    def check(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> None:
        pass

    def capacity(self) -> int:
        return 12

    def bytes_of(self, one: ClassSamples, settings: SolverSettings) -> int | None:  # noqa: ARG002 - the protocol's
        return one.n if one.n <= 10 else None

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> ClassBatch:  # noqa: ARG002
        if len(classes) > self.most:
            raise torch.OutOfMemoryError(f"{len(classes)} classes")
        return [one.n for one in classes]  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("sizes", "held"), [([3, 4, 20, 2, 5], [[3, 4], [20], [2, 5]]), ([20], [[20]]), ([], []), ([9, 9], [[9], [9]])]
)
def test_batches_hold_what_fits_in_order(sizes: list[int], held: list[list[int]]) -> None:
    classes = make_classes(sizes, 4) if sizes else []
    assert list(over_batches(Holding(), classes, SolverSettings(), lambda batch: batch)) == held


def test_a_failed_allocation_halves_the_batch_and_nothing_is_done_twice() -> None:
    classes, tried = make_classes([2] * 7, 4), []

    def work(batch: ClassBatch) -> ClassBatch:
        tried.append(batch)
        return batch

    assert list(over_batches(Holding(most=2), classes, SolverSettings(), work)) == [[2]] * 7
    assert tried == [[2]] * 7
    assert list(over_batches(Holding(most=3), classes, SolverSettings(), work)) == [[2, 2, 2], [2, 2, 2], [2]]
    with pytest.raises(torch.OutOfMemoryError, match="1 classes"):
        list(over_batches(Holding(most=0), classes, SolverSettings(), work))


def test_another_error_is_not_tried_again() -> None:
    def fail(batch: ClassBatch) -> None:
        raise ValueError(f"not of memory, {len(batch)}")  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="not of memory, 6"):
        list(over_batches(Holding(), make_classes([2] * 7, 4), SolverSettings(), fail))
