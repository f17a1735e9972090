from __future__ import annotations

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.directions import modes, numba_backend, triton_backend
from fdgpu.directions.batch import NewtonBatch
from fdgpu.directions.dealing import over_batches
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SolverSettings
from fdgpu.directions.triton_backend import TritonBackend
from tests.conftest import make_class
from tests.directions.planting import make_classes, plant_modes

SETTINGS = SolverSettings((1e-3, 1e-1, 1.0), cv=2, tol=1e-3, max_iter=100_000)


def fitted(**settings: object) -> FailureDirections:
    parts = [make_class(n, 24, 0.25, 1.0, n) for n in (150, 400, 90)]
    labels = np.repeat([3, 5, 9], [150, 400, 90])
    fit = FailureDirections(backend="numba", **settings)
    return fit.fit(np.concatenate([p.x for p in parts]), labels, np.concatenate([p.right for p in parts]))


def test_a_large_class_is_solved_without_its_gram_matrix_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = fitted(n_permutations=9, nested=True)
    monkeypatch.setattr(numba_backend, "CLASS_BYTES", 6 * 300**2)
    monkeypatch.setattr("fdgpu.directions.batch.WORK_BYTES", 8 * 16 * 400 * 3)  # three problems at once
    mixed = fitted(n_permutations=9, nested=True)
    assert usual.solver_ == ["gram"] * 3
    assert mixed.solver_ == ["gram", "newton", "gram"]
    assert np.allclose(mixed.cv_scores_, usual.cv_scores_, atol=0.02)  # a held-out value near zero may change sides
    assert np.array_equal(mixed.C_, usual.C_)
    assert np.linalg.norm(mixed.coef_ - usual.coef_) <= 3e-3 * np.linalg.norm(usual.coef_)
    assert np.allclose(mixed.intercept_, usual.intercept_, atol=2e-3)
    assert np.abs(mixed.p_value_ - usual.p_value_).max() <= 0.11
    assert np.allclose(mixed.nested_score_, usual.nested_score_, atol=0.03)
    assert mixed.converged_.all()


def test_several_modes_of_a_large_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "STARTS", 3)
    planted = plant_modes(240, 12, [0.25, 0.25], strength=2.0, seed=1)
    found = []
    for expected in ("gram", "newton"):
        fit = FailureDirections(backend="numba", Cs=(1e-3, 1e-1), n_directions=2)
        fit.fit(planted.x, np.zeros(240, int), planted.right)
        assert fit.solver_ == [expected]
        assert fit.n_directions_ == 2
        found.append(fit.directions_[0])
        monkeypatch.setattr(numba_backend, "CLASS_BYTES", 1)
    assert np.allclose((found[0] * found[1]).sum(axis=1), 1, atol=1e-4)


def test_the_bound_on_the_steps_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_backend, "CLASS_BYTES", 1)
    with pytest.warns(UserWarning, match="3 classes stopped before the KKT violation"):
        fit = fitted(max_iter=1)
    assert not fit.converged_.any()


def test_on_a_device_a_class_beyond_one_program_is_solved_without_a_gram_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triton_backend, "LARGEST_CLASS", 100)
    monkeypatch.setattr(triton_backend, "TritonBatch", lambda batch, *_: batch)
    classes = make_classes([40, 30, 101, 20], 16)
    batches = list(over_batches(TritonBackend("cpu"), classes, SETTINGS, lambda batch: batch))
    assert [len(batches[0]), len(batches[2])] == [2, 1]
    assert isinstance(batches[1], NewtonBatch)
    assert batches[1].layout.sizes == (101,)


def test_both_solvers_give_the_same_numbers() -> None:
    (samples,) = make_classes([120], 16)
    gram = NumbaBackend(1).open([samples], SETTINGS)
    newton = NewtonBatch(samples, SETTINGS, torch.device("cpu"))
    labels = gram.layout.labels.repeat(4, 1)
    labels[1, ::5] = 0
    labels[2] = labels[2].roll(11)
    labels[3] = labels[3].abs()  # no errors: nothing to score
    ours, theirs = newton.cross_validate(labels), gram.cross_validate(labels)
    assert ours[0].shape == theirs[0].shape == (4, 1, 2, 3)
    assert np.allclose(ours[0], theirs[0], atol=0.03, equal_nan=True)
    assert ours[0][3].isnan().all()
    assert (ours[1][:3] <= SETTINGS.tol).all()
    C_index = torch.tensor([[0], [2], [1]])
    mine, its = newton.fit(labels[:3], C_index), gram.fit(labels[:3], C_index)
    assert np.allclose(newton.coef(mine), gram.coef(its), atol=2e-2)
    assert np.allclose(newton.decide(mine), gram.decide(its), atol=1e-2)
    assert mine.n_iter.shape == its.n_iter.shape
    assert (mine.violation <= SETTINGS.tol).all()
