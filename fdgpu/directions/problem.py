"""What a solver backend takes and gives, one class at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENOUGH = "ok"
REMEDIES = {
    "ok": "",
    "no_errors": "The model makes no mistake on this class here: there is no failure to explain.",
    "all_errors": "The model is never right on this class here: check the labels and the order of the classes.",
    "too_few_errors": "Too few mistakes to cross-validate: add samples of this class, or lower cv.",
    "too_few_correct": "Too few right answers to cross-validate: add samples of this class, or lower cv.",
}


def status_of(n_right: int, n_wrong: int, cv: int) -> str:
    """Say whether a class has enough of both kinds for ``cv`` folds; one of the keys of :data:`REMEDIES`."""
    if n_wrong == 0:
        return "no_errors"
    if n_right == 0:
        return "all_errors"
    if n_wrong < cv:
        return "too_few_errors"
    return "too_few_correct" if n_right < cv else ENOUGH


@dataclass(frozen=True)
class SolverSettings:
    """What every class's problem shares: the C path, the folds and when to stop."""

    costs: tuple[float, ...]
    cv: int
    tol: float
    max_iter: int

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """Precision of embeddings and Gram matrices: float32 cannot resolve a violation below about 1e-6."""
        return np.float32 if self.tol >= 1e-5 else np.float64


@dataclass(frozen=True)
class ClassSamples:
    """One class: whitened unit rows ``x`` (n, d) and ``right`` (n,) bool."""

    x: NDArray[Any]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class ClassTask:
    """A class that is still to be gathered and whitened, which the backend does where and when it wants."""

    index: int  # the class's place in ``classes_``: seeds what is random in it
    n: int
    load: Callable[[], ClassSamples]


@dataclass(frozen=True)
class SearchSettings:
    """What is looked for and how it is tested: see ``FailureDirections``."""

    n_directions: int
    n_permutations: int
    stop_after: int
    nested: bool
    level: float
    seed: int


@dataclass(frozen=True)
class Mode:
    """One failure mode: ``w`` (d,), intercept, the chosen C with its score, the errors it explains, how it ended."""

    w: NDArray[np.float64]
    intercept: float
    cost: float
    cv_score: float
    cv_scores: NDArray[np.float64]
    n_errors: int
    n_iter: int
    violation: float

    @property
    def strength(self) -> float:
        """The errors it explains beyond chance: a small mode that is separated cleanly is not the strongest."""
        return self.n_errors * (2 * self.cv_score - 1)


@dataclass(frozen=True)
class ClassSolution:
    """What was found in one class.

    ``candidates[r]`` are the r + 1 modes of the explanation by r + 1 directions, the strongest first, and
    ``p_values[r]`` says how surely there are so many: one for each explanation that was tested, kept or not.
    """

    candidates: list[list[Mode]]
    p_values: list[float]
    n_permutations: int
    nested_score: float
    solver: str
