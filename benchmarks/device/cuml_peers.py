"""cuML's two solvers of the same objective, in a loop over classes, C and folds, where cuML is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold

from benchmarks.speed.peers import Coef, Costs, Peer, Right, Rows, Solved


@dataclass(frozen=True)
class EstimatorLoop:
    """Fit ``make(C)`` on all folds but one for every fold and C, and on all samples for the best C.

    ``put`` brings rows and labels to where the estimator computes, once a class; a class of 256 x 512 is half a
    megabyte. Predictions come back to be scored.
    """

    name: str
    make: Callable[[float], Any]
    put: Callable[[np.ndarray], Any]
    same_objective: bool = True
    at_once: int = 1

    def solve(self, x: Rows, right: Right, costs: Costs, cv: int) -> Solved:
        """Cross-validate every C and refit the best."""
        rows, labels = self.put(x), self.put(right.astype(np.float32))
        folds = [(self.put(train), self.put(held), held) for train, held in StratifiedKFold(cv).split(x, right)]
        scores = []
        for cost in costs:
            of_folds = []
            for train, held, on_host in folds:
                predicted = self.make(cost).fit(rows[train], labels[train]).predict(rows[held])
                of_folds.append(balanced_accuracy_score(right[on_host], np.asarray(predicted) > 0.5))
            scores.append(float(np.mean(of_folds)))
        best = costs[int(np.argmax(scores))]
        return Solved(np.array(scores), {best: self._fitted(rows, labels, best)})

    def coef(self, x: Rows, right: Right, cost: float) -> Coef:
        """Fit once more."""
        return self._fitted(self.put(x), self.put(right.astype(np.float32)), cost)

    def _fitted(self, rows: Any, labels: Any, cost: float) -> Coef:
        return np.asarray(self.make(cost).fit(rows, labels).coef_, np.float64).reshape(-1)


def why_no_cuml() -> str:
    """Say what cuML lacks here; empty if nothing."""
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "" if importlib.util.find_spec("cuml") else "cuML is not installed"


def cuml_peers() -> list[Peer]:
    """Return both loops; ``output_type`` is on the estimator, so that no global setting of cuML is touched.

    ``LinearSVC`` leaves its intercept free by default, unlike liblinear, but minimises the hinge by L-BFGS, which is
    made for smooth losses: whether it ends where the others do is for the comparison to say.
    """
    from cuml.svm import SVC, LinearSVC

    shared = {"class_weight": "balanced", "output_type": "numpy"}

    def put(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).cuda()

    return [
        EstimatorLoop("cuML SVC", lambda cost: SVC(kernel="linear", C=cost, **shared), put),
        EstimatorLoop("cuML LinearSVC, hinge", lambda cost: LinearSVC(loss="hinge", C=cost, **shared), put),
    ]
