"""What people run today instead, class after class: the authors' loop, and faster uses of scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import linear_kernel
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC, LinearSVC
from sklearn.utils.parallel import Parallel, delayed

Rows = NDArray[np.float32]
Right = NDArray[np.bool_]
Costs = tuple[float, ...]
Coef = NDArray[np.float64]


@dataclass(frozen=True)
class Solved:
    """One class: (c,) mean balanced accuracies, and w (d,) at every C that was fitted on all samples."""

    scores: NDArray[np.float64]
    coef: dict[float, Coef]


class Peer(Protocol):
    """Solves one class."""

    @property
    def name(self) -> str:
        """As in the table."""
        ...

    @property
    def same_objective(self) -> bool:
        """Whether it solves fdgpu's problem."""
        ...

    @property
    def at_once(self) -> int:
        """How many copies of a class ``solve`` solves at once."""
        ...

    def solve(self, x: Rows, right: Right, costs: Costs, cv: int) -> Solved:
        """Cross-validate every C and fit all samples; this is timed."""
        ...

    def coef(self, x: Rows, right: Right, cost: float) -> Coef:
        """Return w at a C that ``solve`` may not have fitted; this is not timed."""
        ...


def scored(model: SVC | LinearSVC, x: NDArray[np.floating], right: Right, cv: int) -> float:
    """Return the mean balanced accuracy over stratified folds."""
    return float(cross_val_score(model, x, right, cv=cv, scoring="balanced_accuracy").mean())


@dataclass(frozen=True)
class AuthorsLoop:
    """Cross-validate and refit for every C, as the paper's published code does, on one core."""

    name: str = "authors' loop, one core"
    same_objective: bool = True
    at_once: int = 1

    def solve(self, x: Rows, right: Right, costs: Costs, cv: int) -> Solved:
        """21 fits of libsvm for 7 C and 2 folds, each with a kernel of its own."""
        scores, coef = [], {}
        for cost in costs:
            svm = SVC(kernel="linear", class_weight="balanced", C=cost)
            scores.append(scored(svm, x, right, cv))
            coef[cost] = svm.fit(x, right).coef_[0]
        return Solved(np.array(scores), coef)

    def coef(self, x: Rows, right: Right, cost: float) -> Coef:
        """Fit once more."""
        return np.asarray(SVC(kernel="linear", class_weight="balanced", C=cost).fit(x, right).coef_[0])


@dataclass(frozen=True)
class AllCores:
    """A peer in one process a core.

    Every core solves the same class, and the time is divided by their number: what a pool reaches that never waits for
    its last class. Real pools do, so this flatters the peer, and it does so for every number of classes alike.
    """

    peer: Peer
    at_once: int

    @property
    def name(self) -> str:
        """The peer's name, and on how many cores."""
        return f"{self.peer.name.partition(',')[0]}, all {self.at_once} cores"

    @property
    def same_objective(self) -> bool:
        """Whether the peer's is."""
        return self.peer.same_objective

    def solve(self, x: Rows, right: Right, costs: Costs, cv: int) -> Solved:
        """Return one of the copies' results."""
        task = delayed(self.peer.solve)
        solved: Solved = Parallel(self.at_once)(task(x, right, costs, cv) for _ in range(self.at_once))[0]
        return solved

    def coef(self, x: Rows, right: Right, cost: float) -> Coef:
        """Return the peer's."""
        return self.peer.coef(x, right, cost)


@dataclass(frozen=True)
class GramLoop:
    """libsvm on a Gram matrix that is computed once a class, and a refit for the best C only: 15 fits for 21."""

    name: str = "scikit-learn, Gram matrix"
    same_objective: bool = True
    at_once: int = 1

    def solve(self, x: Rows, right: Right, costs: Costs, cv: int) -> Solved:
        """Multiply in float32, and convert once to the float64 that libsvm takes."""
        gram = linear_kernel(x).astype(np.float64)
        scores = [scored(_precomputed(cost), gram, right, cv) for cost in costs]
        best = costs[int(np.argmax(scores))]
        return Solved(np.array(scores), {best: _coef_of(_precomputed(best).fit(gram, right), x)})

    def coef(self, x: Rows, right: Right, cost: float) -> Coef:
        """Fit once more."""
        gram = linear_kernel(x).astype(np.float64)
        return _coef_of(_precomputed(cost).fit(gram, right), x)


def _precomputed(cost: float) -> SVC:
    return SVC(kernel="precomputed", class_weight="balanced", C=cost)


def _coef_of(svm: SVC, x: Rows) -> Coef:
    return np.asarray(svm.dual_coef_[0] @ x[svm.support_])


@dataclass(frozen=True)
class Liblinear:
    """liblinear's dual coordinate descent on the hinge loss, with a refit for the best C only.

    It solves another problem: liblinear has no free intercept, but a constant feature whose weight is penalised like
    any other. With unbalanced classes that moves w, most of all at small C, where w is small and b is not. A larger
    ``intercept_scaling`` weakens the penalty and ruins the convergence (at 10, twenty thousand rounds are too few for
    1000 x 512 at C = 1), so scikit-learn's default of 1 stays. Its time is shown, and its distance from our w; a ratio
    would compare the times of two different answers, and is not printed.
    """

    name: str = "liblinear"
    same_objective: bool = False
    at_once: int = 1

    def solve(self, x: Rows, right: Right, costs: Costs, cv: int) -> Solved:
        """15 fits of the rows themselves; no Gram matrix."""
        scores = [scored(_liblinear(cost), x, right, cv) for cost in costs]
        best = costs[int(np.argmax(scores))]
        return Solved(np.array(scores), {best: self.coef(x, right, best)})

    def coef(self, x: Rows, right: Right, cost: float) -> Coef:
        """Fit once more."""
        return np.asarray(_liblinear(cost).fit(x, right).coef_[0])


def _liblinear(cost: float) -> LinearSVC:
    return LinearSVC(loss="hinge", dual=True, class_weight="balanced", C=cost, max_iter=20_000, random_state=0)
