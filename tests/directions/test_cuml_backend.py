from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_sample_weight

from fdgpu import FailureDirections
from fdgpu.arrays import counted_crossings
from fdgpu.device import Choice, choose_backend
from fdgpu.directions import distilling, estimator, modes, parameters
from fdgpu.directions.batch import SolverBackend
from fdgpu.directions.cuml_backend import CumlBackend, into_the_box, optimality
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SearchSettings, SolverSettings
from fdgpu.directions.samples import ClassSamples
from fdgpu.directions.triton_backend import TritonBackend
from fdgpu.directions.whitening import Whitening
from fdgpu.doctor import examine
from fdgpu.errors import BackendError, FdgpuWarning, InputError
from fdgpu.kernels.smo_batch import LARGEST_CLASS
from fdgpu.kernels.smo_numba import smo_path
from fdgpu.rows import TensorRows
from tests.cards import show_card
from tests.conftest import make_class
from tests.directions.cuml_stand_in import SVC, stand_in
from tests.directions.planting import Direction, Found, class_samples, found_in, make_classes, plant_modes
from tests.pretend_cuda import inner, pretend_cuda

COSTS = tuple(np.logspace(-6, 0, 7))
SETTINGS = SolverSettings(COSTS, cv=2, tol=1e-4, max_iter=10**6)
ONE_DIRECTION = SearchSettings()


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[SVC]:
    return stand_in(monkeypatch)


def classes(sizes: tuple[int, ...] = (63, 40, 130), d: int = 16) -> list[ClassSamples]:
    return make_classes(sizes, d, separation=1.5)


def solutions(
    backend: SolverBackend, search: SearchSettings = ONE_DIRECTION, settings: SolverSettings = SETTINGS
) -> list[Found]:
    return found_in(backend, classes(), settings, search)


def assert_same_direction(mine: Direction, its: Direction, tol: float = SETTINGS.tol) -> None:
    assert np.linalg.norm(mine.w - its.w) <= 2e-3 * np.linalg.norm(its.w)
    assert mine.intercept == pytest.approx(its.intercept, abs=2e-3)
    assert mine.C_index == its.C_index
    assert np.allclose(mine.cv_scores, its.cv_scores, atol=1e-9)
    assert mine.violation <= tol


def assert_finds_what_the_cpu_finds(backend: SolverBackend) -> None:
    search = SearchSettings(n_permutations=3, nested=True)
    ours, theirs = solutions(backend, search), solutions(NumbaBackend(1), search)
    assert len(ours) == len(theirs) == 3
    for one, other in zip(ours, theirs, strict=True):
        assert_same_direction(one.directions[0], other.directions[0])
        assert one.p_value == other.p_value
        assert one.nested_score == pytest.approx(other.nested_score, abs=1e-9)
        assert (one.solver, one.n_permutations) == ("cuml", 3)


# --- with the stand-ins ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fits")
def test_it_finds_what_the_cpu_finds() -> None:
    assert_finds_what_the_cpu_finds(CumlBackend("cpu"))


@pytest.mark.usefixtures("fits")
@pytest.mark.parametrize("cost", COSTS)
def test_every_refit_agrees_with_the_cpu(cost: float) -> None:
    settings = replace(SETTINGS, Cs=(cost,))
    for one, other in zip(
        solutions(CumlBackend("cpu"), settings=settings), solutions(NumbaBackend(1), settings=settings), strict=True
    ):
        assert_same_direction(one.directions[0], other.directions[0])


@pytest.mark.usefixtures("fits")
def test_several_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        distilling, "SPLIT_LEVEL", 1.0
    )  # a hundred samples prove nothing; what is compared are the modes
    monkeypatch.setattr(modes, "STARTS", 3)
    planted = plant_modes(120, 8, [0.25, 0.25], strength=2.0, seed=1)
    opened = class_samples(planted.x, planted.right)
    settings = replace(SETTINGS, Cs=(1e-2, 1.0))
    search = SearchSettings(n_directions=2)
    found = [
        found_in(backend, opened, settings, search)[0].directions for backend in (CumlBackend("cpu"), NumbaBackend(1))
    ]
    assert [len(explained) for explained in found] == [2, 2]
    for mine, its in zip(*found, strict=True):
        assert_same_direction(mine, its)


