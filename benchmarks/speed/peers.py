"""The loop that people run today, class after class, and what it decides on held-out samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC


def authors_loop(
    x: NDArray[np.float32], right: NDArray[np.bool_], costs: tuple[float, ...], cv: int
) -> tuple[NDArray[np.float64], dict[float, SVC]]:
    """Cross-validate and refit for every C, as the paper's published code does.

    Returns:
        (c,) mean balanced accuracies, and the refitted SVM of every C.
    """
    scores, refits = [], {}
    for cost in costs:
        svm = SVC(kernel="linear", class_weight="balanced", C=cost)
        scores.append(float(cross_val_score(svm, x, right, cv=cv, scoring="balanced_accuracy").mean()))
        refits[cost] = svm.fit(x, right)
    return np.array(scores), refits


@dataclass(frozen=True)
class HeldOut:
    """libsvm's held-out decision values at one C, and whether its intercept there is the one its rule prescribes.

    Where no alpha is free but by rounding, libsvm's sums of floating-point steps decide b (see the README).
    """

    values: NDArray[np.float64]
    folds: list[NDArray[np.int64]]
    determined: bool

    def doubt(self, right: NDArray[np.bool_], tol: float) -> float:
        """Return how far the mean balanced accuracy may move if values near zero change sides.

        Near is within ``tol`` of their range: where each of two solvers stops at a KKT violation of ``tol``, their
        held-out values differ by about that.
        """
        near = np.abs(self.values) < tol * np.ptp(self.values)
        return sum(
            float(near[held][right[held] == kind].sum() / (right[held] == kind).sum()) / (2 * len(self.folds))
            for held in self.folds
            for kind in (True, False)
        )


def held_out(x: NDArray[np.float32], right: NDArray[np.bool_], cost: float, cv: int) -> HeldOut:
    """Fit libsvm on all folds but one, for each; not part of what is timed."""
    values, folds, determined = np.empty(len(x)), [], True
    for train, held in StratifiedKFold(cv).split(x, right):
        svm = SVC(kernel="linear", class_weight="balanced", C=cost).fit(x[train], right[train])
        values[held] = svm.decision_function(x[held])
        folds.append(held)
        of_support = right[train][svm.support_]
        bound = cost * len(train) / (2 * np.where(of_support, right[train].sum(), (~right[train]).sum()))
        share = np.abs(svm.dual_coef_[0]) / bound
        determined &= bool((share < 1 - 1e-9).any() or (share >= 1 - 1e-15).all())
    return HeldOut(values, folds, determined)
