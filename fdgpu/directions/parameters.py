"""The parameters of :class:`fdgpu.FailureDirections`: two frozen records, changed by :func:`dataclasses.replace`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum

import numpy as np
import torch

from fdgpu.errors import InputError

PAPER_COSTS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
MOST_DIRECTIONS = 6  # failure modes of two folds are matched by trying every order
FLOAT32_TOL = 1e-5  # a float32 Gram matrix cannot resolve a violation below about a tenth of this


class Solver(StrEnum):
    """How a class was solved."""

    GRAM = "gram"  # over its Gram matrix
    NEWTON = "newton"  # without one, which would have been too large
    CUML = "cuml"
    NONE = ""  # it has no direction


def doc(text: str) -> dict[str, str]:
    """Return the metadata of a field that documents itself; see :func:`documented`."""
    return {"doc": text}


def documented(lines: Iterable[tuple[str, str]], indent: int = 4) -> str:
    """Return (name, text) as lines of a docstring's section."""
    margin = " " * indent
    return "\n".join(
        textwrap.fill(f"{name}: {text}", 120, initial_indent=margin, subsequent_indent=margin + " " * 4)
        for name, text in lines
    )


def documents_of(*records: type) -> list[tuple[str, str]]:
    """Return name and documentation of every field that has one."""
    return [(one.name, one.metadata["doc"]) for record in records for one in fields(record) if "doc" in one.metadata]