def test_a_label_matrix_of_which_some_take_no_part_and_what_is_decided_of_them(fits: list[SVC]) -> None:
    ours, theirs = (backend.open(classes()[:1], SETTINGS) for backend in (CumlBackend("cpu"), NumbaBackend(1)))
    labels = ours.layout.labels.repeat(3, 1)
    labels[1, ::4], labels[2, :20] = 0, 0
    C_index = torch.tensor([[6], [5], [0]])
    mine, its = ours.fit(labels, C_index), theirs.fit(labels, C_index)
    assert (mine.a[labels == 0] == 0).all()
    assert np.allclose(mine.intercept, its.intercept, atol=2e-3)
    assert np.allclose(ours.coef(mine), theirs.coef(its), atol=2e-3 * float(theirs.coef(its).abs().max()))
    assert np.allclose(ours.decide(mine), theirs.decide(its), atol=5e-3)
    assert (mine.violation <= SETTINGS.tol).all()
    assert [fit.shape_fit_[0] for fit in fits] == [63, 47]  # a sample that takes no part is not handed over
    assert mine.n_iter[:, 0].tolist() == [fits[0].n_iter_[0], fits[1].n_iter_[0], 0]


def test_a_class_that_was_not_asked_for_is_not_solved(fits: list[SVC]) -> None:
    batch = CumlBackend("cpu").open(classes()[:1], SETTINGS)
    scores, violation = batch.cross_validate(batch.layout.labels, [])
    assert scores.shape == (1, 1, 2, 7)
    assert scores.isnan().all()
    assert violation.isnan().all()
    unsolved = batch.fit(batch.layout.labels, torch.tensor([[6]]), [])
    assert (unsolved.a == 0).all()
    assert unsolved.violation.isnan().all()
    assert not fits


def test_small_costs_are_verified_by_a_product_and_cost_cuml_nothing(fits: list[SVC]) -> None:
    batch = CumlBackend("cpu").open(classes()[:1], SETTINGS)
    solved = batch.fit(batch.layout.labels, torch.tensor([[1]]))
    assert not fits
    assert np.allclose(solved.a[0].abs(), 1e-5 * 63 / (2 * np.where(batch.layout.right, 44, 19)), rtol=1e-12)
    batch.cross_validate(batch.layout.labels)
    assert {fit.C for fit in fits} <= {1e-2, 1e-1, 1.0}


def test_a_class_too_large_for_a_triton_program(fits: list[SVC]) -> None:
    own = classes((LARGEST_CLASS + 300,), d=6)
    settings = replace(SETTINGS, Cs=(1e-5, 1e-2))
    mine = CumlBackend("cpu").open(own, settings).one_direction()
    its = TritonBackend("cpu").open(own, settings).one_direction()  # Newton's, on this device
    assert fits
    assert (mine.coef - its.coef).norm() <= 2e-3 * its.coef.norm()
    assert np.allclose(mine.cv_scores, its.cv_scores, atol=1e-3)
    assert mine.violation <= settings.tol


def test_what_cuml_is_asked_for(fits: list[SVC]) -> None:
    batch = CumlBackend("cpu").open(classes()[:1], replace(SETTINGS, max_iter=2**40))
    batch.fit(batch.layout.labels, torch.tensor([[6]]))
    (asked,) = fits
    assert (asked.C, asked.max_iter) == (1.0, 2**31 - 1)
    assert asked.tol < SETTINGS.tol
    assert asked.gamma == 1.0  # by a name it would be computed from the rows, for nothing
    assert asked.dual_coef_.dtype == np.float32


ROWS = np.asfortranarray(np.random.default_rng(0).normal(size=(6, 3)), np.float32)
SIGNS, ONES = np.array([-1, -1, -1, 1, 1, 1], np.float32), np.ones(6, np.float32)


@pytest.mark.parametrize(
    ("x", "y", "weights", "says"),
    [
        (np.full_like(ROWS, np.nan), SIGNS, ONES, "NaN or infinity"),
        (ROWS, np.full_like(SIGNS, 1), ONES, "2 classes"),
        (ROWS, SIGNS + np.float32(0.5), ONES, "continuous"),
        (ROWS, SIGNS[:, None], ONES, "1D"),
        (ROWS, SIGNS, np.zeros_like(ONES), "non-zero"),
        (ROWS, SIGNS, np.full_like(ONES, np.inf), "NaN or infinity"),
        (ROWS[:1], SIGNS[:1], ONES[:1], "minimum of 2 samples"),
        (ROWS, SIGNS[:5], ONES, "inconsistent"),
    ],
)
def test_the_stand_in_refuses_what_cuml_refuses(x: np.ndarray, y: np.ndarray, weights: np.ndarray, says: str) -> None:
    svc = SVC(kernel="linear", gamma=1.0, output_type="cupy")
    with pytest.raises(ValueError, match=says):
        svc.fit(np.asfortranarray(x), y, weights)


