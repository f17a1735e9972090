from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections
from fdgpu.directions import distilling, estimator, modes
from fdgpu.directions.batch import SolverBackend
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SearchSettings, SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.directions.triton_backend import TritonBackend
from fdgpu.errors import BackendError, InputError
from tests.directions.planting import Found, class_samples, found_in, make_classes, plant_modes
from tests.kernels.interpreting import DEVICE, comparison

SETTINGS = SolverSettings((1e-2, 1.0), cv=2, tol=1e-3, max_iter=100_000)


def classes() -> list[ClassSamples]:
    return make_classes([33, 17, 24], 16, separation=1.5)


def solutions(backend: SolverBackend, search: SearchSettings) -> list[Found]:
    return found_in(backend, classes(), SETTINGS, search)


@comparison
def test_it_finds_what_the_cpu_finds() -> None:
    search = SearchSettings(n_permutations=2, nested=True, n_resamples=2)
    ours, theirs = solutions(TritonBackend(DEVICE), search), solutions(NumbaBackend(1), search)
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        (mine,), (its,) = one.directions, other.directions
        assert np.allclose(mine.cv_scores, its.cv_scores, atol=0.03)  # a held-out value near zero may change sides
        if mine.C_index == its.C_index:
            assert np.linalg.norm(mine.w - its.w) <= 5e-3 * np.linalg.norm(its.w)
            assert mine.intercept == pytest.approx(its.intercept, abs=5e-3)
            assert one.resampled.shape == (1, 2, 16)
            assert np.linalg.norm(one.resampled - other.resampled) <= 5e-3 * np.linalg.norm(other.resampled)
        assert mine.violation <= SETTINGS.tol * 1.01
        assert abs(one.p_value - other.p_value) <= 0.34
        assert one.nested_score == pytest.approx(other.nested_score, abs=0.06)


@comparison
def test_several_modes_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distilling, "SPLIT_LEVEL", 1.0)  # sixty samples prove nothing; what is compared are the modes
    monkeypatch.setattr(modes, "STARTS", 3)
    planted = plant_modes(60, 8, [0.25, 0.25], strength=2.0, seed=1)
    own, search = class_samples(planted.x, planted.right), SearchSettings(n_directions=2)
    costs = SolverSettings((1e-3,), cv=2, tol=1e-3, max_iter=10_000)
    backends = (TritonBackend(DEVICE), NumbaBackend(1))
    found = [found_in(backend, own, costs, search)[0].directions for backend in backends]
    assert [len(explained) for explained in found] == [2, 2]
    for mine, its in zip(*found, strict=True):
        assert np.linalg.norm(mine.w - its.w) <= 1e-3 * np.linalg.norm(its.w)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_what_is_missing() -> None:
    with pytest.raises(BackendError, match=r"'triton' was asked for, but cannot run here: no CUDA device"):
        FailureDirections(backend="triton").check()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "no CUDA device" in FailureDirections().solver_settings.choose_backend().reason


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SolverSettings(tol=1e-7), "tol is 1e-07"),
        (SolverSettings(max_iter=2**31), "max_iter is 2147483648"),
    ],
)
def test_what_the_kernel_cannot_solve_is_refused_before_anything_is_loaded(
    settings: SolverSettings, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        TritonBackend("cpu").check([], settings)


def test_backends_by_name() -> None:
    host, second = torch.device("cpu"), torch.device("cuda", 1)
    assert estimator.backend_named("numba", second).name == "numba"
    assert estimator.backend_named("triton", host).name == "triton"
    on_a_device = {name: estimator.backend_named(name, second) for name in ("triton", "cuml")}
    assert {name: backend.device for name, backend in on_a_device.items()} == {"triton": second, "cuml": second}
    assert estimator.backend_named("triton", host).device == torch.device("cuda")  # the current one