@dataclass(frozen=True)
class SolverSettings:
    """What every class's problem shares: whitening, the grid of C, the folds, when to stop, and who solves it.

    Raises:
        InputError: for a setting that is out of its range.
    """

    Cs: Sequence[float] = field(
        default=PAPER_COSTS,
        metadata=doc(
            "grid of the regularisation constant; the best is chosen by cross-validation, the smaller one on a tie."
        ),
    )
    cv: int = field(default=2, metadata=doc("number of stratified folds, not shuffled."))
    whiten: bool = field(
        default=True,
        metadata=doc("whiten by the reference before normalising (A.4); False only normalises (A.7, for decoding)."),
    )
    tol: float = field(
        default=1e-3,
        metadata=doc("largest violation of the KKT conditions at which a problem counts as solved, as in libsvm."),
    )
    max_iter: int = field(
        default=1_000_000,
        metadata=doc(
            "most solver steps for one C (outer iterations in cuML before 26.2); a problem that reaches it is "
            "reported in ``converged_``."
        ),
    )
    backend: str = field(
        default="auto",
        metadata=doc(
            '``"auto"``, ``"numba"``, ``"triton"`` or ``"cuml"``; one asked for by name runs or raises. ``"auto"`` '
            'never takes ``"cuml"``, which solves one problem after another.'
        ),
    )

    def __post_init__(self) -> None:
        costs = _check_costs(self.Cs)
        if self.cv != int(self.cv) or self.cv < 2:
            raise InputError(f"cv is {self.cv}: use a whole number of at least 2 folds")
        if not (np.isfinite(self.tol) and self.tol > 0):
            raise InputError(f"tol is {self.tol}: use a number greater than 0, such as 1e-3")
        if self.max_iter < 1:
            raise InputError(f"max_iter is {self.max_iter}: use at least 1")
        _put(
            self, Cs=costs, cv=int(self.cv), whiten=bool(self.whiten), tol=float(self.tol), max_iter=int(self.max_iter)
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision of embeddings and Gram matrices."""
        return torch.float32 if self.tol >= FLOAT32_TOL else torch.float64


@dataclass(frozen=True)
class SearchSettings:
    """What is looked for in a class, and how it is tested.

    Raises:
        InputError: for a setting that is out of its range.
    """

    n_directions: int = field(
        default=1,
        metadata=doc(
            "most failure modes to look for in each class. Fewer are kept where the next is not significant; a class "
            "with one mode keeps the paper's SVM. See :mod:`fdgpu.directions.modes`."
        ),
    )
    n_permutations: int = field(
        default=0, metadata=doc("permutations of correctness within a class for its p-value; 0 tests nothing.")
    )
    stop_after: int = field(
        default=0,
        metadata=doc(
            "stop a class's permutations at so many null scores that are at least as high as its own (Besag and "
            "Clifford's sequential p-value), since it is not significant then; and draw on beyond ``n_permutations`` "
            "where these do not decide, until one true failure among all classes can pass. 0 draws just "
            "``n_permutations``. See :mod:`fdgpu.directions.testing`."
        ),
    )
    fdr: float = field(
        default=0.05,
        metadata=doc("false discovery rate that ``significant_`` controls over all classes and directions."),
    )
    nested: bool = field(
        default=False,
        metadata=doc("also compute ``nested_score_``, which the choice of C has not made optimistic."),
    )
    n_resamples: int = field(
        default=0,
        metadata=doc(
            "fits of random halves of every class and failure mode, which show how stable its captions are; 0 for "
            "none. See :mod:`fdgpu.directions.resampling`."
        ),
    )
    random_state: int = field(default=0, metadata=doc("seed of everything random."))
    min_errors: int = field(
        default=0,
        metadata=doc(
            "fewest wrong samples (with groups: groups that hold any) of a class that is fitted; never fewer than ``cv``."
        ),
    )

    def __post_init__(self) -> None:
        if not 0 < self.fdr < 1:
            raise InputError(f"fdr is {self.fdr}: use a rate between 0 and 1, such as 0.05")
        if self.n_directions != int(self.n_directions) or not 1 <= self.n_directions <= MOST_DIRECTIONS:
            raise InputError(f"n_directions is {self.n_directions}: use a whole number from 1 to {MOST_DIRECTIONS}")
        if self.n_permutations != int(self.n_permutations) or self.n_permutations < 0:
            raise InputError(f"n_permutations is {self.n_permutations}: use 0 for no test, or a number such as 200")
        if self.stop_after != int(self.stop_after) or self.stop_after < 0:
            raise InputError(f"stop_after is {self.stop_after}: use 0 to draw all permutations, or a number such as 20")
        if self.n_resamples != int(self.n_resamples) or self.n_resamples < 0 or self.n_resamples == 1:
            raise InputError(f"n_resamples is {self.n_resamples}: use 0 for none, or a number such as 20")
        if self.min_errors != int(self.min_errors) or self.min_errors < 0:
            raise InputError(f"min_errors is {self.min_errors}: use 0 for as many as folds, or a number such as 10")
        whole = ("n_directions", "n_permutations", "stop_after", "n_resamples", "random_state", "min_errors")
        _put(self, **{name: int(getattr(self, name)) for name in whole}, fdr=float(self.fdr), nested=bool(self.nested))


for _record in (SolverSettings, SearchSettings):
    _record.__doc__ = f"{_record.__doc__}\n    Attributes:\n{documented(documents_of(_record), 8)}\n    "


def _put(settings: object, **values: object) -> None:
    """Set fields of a frozen record, from its own ``__post_init__``."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


def _check_costs(Cs: Sequence[float]) -> tuple[float, ...]:
    """Return the C grid in ascending order; every C must be finite and positive."""
    try:
        costs = tuple(sorted({float(c) for c in Cs}))
    except (TypeError, ValueError):
        raise InputError(f"Cs is {Cs!r}: pass a sequence of numbers, such as (0.01, 0.1, 1.0)") from None
    if not costs:
        raise InputError("Cs is empty: pass at least one C > 0")
    if not all(np.isfinite(costs)) or costs[0] <= 0:
        raise InputError(f"Cs holds {min(costs)}: every C must be finite and greater than 0")
    return costs


# What an audit looks for by default: one direction a class, tested, and with how stable its captions are. On the bundled
# world 50 resamples take twice the time and lose no fewer captions of planted failures; of 160 sides of directions fitted
# to shuffled answers 20 let 6.2 % pass, and 50 let 3.7 %.
AUDIT = SearchSettings(n_permutations=200, stop_after=10, n_resamples=20)
