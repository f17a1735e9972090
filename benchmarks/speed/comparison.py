"""Do both sides find the same? Asked before any ratio is printed.

- w at the C that fdgpu chose, against the peer's w at that C: at most 2e-3 relative;
- scores at every C where libsvm's intercept is not decided by rounding: equal to 1e-6, but for held-out samples whose
  decision value is so near zero that it may fall on either side within the solvers' tolerance;
- the best of these C, where no such sample is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import SVC

from benchmarks.speed.data import Problem
from benchmarks.speed.peers import Costs, Peer, Right, Rows, Solved
from fdgpu import FailureDirections
from fdgpu.arrays import to_numpy

LARGEST_DIFFERENCE = 2e-3


@dataclass(frozen=True)
class Fitted:
    """What fdgpu found in each of ``classes`` (k,): the chosen C (k,), w (k, d), the score of every C (k, c)."""

    classes: NDArray[np.int64]
    cost: NDArray[np.float64]
    coef: NDArray[np.float32]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, fit: FailureDirections) -> Fitted:
        """Bring the first direction of each class to the host."""
        results = (fit.C_, fit.coef_, fit.cv_scores_)
        return cls(to_numpy(fit.classes_, "classes_"), *(to_numpy(result, "result")[:, 0] for result in results))


@dataclass(frozen=True)
class Comparison:
    """Largest relative difference of w, largest difference of a score, how many were compared, and the verdict."""

    w: float
    score: float
    scores_compared: int
    equal: bool


@dataclass(frozen=True)
class HeldOut:
    """libsvm's held-out decision values at one C, and whether its intercept there is the one its rule prescribes.

    Where no alpha is free but by rounding, libsvm's sums of floating-point steps decide b (see the README).
    """

    values: NDArray[np.float64]
    folds: list[NDArray[np.int64]]
    determined: bool

    def doubt(self, right: Right, tol: float) -> float:
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


@dataclass
class Oracle:
    """libsvm's held-out values of a problem's classes, fitted once for all peers; not part of what is timed."""

    problem: Problem
    costs: Costs
    cv: int
    _known: dict[int, list[HeldOut]] = field(default_factory=dict)

    def of(self, k: int) -> list[HeldOut]:
        """Return those of the class at ``k``, for every C."""
        if k not in self._known:
            x, right = self.problem.x[self.problem.rows(k)], self.problem.right[self.problem.rows(k)]
            self._known[k] = [held_out(x, right, cost, self.cv) for cost in self.costs]
        return self._known[k]


def held_out(x: Rows, right: Right, cost: float, cv: int) -> HeldOut:
    """Fit libsvm on all folds but one, for each."""
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


def compare(oracle: Oracle, fitted: Fitted, peer: Peer, solved: dict[int, Solved], tol: float) -> Comparison:
    """Compare w at the C that fdgpu chose, every comparable score, and which of the comparable C is best.

    Args:
        oracle: the problem, and which of its scores are comparable.
        fitted: what fdgpu found.
        peer: who is compared.
        solved: what the peer found in some classes.
        tol: both solvers' tolerance.
    """
    result = Comparison(0.0, 0.0, 0, True)
    for k, theirs in solved.items():
        index = int(np.searchsorted(fitted.classes, k))
        rows = oracle.problem.rows(k)
        x, right = oracle.problem.x[rows], oracle.problem.right[rows]
        cost = float(fitted.cost[index])
        coef = theirs.coef[cost] if cost in theirs.coef else peer.coef(x, right, cost)
        w = float(np.linalg.norm(fitted.coef[index] - coef) / np.linalg.norm(coef))
        own, values = fitted.scores[index], oracle.of(k)
        known = [i for i, value in enumerate(values) if value.determined]
        doubt = np.array([value.doubt(right, tol) for value in values])
        difference = np.abs(own - theirs.scores)
        same = bool((difference[known] <= doubt[known] + 1e-6).all())
        if known and not doubt[known].any():
            same &= int(np.argmax(own[known])) == int(np.argmax(theirs.scores[known]))
        result = Comparison(
            float(np.maximum(result.w, w)),  # which lets NaN through, as Python's max does not
            float(np.maximum(result.score, difference[known].max(initial=0.0))),
            result.scores_compared + len(known),
            result.equal and same and w <= LARGEST_DIFFERENCE,
        )
    return result
