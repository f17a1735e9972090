"""The plain twin of the batched solvers, against the numpy reference of one problem, and scikit-learn's rules."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from fdgpu.kernels import smo_triton
from fdgpu.kernels.smo_batch import cross_validate_reference, fit_reference
from fdgpu.kernels.smo_numba import smo_reference
from tests.kernels.test_smo_triton import batch_of

COSTS = torch.tensor([1e-3, 0.1, 1.0])
STOP = {"tol": 1e-7, "max_iter": 100_000}
SIZES = [21, 18, 33]


def two_labellings() -> torch.Tensor:
    _, labels = batch_of(SIZES, "cpu")
    matrix = torch.cat([labels, labels.roll(1, dims=1)])
    matrix[1, ::4] = 0
    return matrix


def alone(k: int, y: np.ndarray, cost: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Dual, decision values and intercept of one problem by the numpy reference, in which nothing is padded."""
    batch, _ = batch_of(SIZES, "cpu")
    n, start = SIZES[k], int(batch.gram_starts[k])
    gram, train = batch.grams[start : start + n * n].view(n, n).double().numpy(), np.flatnonzero(y)
    weights = len(train) / (2 * np.where(y[train] > 0, (y > 0).sum(), (y < 0).sum()))
    a = np.zeros(n)
    a[train], intercept = smo_reference(gram[np.ix_(train, train)], y[train].astype(float), weights, cost, **STOP)
    return a, gram @ a + intercept, intercept


def test_fits_of_many_problems_at_once_are_those_of_one() -> None:
    batch, labels = batch_of(SIZES, "cpu")[0], two_labellings()
    C_index = torch.tensor([[0, 2, 1], [2, -1, 1]], dtype=torch.int32)
    found = fit_reference(batch, labels, C_index, COSTS, classes=[0, 1], **STOP)
    assert found.violation.isnan().tolist() == [[False, False, True], [False, True, True]]
    assert found.n_iter.tolist()[0][2] == -1
    for p, k in ((0, 0), (0, 1), (1, 0)):
        rows = slice(int(batch.starts[k]), int(batch.starts[k]) + SIZES[k])
        a, decisions, intercept = alone(k, labels[p, rows].numpy(), float(COSTS[C_index[p, k]]))
        assert np.allclose(found.a[p, rows], a, atol=1e-5)
        assert np.allclose(found.decisions[p, rows], decisions, atol=1e-5)
        assert float(found.intercept[p, k]) == pytest.approx(intercept, abs=1e-5)
        assert float(found.violation[p, k]) <= 1e-6
        assert (found.a[p, rows][labels[p, rows] == 0] == 0).all()


def test_held_out_scores_are_counted_by_hand() -> None:
    batch, labels = batch_of(SIZES, "cpu")[0], two_labellings()
    folds = (torch.arange(sum(SIZES)) // 3 % 3).to(torch.int8).repeat(2, 1)
    scores, violation = cross_validate_reference(batch, labels, folds, 3, COSTS, **STOP)
    assert scores.shape == (2, 3, 3, 3)
    assert violation.shape == (2, 3, 3)
    for p in range(2):
        for k in range(3):
            rows = slice(int(batch.starts[k]), int(batch.starts[k]) + SIZES[k])
            y, fold_of = labels[p, rows].numpy(), folds[p, rows].numpy()
            for fold in range(3):
                for c in range(3):
                    _, decisions, _ = alone(k, np.where(fold_of == fold, 0, y), float(COSTS[c]))
                    held = fold_of == fold
                    kinds = [held & (y == sign) for sign in (-1, 1)]
                    expected = np.mean([((decisions > 0) == (y > 0))[kind].mean() for kind in kinds])
                    if np.abs(decisions[held]).min() > 1e-4:
                        assert float(scores[p, k, fold, c]) == pytest.approx(expected, abs=1e-12)


def test_a_kind_that_is_missing_in_training_or_held_out_scores_nothing() -> None:
    batch, labels = batch_of([12], "cpu")
    folds = torch.where(labels < 0, 0, torch.arange(12) % 2).to(torch.int8)
    scores, violation = cross_validate_reference(batch, labels, folds, 2, COSTS, **STOP)
    assert scores.isnan().all()  # fold 0 holds every wrong sample out, and fold 1 none
    assert violation.isnan().tolist() == [[[True, False]]]
    assert fit_reference(batch, labels.abs(), torch.zeros((1, 1), dtype=torch.int32), COSTS, **STOP).a.isnan().all()


@pytest.mark.parametrize("name", ["cross_validate", "fit"])
def test_it_stands_in_for_the_launchers(name: str) -> None:
    launcher, twin = getattr(smo_triton, f"{name}_labels"), globals()[f"{name}_reference"]
    assert inspect.signature(launcher) == inspect.signature(twin)
