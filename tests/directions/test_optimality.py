from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu.directions.folds import balanced_weights
from fdgpu.directions.optimality import into_the_box, measure
from fdgpu.kernels.smo_numba import smo_path
from tests.conftest import make_class

COSTS = [1e-4, 1e-2, 0.3, 1.0]
ROUNDING = 8 * float(np.finfo(np.float32).eps)


def path(n: int, errors: float, seed: int, tol: float = 1e-6) -> tuple[np.ndarray, ...]:
    """Solutions of a path of C by the CPU's solver: a, g and limit (n, c), intercept and violation (c,)."""
    data = make_class(n, 12, errors, 1.0, seed)
    gram = data.x.astype(np.float64) @ data.x.T
    y, weights = np.where(data.right, 1.0, -1.0), balanced_weights(data.right)
    solved = smo_path(gram, y, weights, np.array(COSTS), tol=tol)
    return solved.a.T, gram @ solved.a.T, np.outer(y * weights, COSTS), solved.intercept, solved.violation


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


@settings(max_examples=20, deadline=None)
@given(st.integers(20, 80), st.floats(0.1, 0.9), st.integers(0, 1000), st.sampled_from([1e-6, 1e-2]))
def test_it_measures_what_the_solver_of_the_cpu_says_of_itself(n: int, errors: float, seed: int, tol: float) -> None:
    a, g, limit, intercept, violation = path(n, errors, seed, tol)
    found = measure(*tensors(a, g, limit))
    assert np.allclose(found.violation, np.maximum(violation, 0), atol=1e-9)
    assert np.allclose(found.intercept, intercept, atol=1e-9)


def test_an_alpha_an_ulp_from_its_bound_is_not_free() -> None:
    a, g, limit, intercept, _ = path(64, 0.25, seed=4)
    off = a.astype(np.float32).astype(np.float64) * (1 - 2.0 ** -np.arange(22, 26).repeat(16)[:, None])
    (snapped,) = (into_the_box(*tensors(off, limit), ROUNDING),)
    assert (snapped.numpy()[:, 0] == limit[:, 0]).all()  # at 1e-4 all are at their bounds
    assert np.allclose(measure(snapped, *tensors(g, limit)).intercept, intercept, atol=1e-5)
    taken_for_free = measure(*tensors(off, g, limit)).intercept
    assert abs(taken_for_free[0] - intercept[0]) > 1e-5


def test_what_lies_inside_stays_and_what_lies_beyond_comes_back() -> None:
    limit = torch.tensor([[2.0], [-2.0], [2.0], [-2.0], [0.0], [2.0]], dtype=torch.float64)
    a = torch.tensor([[1.0], [-1e-4], [2.5], [0.5], [0.3], [1e-7]], dtype=torch.float64)
    assert into_the_box(a, limit, ROUNDING)[:, 0].tolist() == [1.0, -1e-4, 2.0, 0.0, 0.0, 0.0]


def test_duals_that_do_not_add_up_to_zero_are_not_feasible() -> None:
    a, g, limit, _, violation = path(64, 0.25, seed=4)
    assert measure(*tensors(a, g, limit)).violation.numpy() == pytest.approx(np.maximum(violation, 0), abs=1e-9)
    with_g = torch.from_numpy(g)
    assert (measure(torch.from_numpy(np.where(a > 0, a, 0)), with_g, torch.from_numpy(limit)).violation >= 1).all()
    assert measure(torch.full_like(with_g, torch.nan), with_g, torch.from_numpy(limit)).violation.isinf().all()
