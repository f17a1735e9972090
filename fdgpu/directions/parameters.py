"""The parameters of :class:`fdgpu.FailureDirections`: two frozen records, changed by :func:`dataclasses.replace`."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from functools import partial

import torch

from fdgpu.checks import check_flag, check_name, check_number, check_seed, check_whole, shown
from fdgpu.device import Backend, Choice, choose_backend
from fdgpu.errors import BackendError, InputError

PAPER_COSTS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
LEAST_COST, MOST_COST = 1e-12, 1e12  # beyond, w and the dual variables leave what float32 resolves
MOST_COSTS = 1000  # a longer grid is a mistake
MOST_FOLDS = 127  # a fold's number has eight bits
MOST_PERMUTATIONS = 10**9  # a day's work for the smallest class
MOST_RESAMPLES = 10_000  # each is a w of its own that is kept
MOST_DIRECTIONS = 6  # failure modes of two folds are matched by trying every order
FLOAT32_TOL = 1e-5  # a float32 Gram matrix cannot resolve a violation below about a tenth of this


LATENT_COSTS = (1 / 100, 1 / 3, 10 / 3)  # 1 / λ, λ the shrinkage in units of the mean eigenvalue


class Method(StrEnum):
    """What a failure direction is."""

    SVM = "svm"  # the paper's
    LATENT = "latent"


class Solver(StrEnum):
    """How a class was solved."""

    GRAM = "gram"  # over its Gram matrix
    NEWTON = "newton"  # without one, which would have been too large
    CUML = "cuml"
    LATENT = "latent"  # by hidden classes
    NONE = ""  # it has no direction


Check = Callable[[object, str], object]


def doc(text: str, check: Check | None = None) -> dict[str, object]:
    """Return the metadata of a field that documents itself, see :func:`documented`, and checks what it is given."""
    return {"doc": text} if check is None else {"doc": text, "check": check}


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


def check_costs(value: object, name: str) -> tuple[float, ...]:
    """Return the C grid in ascending order, each C once."""
    text = isinstance(value, (str, bytes, bytearray, memoryview, Mapping))
    if not isinstance(value, Collection) or text or getattr(value, "ndim", 1) != 1:
        raise InputError(f"{name} is {shown(value)}: pass a sequence of numbers, such as (0.01, 0.1, 1.0)")
    if not 0 < len(value) <= MOST_COSTS:
        what = f"has {len(value)} entries" if len(value) else "is empty"
        raise InputError(f"{name} {what}: pass from one C > 0 to {MOST_COSTS} of them")
    listed = value.tolist() if hasattr(value, "tolist") else value
    wanted = f"numbers greater than 0, from {LEAST_COST:g} to {MOST_COST:g}"
    return tuple(sorted({check_number(c, name, lambda c: LEAST_COST <= c <= MOST_COST, wanted) for c in listed}))


def _check_resamples(value: object, name: str) -> int:
    count = check_whole(value, name, 0, MOST_RESAMPLES, ", 0 for none")
    if count == 1:
        raise InputError(f"{name} is 1: one fit shows no spread, use 0 for none, or a number such as 20")
    return count


def _whole(least: int = 0, most: int | None = None, hint: str = "") -> Check:
    return partial(check_whole, least=least, most=most, hint=hint)


@dataclass(frozen=True)
class Checked:
    """A frozen record whose fields are checked as they are set, by the checks in their metadata."""

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, one.metadata["check"](getattr(self, one.name), one.name))


@dataclass(frozen=True)
class SolverSettings(Checked):
    """What every class's problem shares: whitening, the grid of C, the folds, when to stop, and who solves it.

    Raises:
        InputError: for a setting that is of another kind or out of its range.
        BackendError: for a backend that there is not.

    Example:
        >>> from dataclasses import replace
        >>> settings = replace(fdgpu.SolverSettings(), whiten=False)
        >>> settings.whiten, settings.cv
        (False, 2)
    """

    Cs: Sequence[float] = field(
        default=PAPER_COSTS,
        metadata=doc(
            "grid of the regularisation constant, from 1e-12 to 1e12; the best is chosen by cross-validation, the "
            'smaller one on a tie. With ``method="latent"`` 1 / λ, by default of λ = 100, 3 and 0.3.',
            check_costs,
        ),
    )
    cv: int = field(
        default=2, metadata=doc(f"number of stratified folds, 2 to {MOST_FOLDS}, not shuffled.", _whole(2, MOST_FOLDS))
    )
    whiten: bool = field(
        default=True,
        metadata=doc(
            "whiten by the reference before normalising (A.4); False only normalises (A.7, for decoding).", check_flag
        ),
    )
    tol: float = field(
        default=1e-3,
        metadata=doc(
            "largest violation of the KKT conditions at which a problem counts as solved, as in libsvm.",
            partial(check_number, allowed=lambda tol: tol > 0, wanted="a number greater than 0, such as 1e-3"),
        ),
    )
    max_iter: int = field(
        default=1_000_000,
        metadata=doc(
            "most solver steps for one C (outer iterations in cuML before 26.2); a problem that reaches it is "
            "reported in ``converged_``.",
            _whole(1),
        ),
    )
    backend: str = field(
        default="auto",
        metadata=doc(
            '``"auto"``, ``"numba"``, ``"triton"`` or ``"cuml"``, and ``"torch"`` for ``method="latent"``; one asked '
            'for by name runs or raises. ``"auto"`` never takes ``"cuml"``, which solves one problem after another.',
            partial(check_name, names=Backend, error=BackendError),
        ),
    )
    published: bool = field(
        default=False,
        metadata=doc(
            "reproduce the published code number by number: libsvm's own steps and roundings, which decide b and so "
            "the choice of C where every alpha is at its bound, and captions by that code's formula, which takes the "
            "images' mean from a difference of captions and adds b. Slower; the numba and triton backends can.",
            check_flag,
        ),
    )
    method: str = field(
        default=Method.SVM.value,
        metadata=doc(
            '``"svm"``, the paper\'s, or ``"latent"``: a hidden class on which the model does worse, which listens to '
            "``loss`` too. See docs/method.md.",
            partial(check_name, names=Method),
        ),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        latent = self.method == Method.LATENT
        if latent and self.Cs == PAPER_COSTS:
            object.__setattr__(self, "Cs", LATENT_COSTS)
        if latent and self.published:
            raise InputError("published is True and method is 'latent': the published code has the SVM alone")
        if self.backend != Backend.AUTO and (self.backend == Backend.TORCH) != latent:
            raise BackendError(
                f"backend is '{self.backend}' and method '{self.method}': 'torch' solves the latent method, and only "
                "that; use backend='auto'"
            )
        if self.published and self.backend == Backend.CUML:
            raise BackendError(
                "published is True and backend is 'cuml': cuML takes steps of its own and cannot repeat libsvm's, use "
                "'auto', 'numba' or 'triton'"
            )

    def choose_backend(self) -> Choice:
        """Choose what solves, and say why.

        Raises:
            BackendError: for a backend that was asked for by name and cannot run here.
        """
        if self.method == Method.LATENT:
            return Choice(Backend.TORCH, "hidden classes are solved in torch, where the embeddings lie")
        return choose_backend(self.backend)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of embeddings and, but for the published code's, of Gram matrices."""
        return torch.float32 if self.tol >= FLOAT32_TOL else torch.float64


