from __future__ import annotations

import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.directions import backends, distilling, modes
from fdgpu.directions.batch import PaperFits
from fdgpu.directions.choosing import paper_fits_in_turn
from fdgpu.directions.distilling import distil
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.problem import ClassSolution, ClassTask, Samples, SearchSettings, SolverSettings
from fdgpu.directions.triton_backend import TritonBackend
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import BackendError, InputError
from tests.conftest import make_class
from tests.directions.planting import plant_modes
from tests.kernels.interpreting import DEVICE, compare_in_the_interpreter, comparison

SETTINGS = SolverSettings((1e-2, 1.0), cv=2, tol=1e-3, max_iter=100_000)


def task_of(x: np.ndarray, right: np.ndarray) -> ClassTask:
    samples = Samples(torch.from_numpy(x), right, Whitening.identity(x.shape[1]))
    return ClassTask(0, np.arange(len(x)), samples)


def tasks() -> list[ClassTask]:
    parts = [make_class(n, 16, 0.3, 1.5, n) for n in (33, 17, 24)]
    ends = np.cumsum([len(part.x) for part in parts])
    x, right = np.concatenate([part.x for part in parts]), np.concatenate([part.right for part in parts])
    samples = Samples(torch.from_numpy(x), right, Whitening.identity(16))
    return [ClassTask(k, rows, samples) for k, rows in enumerate(np.split(np.arange(len(x)), ends[:-1]))]


def solutions(backend: object, tests: SearchSettings) -> list[ClassSolution]:
    found: list[ClassSolution] = []
    for batch in backend.open(tasks(), SETTINGS):
        found += distil(batch, range(len(found), len(found) + len(batch.layout.sizes)), SETTINGS, tests)
    return found


@comparison
def test_it_finds_what_the_cpu_finds() -> None:
    settings = SearchSettings(1, n_permutations=2, stop_after=0, nested=True, level=0.05, seed=0, n_resamples=2)
    ours, theirs = solutions(TritonBackend(DEVICE), settings), solutions(NumbaBackend(1), settings)
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        (mine,), (its,) = one.candidates[0], other.candidates[0]
        assert np.allclose(mine.cv_scores, its.cv_scores, atol=0.03)  # a held-out value near zero may change sides
        if mine.cost == its.cost:
            assert np.linalg.norm(mine.w - its.w) <= 5e-3 * np.linalg.norm(its.w)
            assert mine.intercept == pytest.approx(its.intercept, abs=5e-3)
            assert mine.resampled.shape == (2, 16)
            assert np.linalg.norm(mine.resampled - its.resampled) <= 5e-3 * np.linalg.norm(its.resampled)
        assert mine.violation <= SETTINGS.tol * 1.01
        assert abs(one.p_values[0] - other.p_values[0]) <= 0.34
        assert one.nested_score == pytest.approx(other.nested_score, abs=0.06)


@comparison
def test_the_device_chooses_as_one_does_step_by_step() -> None:
    (batch,) = TritonBackend(DEVICE).open(tasks(), SETTINGS)
    at_once, in_turn = batch.paper_fits(), paper_fits_in_turn(batch)
    for field in fields(PaperFits):
        assert np.allclose(getattr(at_once, field.name), getattr(in_turn, field.name), atol=1e-6), field.name


@comparison
def test_several_modes_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, "SPLIT_LEVEL", 1.0)  # sixty samples prove nothing; what is compared are the modes
    monkeypatch.setattr(modes, "STARTS", 3)
    planted = plant_modes(60, 8, [0.25, 0.25], strength=2.0, seed=1)
    task = task_of(planted.x, planted.right)
    tests = SearchSettings(2, n_permutations=0, stop_after=0, nested=False, level=1.0, seed=0)
    costs = SolverSettings((1e-3,), cv=2, tol=1e-3, max_iter=10_000)
    found = []
    for backend in (TritonBackend(DEVICE), NumbaBackend(1)):
        found += [distil(batch, [0], costs, tests)[0].candidates[-1] for batch in backend.open([task], costs)]
    assert [len(explained) for explained in found] == [2, 2]
    for mine, its in zip(*found, strict=True):
        assert np.linalg.norm(mine.w - its.w) <= 1e-3 * np.linalg.norm(its.w)


@pytest.mark.slow
def test_the_comparisons_hold_in_the_interpreter() -> None:
    compare_in_the_interpreter(__file__)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_what_is_missing() -> None:
    with pytest.raises(BackendError, match=r"'triton' was asked for, but cannot run here: no CUDA device"):
        FailureDirections(backend="triton")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "no CUDA device" in FailureDirections()._backend_choice.reason


def test_what_the_kernel_cannot_solve_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(InputError, match="tol is 1e-07"):
        next(TritonBackend("cpu").open([], SolverSettings((1.0,), 2, 1e-7, 10)))


def test_backends_by_name() -> None:
    assert backends.backend_named("numba").name == "numba"
    assert backends.backend_named("triton").name == "triton"
