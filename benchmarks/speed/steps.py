"""How many steps a problem takes: counted by running the CPU solver, which takes the same steps as the GPU's.

Both start at all alphas' bounds, take libsvm's second-order pairs and stop at the same violation; they part where
float32 rounding decides between two pairs that are worth the same, which moves counts by a few in a hundred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_sample_weight

from benchmarks.speed.comparison import Fitted
from benchmarks.speed.data import Problem
from fdgpu.directions.batch import assign_folds
from fdgpu.kernels.smo_numba import smo_path


@dataclass(frozen=True)
class Path:
    """One problem: samples of its class, how many of them train, and the steps at each C, ascending."""

    n: int
    train: int
    n_iter: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Steps over all C."""
        return sum(self.n_iter)

    @property
    def moved(self) -> int:
        """C at which a step was taken."""
        return sum(steps > 0 for steps in self.n_iter)

    @property
    def after_first_move(self) -> int:
        """C that come after the first at which a step was taken."""
        moved = [c for c, steps in enumerate(self.n_iter) if steps > 0]
        return len(self.n_iter) - 1 - moved[0] if moved else 0


def cross_validation_paths(
    problem: Problem, costs: Sequence[float], cv: int, tol: float, classes: Iterable[int], permuted: bool = False
) -> list[Path]:
    """Solve all folds but one, for each, of some classes; with ``permuted`` under labels that explain nothing."""
    rng = np.random.default_rng(0)
    paths = []
    for k in classes:
        x, right = problem.x[problem.rows(k)], problem.right[problem.rows(k)]
        if permuted:
            right = rng.permutation(right)
        gram = x @ x.T
        folds = assign_folds(np.where(right, 1, -1).astype(np.int8)[None], [len(x)], cv)[0]
        for fold in range(cv):
            train = folds != fold
            paths.append(path_of(gram[np.ix_(train, train)], right[train], costs, tol, len(x)))
    return paths


def refit_paths(problem: Problem, fitted: Fitted, costs: Sequence[float], tol: float) -> list[Path]:
    """Solve all samples of every class along the path up to the C that was chosen."""
    paths = []
    for k, cost in enumerate(fitted.cost):
        x, right = problem.x[problem.rows(k)], problem.right[problem.rows(k)]
        paths.append(path_of(x @ x.T, right, costs[: costs.index(float(cost)) + 1], tol, len(x)))
    return paths


def path_of(gram: NDArray[np.float32], right: NDArray[np.bool_], costs: Sequence[float], tol: float, n: int) -> Path:
    """Solve one problem and keep its steps."""
    weights = compute_sample_weight("balanced", right)
    *_, n_iter = smo_path(gram, np.where(right, 1.0, -1.0), weights, np.asarray(costs), tol=tol)
    return Path(n, len(right), tuple(n_iter.tolist()))
