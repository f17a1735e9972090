from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import SVC

from fdgpu.kernels.proximal_newton import combined, newton_path
from fdgpu.kernels.smo_batch import GramBatch, Solutions, fit_reference
from tests.conftest import make_class

PATH = [10.0**k for k in range(-6, 1)]


def problem(n: int, d: int, errors: float, separation: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    data = make_class(n, d, errors, separation, seed)
    return torch.from_numpy(data.x), torch.from_numpy(np.where(data.right, 1, -1).astype(np.int8))[None]


def kkt_violation(x: torch.Tensor, y: torch.Tensor, cost: float, a: torch.Tensor) -> float:
    """Largest violation, straight from the definition, in float64."""
    gram, own, signs = x.double() @ x.double().T, a.double(), y.double()
    weights = (y != 0).sum() / (2 * torch.where(y > 0, (y > 0).sum(), (y < 0).sum()).double())
    v = signs - gram @ own
    zero = torch.zeros(len(y)).double()
    upper, lower = torch.where(y > 0, cost * weights, zero), torch.where(y < 0, -cost * weights, zero)
    assert (own <= upper * (1 + 1e-12)).all()
    assert (own >= lower * (1 + 1e-12)).all()
    return float(v[own < upper * (1 - 1e-12)].max() - v[own > lower * (1 - 1e-12)].min())


@pytest.mark.parametrize("n", [8, 63, 500])
@pytest.mark.parametrize(("d", "errors"), [(64, 0.5), (300, 0.05), (7, 0.2)])
def test_every_solution_of_the_path_is_feasible_and_optimal(n: int, d: int, errors: float) -> None:
    x, y = problem(n, d, errors, 1.5, seed=n + d)
    points = list(newton_path(x, y, PATH, tol=1e-3, max_iter=1000))
    assert len(points) == len(PATH)
    for cost, point in zip(PATH, points, strict=True):
        assert abs(point.a.sum()) <= 1e-6 * point.a.abs().sum()
        assert kkt_violation(x, y[0], cost, point.a[0]) <= 1e-3 + 1e-5
        assert point.violation.item() <= 1e-3
        w = combined(x, point.a)[0]
        assert torch.allclose(point.decisions[0], x.double() @ w + point.intercept, atol=1e-4)


@pytest.mark.parametrize("cost", [1e-2, 1.0, 10.0])
@pytest.mark.parametrize(("n", "d", "errors"), [(63, 64, 0.2), (200, 32, 0.5), (300, 300, 0.05)])
def test_it_is_its_plain_twin(n: int, d: int, errors: float, cost: float) -> None:
    x, y = problem(n, d, errors, 1.0, seed=n)
    (point,) = newton_path(x.double(), y, [cost], tol=1e-7, max_iter=1000)
    gram = GramBatch((x.double() @ x.double().T).flatten(), torch.tensor([0]), torch.tensor([0, n]), [n])
    first = torch.zeros((1, 1), dtype=torch.int32)
    twin = fit_reference(gram, y, first, torch.tensor([cost], dtype=torch.float64), tol=1e-8, max_iter=1_000_000)
    w, reference = combined(x.double(), point.a)[0], combined(x.double(), twin.a)[0]
    assert torch.linalg.vector_norm(w - reference) <= 1e-5 * torch.linalg.vector_norm(reference)
    assert point.violation.item() <= 1e-7
    if ((twin.a.abs() > 0) & (twin.a.abs() < cost * 0.9)).any():  # a free sample fixes b
        assert point.intercept.item() == pytest.approx(twin.intercept.item(), abs=1e-5)
        assert torch.allclose(point.decisions, twin.decisions, atol=1e-4)


@pytest.mark.slow
def test_it_agrees_with_libsvm_at_five_thousand_samples() -> None:
    x, y = problem(5000, 64, 0.2, 1.5, seed=0)
    *_, point = newton_path(x, y, PATH, tol=1e-3, max_iter=1000)
    oracle = SVC(kernel="linear", class_weight="balanced", C=1.0, tol=1e-4, cache_size=500).fit(x.double(), y[0])
    w = combined(x, point.a)[0].numpy()
    assert np.linalg.norm(w - oracle.coef_[0]) <= 2e-3 * np.linalg.norm(oracle.coef_[0])
    assert point.intercept.item() == pytest.approx(oracle.intercept_[0], abs=2e-3)
    assert np.abs(point.decisions[0].numpy() - oracle.decision_function(x.double())).max() <= 5e-3


def test_a_batch_is_its_problems_one_by_one() -> None:
    x, y = problem(90, 20, 0.3, 1.0, seed=1)
    labels = y.repeat(4, 1)
    labels[1, ::3] = 0
    labels[2] = labels[2].roll(7)
    labels[3] = 1  # no solution
    together = list(newton_path(x.double(), labels, PATH, tol=1e-6, max_iter=1000))
    for i in range(3):
        alone = list(newton_path(x.double(), labels[i : i + 1], PATH, tol=1e-6, max_iter=1000))
        for one, many in zip(alone, together, strict=True):
            assert torch.allclose(one.decisions[0], many.decisions[i], atol=1e-5)
            assert torch.allclose(one.a[0], many.a[i], atol=1e-4)
    assert (together[-1].a[1, ::3] == 0).all()
    for point in together:
        assert point.violation.isnan().tolist() == [False, False, False, True]
        assert point.decisions[3].isnan().all()
        assert point.n_iter[3].item() == -1


@given(seed=st.integers(0, 10_000), n=st.integers(4, 40), d=st.integers(1, 8), kind=st.sampled_from(KINDS := [
    "one-hot", "equal rows", "opposite labels", "zeros", "plain",
]))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_what_is_degenerate_is_solved_too(seed: int, n: int, d: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    if kind == "one-hot":
        x = np.eye(d)[rng.integers(0, d, n)]
    elif kind == "equal rows":
        x = np.repeat(x[:1], n, axis=0)
    elif kind == "opposite labels":
        x[n // 2 :] = x[: n - n // 2]
    elif kind == "zeros":
        x[:] = 0
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    y = torch.from_numpy(np.where(np.arange(n) % 3 > 0, 1, -1).astype(np.int8))[None]
    points = list(newton_path(torch.from_numpy(x), y, [1e-3, 1.0, 100.0], tol=1e-4, max_iter=1000))
    for cost, point in zip([1e-3, 1.0, 100.0], points, strict=True):
        assert point.violation.item() <= 1e-4
        assert kkt_violation(torch.from_numpy(x), y[0], cost, point.a[0]) <= 1.1e-4
        assert abs(point.a.sum()) <= 1e-6 * point.a.abs().sum()


def test_a_bound_on_the_steps_is_reported() -> None:
    x, y = problem(200, 20, 0.3, 0.5, seed=2)
    (point,) = newton_path(x, y, [1.0], tol=1e-3, max_iter=1)
    assert point.violation.item() > 1e-3


def test_bad_input_is_named() -> None:
    x, y = problem(20, 4, 0.3, 1.0, seed=0)

    def solve(*arguments: object) -> Solutions:
        return next(newton_path(*arguments, tol=1e-3, max_iter=10))

    with pytest.raises(ValueError, match=r"x is torch.float16"):
        solve(x.half(), y, [1.0])
    with pytest.raises(ValueError, match=r"labels is torch.int64 \(1, 20\): pass \(P, 20\) int8"):
        solve(x, y.long(), [1.0])
    with pytest.raises(ValueError, match="in ascending order"):
        solve(x, y, [1.0, 0.1])
