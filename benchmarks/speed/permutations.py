"""The permutation test of a whole ImageNet: measured where it was asked for, and predicted for a device."""

from __future__ import annotations

import time

import numpy as np

from benchmarks.speed.clock import seconds
from benchmarks.speed.data import Problem, Shape, make
from benchmarks.speed.fitting import Fitting
from benchmarks.speed.measuring import device_name
from benchmarks.speed.predicted import H100, Prediction, predict_solver
from benchmarks.speed.rows import Row, duration
from benchmarks.speed.steps import cross_validation_paths
from fdgpu.directions.batch import assign_folds
from fdgpu.directions.parameters import SolverSettings
from fdgpu.kernels.label_matrix_numba import draw_permutations

SAMPLED = 40  # classes whose steps under permuted labels stand for all


def permutation_row(shape: Shape, backend: str, permutations: int) -> Row:
    """Fit once with so many permutations a class, after a fit with two that compiles."""
    problem = make(shape)
    Fitting(problem, backend, n_permutations=2)()
    fitting = Fitting(problem, backend, n_permutations=permutations)
    took = seconds(fitting, fitting.device)
    return Row(
        shape=shape.name,
        line=f"fdgpu with {permutations} permutations a class",
        kind="fdgpu",
        device=device_name(fitting.device),
        timed=f"all {shape.classes}",
        rounds=1,
        fdgpu_s=took / shape.classes,
        total_s=took,
        result=f"{duration(took)} in all",
    )


def predict_permutations(
    device: H100, problem: Problem, settings: SolverSettings, permutations: int, sampled: int = SAMPLED
) -> Prediction:
    """Predict the kernels of that, from the steps of one permutation of some of the classes."""
    classes = range(0, len(problem.sizes), max(1, len(problem.sizes) // sampled))
    paths = cross_validation_paths(problem, tuple(settings.Cs), settings.cv, settings.tol, classes, permuted=True)
    repeated = permutations * len(problem.sizes) // len(classes)
    return predict_solver(device, paths, settings.cv * permutations, copies=repeated)


def drawing_seconds(problem: Problem, labellings: int = 4) -> float:
    """Return what this host takes to permute the labels of all classes and to deal their folds, for one permutation."""
    drawn = np.zeros((labellings, len(problem.right)), np.int8)

    def draw() -> float:
        start = time.perf_counter()
        for k in range(len(problem.sizes)):
            rows = problem.rows(k)
            draw_permutations(np.random.default_rng(k), int((~problem.right[rows]).sum()), drawn[:, rows])
        assign_folds(drawn, problem.sizes, 2)
        return (time.perf_counter() - start) / labellings

    draw()  # compiles
    return draw()
