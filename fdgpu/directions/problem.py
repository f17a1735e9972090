"""What a solver backend takes and gives, one class at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.directions.whitening import Whitening

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

    @property
    def torch_dtype(self) -> torch.dtype:
        """The same, as torch calls it."""
        return torch.float32 if self.dtype == np.float32 else torch.float64


@dataclass(frozen=True)
class ClassSamples:
    """One class on the host: whitened unit rows ``x`` (n, d) and ``right`` (n,) bool."""

    x: NDArray[Any]
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Samples:
    """All of what ``fit`` was given: embeddings (n, d) where they lie, ``right`` (n,), and how to whiten."""

    embeddings: torch.Tensor
    right: NDArray[np.bool_]
    whitening: Whitening

    def whitened(self, rows: NDArray[np.int64], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """Gather ``rows`` (m,) and whiten them on ``device``: (m, d) unit rows."""
        own = self.embeddings[torch.from_numpy(rows).to(self.embeddings.device)]
        return self.whitening(own.to(device), dtype)


@dataclass(frozen=True)
class ClassTask:
    """A class that is still to be gathered and whitened, which the backend does where and when it wants.

    ``index`` is the class's place in ``classes_``, which seeds what is random in it; ``rows`` (n,) are its samples.
    """

    index: int
    rows: NDArray[np.int64]
    samples: Samples

    @property
    def n(self) -> int:
        """Samples of the class."""
        return len(self.rows)

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) which the model got right."""
        return self.samples.right[self.rows]

    def load(self, settings: SolverSettings) -> ClassSamples:
        """Whiten on the host, in the solver's precision."""
        x = self.samples.whitened(self.rows, settings.torch_dtype, torch.device("cpu"))
        return ClassSamples(x.numpy(), self.right)


@dataclass(frozen=True)
class SearchSettings:
    """What is looked for and how it is tested: see ``FailureDirections``."""

    n_directions: int
    n_permutations: int
    stop_after: int
    nested: bool
    level: float
    seed: int
    n_resamples: int = 0


@dataclass(frozen=True)
class Mode:
    """One failure mode: ``w`` (d,), intercept, the chosen C with its score, the errors it explains, how it ended.

    ``resampled`` (B, d) are the w of halves of its samples; None where none were drawn.
    """

    w: NDArray[np.float64]
    intercept: float
    cost: float
    cv_score: float
    cv_scores: NDArray[np.float64]
    n_errors: int
    n_iter: int
    violation: float
    resampled: NDArray[np.float32] | None = None

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
