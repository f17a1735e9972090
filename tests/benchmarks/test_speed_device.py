"""The device's kernels are launched as the backend launches them; without a device, in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.speed.caption_scoring import Captions, caption_row
from benchmarks.speed.ceilings import Ceilings
from benchmarks.speed.comparison import Fitted
from benchmarks.speed.data import Shape, make
from benchmarks.speed.fitting import Fitting
from benchmarks.speed.measuring import Measured
from benchmarks.speed.roofline import Paths, Yardstick, kernel_rows, numba_kernels, triton_kernels
from fdgpu.directions.parameters import SolverSettings
from tests.kernels.interpreting import DEVICE, INTERPRETED, compare_in_the_interpreter, comparison

SHAPE = Shape("2 classes of 17 to 24 x 8", (17, 24), 8)
SETTINGS = SolverSettings((1e-2, 1.0), cv=2, tol=1e-3, max_iter=10_000)
ON_DEVICE = Yardstick("triton", torch.device(DEVICE), Ceilings(copy=1e9, matmul=1e9), rounds=1)


def measured() -> Measured:
    problem = make(SHAPE)
    fitting = Fitting(problem, "numba", Cs=SETTINGS.Cs)
    fitting()
    return Measured(SHAPE, problem, Fitted.of(fitting.estimator), [])


@comparison
def test_the_launches_find_what_the_cpu_finds() -> None:
    own = measured()
    paths = Paths.of(own, SETTINGS)
    with triton_kernels(own, paths, SETTINGS, ON_DEVICE.device) as (gram, cross_validation, refit):
        grams, _ = gram.run()
        scores, _ = cross_validation.run()
        fits = refit.run()
    rows = own.problem.rows(0)
    expected = own.problem.x[rows] @ own.problem.x[rows].T
    np.testing.assert_allclose(grams[: 17 * 17].view(17, 17).cpu(), expected, atol=1e-5)
    np.testing.assert_allclose(scores[0].mean(dim=1).cpu(), own.fitted.scores, atol=0.15)  # one sample may change sides
    w = fits.a[0, rows].cpu().numpy() @ own.problem.x[rows]
    np.testing.assert_allclose(w, own.fitted.coef[0], atol=5e-3 * np.linalg.norm(own.fitted.coef[0]))


@comparison
def test_kernel_lines_are_whole_on_the_device() -> None:
    own = measured()
    rows = kernel_rows(own, Paths.of(own, SETTINGS), SETTINGS, ON_DEVICE)
    rows.append(caption_row(Captions(2, 20, d=16), ON_DEVICE))
    assert [row.line.partition(": ")[2] for row in rows[:3]] == ["Gram matrices", "cross-validation", "refit"]
    for row in rows:
        assert row.kind == "kernel"
        assert row.total_s > 0
        assert row.copy_share == pytest.approx(row.bytes / row.fdgpu_s / 1e9)
        assert row.matmul_share == pytest.approx(row.operations / row.fdgpu_s / 1e9)
        assert "of copy" in row.result


@pytest.mark.slow
def test_the_comparisons_hold_in_the_interpreter() -> None:
    compare_in_the_interpreter(__file__)


@pytest.mark.skipif(INTERPRETED, reason="the same in either session")
def test_the_cpus_kernels_are_those_of_its_backend() -> None:
    own = measured()
    paths = Paths.of(own, SETTINGS)
    with numba_kernels(own, paths, SETTINGS, torch.device("cpu")) as (gram, cross_validation, refit):
        assert [one.shape for one in gram.run()] == [(17, 17), (24, 24)]
        scores, violation = cross_validation.run()
        fits = refit.run()
    np.testing.assert_array_equal(scores[0].mean(axis=1), own.fitted.scores)
    assert (violation <= SETTINGS.tol).all()
    rows = own.problem.rows(1)
    w = fits.a[0, rows] @ own.problem.x[rows]
    np.testing.assert_allclose(w, own.fitted.coef[1], rtol=1e-4, atol=1e-6)
    assert fits.n_iter[0].tolist() == [path.n_iter[-1] for path in paths.refit]