def test_the_stand_in_answers_as_cuml_does() -> None:
    mixed = SIGNS[[0, 3, 1, 4, 2, 5]]
    svc = SVC(kernel="linear", gamma=1.0, output_type="cupy").fit(ROWS, mixed, ONES)
    assert (np.diff(svc.support_) > 0).all()  # as they stand in the rows, whatever their class
    assert (np.sign(svc.dual_coef_[0]) == mixed[svc.support_]).all()
    assert (svc.support_.dtype, svc.n_iter_.dtype, svc.n_iter_.shape) == (np.int32, np.int32, (1,))
    assert svc.dual_coef_.shape == (1, svc.n_support_)
    assert svc.dual_coef_.dtype == np.float32
    with pytest.raises(OverflowError):
        SVC(kernel="linear", gamma=1.0, output_type="cupy", max_iter=2**31)


@pytest.mark.usefixtures("fits")
def test_a_tight_tolerance_is_met_in_float64() -> None:
    settings = replace(SETTINGS, tol=1e-6)  # libsvm, in the stand-in, keeps its kernel in float32 and ends at 1e-7
    for one, other in zip(
        solutions(CumlBackend("cpu"), settings=settings), solutions(NumbaBackend(1), settings=settings), strict=True
    ):
        mine, its = one.directions[0], other.directions[0]
        assert_same_direction(mine, its, settings.tol)
        assert np.allclose(mine.w, its.w, atol=1e-6)