@dataclass(frozen=True)
class SearchSettings(Checked):
    """What is looked for in a class, and how it is tested.

    Raises:
        InputError: for a setting that is of another kind or out of its range.

    Example:
        >>> fdgpu.FailureDirections(n_permutations=200).search_settings == fdgpu.SearchSettings(n_permutations=200)
        True
    """

    n_directions: int = field(
        default=1,
        metadata=doc(
            "most failure modes to look for in each class. Fewer are kept where the next is not significant; a class "
            "with one mode keeps the paper's SVM. See :mod:`fdgpu.directions.modes`.",
            _whole(1, MOST_DIRECTIONS),
        ),
    )
    n_permutations: int = field(
        default=0,
        metadata=doc(
            "permutations of correctness within a class for its p-value; 0 tests nothing.",
            _whole(0, MOST_PERMUTATIONS, ", 0 for no test"),
        ),
    )
    stop_after: int = field(
        default=0,
        metadata=doc(
            "stop a class's permutations at so many null scores that are at least as high as its own (Besag and "
            "Clifford's sequential p-value), since it is not significant then; and draw on beyond ``n_permutations`` "
            "where these do not decide, until one true failure among all classes can pass. 0 draws just "
            "``n_permutations``. See :mod:`fdgpu.directions.testing`.",
            _whole(0, MOST_PERMUTATIONS, ", 0 to draw just n_permutations"),
        ),
    )
    fdr: float = field(
        default=0.05,
        metadata=doc(
            "false discovery rate that ``significant_`` controls over all classes and directions.",
            partial(check_number, allowed=lambda rate: 0 < rate < 1, wanted="a rate between 0 and 1, such as 0.05"),
        ),
    )
    nested: bool = field(
        default=False,
        metadata=doc("also compute ``nested_score_``, which the choice of C has not made optimistic.", check_flag),
    )
    n_resamples: int = field(
        default=0,
        metadata=doc(
            "fits of random halves of every class and failure mode, which show how stable its captions are; 0 for "
            "none. See :mod:`fdgpu.directions.testing`.",
            _check_resamples,
        ),
    )
    random_state: int = field(default=0, metadata=doc("seed of everything random, from 0 to 2**63 - 1.", check_seed))
    min_errors: int = field(
        default=0,
        metadata=doc(
            "fewest wrong samples (with groups: groups that hold any) of a class that is fitted; never fewer than "
            "``cv``.",
            _whole(0, None, ", 0 for as many as folds"),
        ),
    )


for _record in (SolverSettings, SearchSettings):
    _record.__doc__ = f"{_record.__doc__}\n    Attributes:\n{documented(documents_of(_record), 8)}\n    "


# What an audit looks for by default: one direction a class, tested, and how stable its captions are. On the bundled
# world 50 resamples take twice the time and lose no fewer captions of planted failures; of 160 sides of directions
# fitted to shuffled answers 20 let 6.2 % pass, and 50 let 3.7 %.
AUDIT = SearchSettings(n_permutations=200, stop_after=10, n_resamples=20)