@pytest.mark.parametrize(("n", "costs"), [(60, (1e-1, 1.0)), (240, (1e-1, 1.0)), (60, (1e-2, 3e-2, 1e-1, 3e-1, 1.0))])
def test_of_its_own_part_the_host_waits_once_for_all_problems(
    n: int, costs: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before cuML is asked: what cuML waits for is its own affair."""
    fits = stand_in(monkeypatch)
    monkeypatch.setattr(sys.modules["cupy"], "from_dlpack", lambda tensor: inner(tensor).numpy())
    settings = replace(SETTINGS, Cs=costs)
    with pretend_cuda(monkeypatch), counted_crossings() as crossings:
        batch = CumlBackend("cuda").open(make_classes((n,), 8, separation=1.0), settings)
        batch.cross_validate(batch.layout.labels)
        of_folds = len(fits)
        batch.coef(batch.fit(batch.layout.labels, torch.tensor([[len(costs) - 1]], device="cuda")))
    assert 0 < of_folds < len(fits)
    own = [one for one in crossings if one.why == "which problems cuML has to solve"]
    assert [one.shape for one in own] == [(3, 2 * len(costs)), (3, 1)]
    assert crossings == own


class OutOfMemory(SVC):
    most = 0
    refused: list[int]  # samples of each fit that found no memory

    def fit(self, X: np.ndarray, *others: object, **named: object) -> SVC:
        if len(self.refused) < self.most:
            self.refused.append(len(X))
            raise MemoryError("std::bad_alloc: out_of_memory: CUDA error")
        return super().fit(X, *others, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [1, 2])
def test_without_memory_it_tries_once_more_and_says_what_to_do(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = stand_in(monkeypatch, type("Refusing", (OutOfMemory,), {"most": most, "refused": []}))
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    batch = CumlBackend("cpu").open(classes()[:1], SETTINGS)
    if most == 1:
        batch.fit(batch.layout.labels, torch.tensor([[6]]))
        assert len(fits) == 1
    else:
        with pytest.raises(BackendError, match=r"out of device memory at 63 samples of 16 features .*'triton'"):
            batch.fit(batch.layout.labels, torch.tensor([[6]]))
    assert emptied == [True]


# --- what cuML gets wrong is seen -----------------------------------------------------------------------------------


class Loose(SVC):
    def __init__(self, *, tol: float, **others: object) -> None:
        super().__init__(tol=0.3 + tol, **others)  # type: ignore[arg-type]


class Unweighted(SVC):
    def weights(self, sample_weight: np.ndarray) -> np.ndarray:
        return np.ones_like(sample_weight)


class Unbalanced(SVC):
    def duals(self, dual: np.ndarray) -> np.ndarray:
        return np.where(np.arange(dual.shape[1]) == 0, 0, dual).astype(dual.dtype)


class Overflown(SVC):
    def duals(self, dual: np.ndarray) -> np.ndarray:
        return np.full_like(dual, np.nan)


class Idle(SVC):
    """Stops before its first step."""

    def duals(self, dual: np.ndarray) -> np.ndarray:
        return dual[:, :0]

    def fit(self, *args: object, **others: object) -> SVC:
        super().fit(*args, **others)  # type: ignore[arg-type]
        self.support_ = self.support_[:0]
        return self


@pytest.mark.parametrize("wrong", [Loose, Unweighted, Unbalanced, Overflown, Idle])
def test_a_solution_that_is_none_is_measured_as_such(wrong: type[SVC], monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, wrong)
    settings = replace(SETTINGS, Cs=(1e-6, 1.0))  # the first is solved without cuML
    batch = CumlBackend("cpu").open(classes()[:1], settings)
    _, by_fold = batch.cross_validate(batch.layout.labels)
    refit = batch.fit(batch.layout.labels, torch.tensor([[1]])).violation
    assert by_fold > SETTINGS.tol
    assert refit > SETTINGS.tol
    direction = batch.one_direction()
    assert direction.violation >= by_fold


@pytest.fixture
def cuml_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[SVC]], list[SVC]]:
    """``FailureDirections(backend="cuml")`` where there is no device."""
    monkeypatch.setattr(parameters, "choose_backend", lambda name: Choice(name, "asked for by name"))
    monkeypatch.setattr(estimator, "backend_named", lambda *_: CumlBackend("cpu"))
    return lambda svc: stand_in(monkeypatch, svc)


def test_the_estimator_runs_it(cuml_on_the_cpu: Callable[[type[SVC]], list[SVC]]) -> None:
    cuml_on_the_cpu(SVC)
    data = make_class(90, 12, 0.3, 1.5, seed=3)
    labels = np.repeat([4, 7], 45)
    fit = FailureDirections(backend="cuml").fit(data.x, labels, data.right)
    plain = FailureDirections(backend="numba").fit(data.x, labels, data.right)
    assert (fit.backend_, fit.solver_) == ("cuml", ["cuml", "cuml"])
    assert fit.converged_.all()
    assert (fit.C_ == plain.C_).all()
    assert np.allclose(fit.coef_, plain.coef_, atol=3e-3 * np.abs(plain.coef_).max())


@pytest.mark.parametrize(("svc", "max_iter"), [(Loose, 10**6), (SVC, 3)])
def test_a_problem_that_did_not_converge_warns_and_is_marked(
    svc: type[SVC], max_iter: int, cuml_on_the_cpu: Callable[[type[SVC]], list[SVC]]
) -> None:
    cuml_on_the_cpu(svc)
    data = make_class(90, 12, 0.3, 1.0, seed=3)
    model = FailureDirections(Cs=[1.0], max_iter=max_iter, backend="cuml")
    with pytest.warns(FdgpuWarning, match="1 classes stopped before the KKT violation reached tol"):
        fit = model.fit(data.x, np.zeros(90, int), data.right)
    assert not fit.converged_.any()


def test_versions_of_cuml_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older(SVC):
        """25.12 warns of a change to ``max_iter``; before it there was no ``n_iter_``."""

        def fit(self, *args: object, **others: object) -> SVC:
            warnings.warn("The meaning of `max_iter` will change in version 26.02", FutureWarning, stacklevel=2)
            super().fit(*args, **others)  # type: ignore[arg-type]
            del self.n_iter_
            return self

    stand_in(monkeypatch, Older)
    batch = CumlBackend("cpu").open(classes()[:1], SETTINGS)
    assert batch.fit(batch.layout.labels, torch.tensor([[6]])).n_iter.tolist() == [[-1]]


# --- how good a dual is ---------------------------------------------------------------------------------------------

BY_C = [1e-4, 1e-2, 0.3, 1.0]
ROUNDING = 8 * float(np.finfo(np.float32).eps)


def solved_path(n: int, errors: float, seed: int, tol: float = 1e-6) -> tuple[np.ndarray, ...]:
    """Solutions of a path of C by the CPU's solver: a, g and limit (n, c), intercept and violation (c,)."""
    data = make_class(n, 12, errors, 1.0, seed)
    gram = data.x.astype(np.float64) @ data.x.T
    y, weights = np.where(data.right, 1.0, -1.0), compute_sample_weight("balanced", data.right)
    a, intercept, violation, _ = smo_path(gram, y, weights, np.array(BY_C), tol=tol)
    return a.T, gram @ a.T, np.outer(y * weights, BY_C), intercept, violation


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


@trials(max_examples=20, deadline=None)
@given(st.integers(20, 80), st.floats(0.1, 0.9), st.integers(0, 1000), st.sampled_from([1e-6, 1e-2]))
def test_it_measures_what_the_solver_of_the_cpu_says_of_itself(n: int, errors: float, seed: int, tol: float) -> None:
    a, g, limit, intercept, violation = solved_path(n, errors, seed, tol)
    measured, b = optimality(*tensors(a, g, limit))
    assert np.allclose(measured, np.maximum(violation, 0), atol=1e-9)
    assert np.allclose(b, intercept, atol=1e-9)


def test_an_alpha_an_ulp_from_its_bound_is_not_free() -> None:
    a, g, limit, intercept, _ = solved_path(64, 0.25, seed=4)
    off = a.astype(np.float32).astype(np.float64) * (1 - 2.0 ** -np.arange(22, 26).repeat(16)[:, None])
    (snapped,) = (into_the_box(*tensors(off, limit), ROUNDING),)
    assert (snapped.numpy()[:, 0] == limit[:, 0]).all()  # at 1e-4 all are at their bounds
    assert np.allclose(optimality(snapped, *tensors(g, limit))[1], intercept, atol=1e-5)
    taken_for_free = optimality(*tensors(off, g, limit))[1]
    assert abs(taken_for_free[0] - intercept[0]) > 1e-5


def test_what_lies_inside_stays_and_what_lies_beyond_comes_back() -> None:
    limit = torch.tensor([[2.0], [-2.0], [2.0], [-2.0], [0.0], [2.0]], dtype=torch.float64)
    a = torch.tensor([[1.0], [-1e-4], [2.5], [0.5], [0.3], [1e-7]], dtype=torch.float64)
    assert into_the_box(a, limit, ROUNDING)[:, 0].tolist() == [1.0, -1e-4, 2.0, 0.0, 0.0, 0.0]


def test_duals_that_do_not_add_up_to_zero_are_not_feasible() -> None:
    a, g, limit, _, violation = solved_path(64, 0.25, seed=4)
    assert optimality(*tensors(a, g, limit))[0].numpy() == pytest.approx(np.maximum(violation, 0), abs=1e-9)
    with_g = torch.from_numpy(g)
    assert (optimality(torch.from_numpy(np.where(a > 0, a, 0)), with_g, torch.from_numpy(limit))[0] >= 1).all()
    assert optimality(torch.full_like(with_g, torch.nan), with_g, torch.from_numpy(limit))[0].isinf().all()


# --- where it cannot run --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fits")
def test_a_class_that_cuml_cannot_count_is_refused_before_anything_is_solved(fits: list[SVC]) -> None:
    rows = TensorRows(torch.zeros(1, 4096).expand(600_000, 4096))
    large = ClassSamples(3, np.arange(600_000), np.ones(600_000, bool), rows, Whitening.identity(4096))
    with pytest.raises(
        InputError, match="600000 samples of 4096 features, a problem of the cuml backend at most 524287"
    ):
        CumlBackend("cpu").check([*classes(), large], SETTINGS)
    assert not fits


def test_a_cuml_that_cannot_be_imported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    monkeypatch.setitem(sys.modules, "cuml.svm", None)
    with pytest.raises(BackendError, match=r"cuML cannot be imported .*gpu-cu12.*gpu-cu13"):
        CumlBackend("cpu").check(classes(), SETTINGS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.device.importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        BackendError,
        match=r"'cuml' was asked for, but cannot run here: no CUDA device .*; cupy and cuml not installed .*gpu-cu13",
    ):
        FailureDirections(backend="cuml").check()
    line = next(line for line in examine() if line.name == "backend cuml")
    assert line.state == "absent"
    assert "gpu-cu12" in line.detail


def test_with_a_device_what_counts_are_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, "a stand-in", (8, 0))
    stand_in(monkeypatch)
    assert choose_backend("cuml") == Choice("cuml", "asked for by name")
    monkeypatch.setattr("fdgpu.device.importlib.util.find_spec", lambda name: None if name == "cuml" else "here")
    with pytest.raises(BackendError, match=r"cannot run here: cuml not installed \(pip install 'fdgpu"):
        choose_backend("cuml")


def test_it_is_found_by_its_name() -> None:
    backend = estimator.backend_named("cuml", torch.device("cuda"))
    assert (backend.name, type(backend)) == ("cuml", CumlBackend)


# --- with cuML ------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("default")  # what the packages that cuML imports warn of is not ours
def test_cuml_itself_finds_what_the_cpu_finds() -> None:
    pytest.importorskip("cuml", reason="cuML is not installed")
    pytest.importorskip("cupy", reason="CuPy is not installed")
    assert_finds_what_the_cpu_finds(CumlBackend())
