"""One record of what is estimated. Files, the estimator's attributes and their documentation follow from its fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fdgpu.arrays import to_device
from fdgpu.device import Backend
from fdgpu.directions.parameters import SearchSettings, Solver, SolverSettings, doc, documents_of
from fdgpu.directions.testing import most_permutations
from fdgpu.directions.whitening import Whitening, chunk_rows
from fdgpu.errors import InputError, NotFittedError
from fdgpu.files import write_atomically
from fdgpu.findings import Status
from fdgpu.version import __version__

FORMAT = "fdgpu.FailureDirections/2"
KEYS = {"n_samples": "n"}  # what a field is called in the file, where that is something else
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def tensor(text: str) -> dict[str, str]:
    """Return the metadata of a documented field that is a tensor of the file."""
    return doc(text) | {"tensor": ""}


@dataclass(frozen=True)
class Fit:
    """k classes, r directions, d dimensions, c values of C; arrays are NumPy's, but for the resamples.

    In every class the kept directions come first, those that explain the most errors beyond chance first; then NaN.
    """

    solver_settings: SolverSettings
    search_settings: SearchSettings
    classes: Ints = field(metadata=tensor("(k,) class ids, ascending."))
    status: Sequence[Status] = field(
        metadata=doc('k of "ok", "no_errors", "all_errors", "too_few_errors" and "too_few_correct".')
    )
    coef: NDArray[np.float32] = field(
        metadata=tensor("(k, r, d) w in whitened space; NaN where a class has no direction.")
    )
    intercept: Floats = field(metadata=tensor("(k, r) b."))
    C: Floats = field(metadata=tensor("(k, r) the chosen C."))
    cv_score: Floats = field(
        metadata=tensor(
            "(k, r) mean balanced accuracy over the folds at the chosen C; optimistic, as the paper reports it."
        )
    )
    cv_scores: Floats = field(metadata=tensor("(k, r, c) the score of every C of the grid."))
    p_value: Floats = field(
        metadata=tensor(
            "(k, r) permutation p-values; NaN without permutations. Direction 0's is that of the class's CV score; "
            "direction j's says how surely there are more than j failure modes, and is never below the one before."
        )
    )
    q_value: Floats = field(metadata=tensor("(k, r) Benjamini-Hochberg q-values; NaN without permutations."))
    converged: NDArray[np.bool_] = field(metadata=tensor("(k, r) bool, every problem of the class reached ``tol``."))
    n_iter: Ints = field(
        metadata=tensor("(k, r) solver steps of the refit at the chosen C, -1 where an older cuML does not say.")
    )
    n_samples: Ints = field(metadata=tensor("(k,) samples of each class."))
    n_errors: Ints = field(metadata=tensor("(k,) of which the model got wrong."))
    n_directions: Ints = field(metadata=tensor("(k,) directions that were kept, 0 where a class has none."))
    n_errors_of: Ints = field(metadata=tensor("(k, r) errors that belong to each direction."))
    n_permutations: Ints = field(
        metadata=tensor("(k,) permutations drawn; fewer than asked for where ``stop_after`` settled the p-value.")
    )
    nested_score: Floats = field(
        metadata=tensor("(k,) nested cross-validation's balanced accuracy; NaN unless ``nested``.")
    )
    solver: Sequence[Solver] = field(
        metadata=doc('k of "gram", "newton" (where the Gram matrix was too large), "cuml", and "" without a direction.')
    )
    backend: Backend = field(metadata=doc("the backend that ran."))
    backend_reason: str = field(metadata=doc("why it did."))
    p_value_reason: Sequence[str] = field(
        metadata=doc(
            "k sentences: why the class's p-value is NaN although permutations were asked for (too few distinct ones "
            'for a p-value of ``fdr`` or less); "" elsewhere.'
        )
    )
    whitening: Whitening = field(metadata=doc("mean and deviations by which embeddings are whitened."))
    test_seconds: float = field(default=float("nan"), metadata=doc("what permutations took; not stored."))
    resampled_coef: torch.Tensor | None = field(
        default=None,
        metadata=doc(
            "(k, r, B, d) float32, w of B = ``n_resamples`` random halves of each class and failure mode; NaN without "
            "a direction. 2 KB for each at d = 512, so that 1000 classes with 20 take 41 MB: they stay on the device "
            "where they were fitted. Not stored."
        ),
    )

    # --- what follows from these ------------------------------------------------------------------------------------

    @property
    def directions(self) -> NDArray[np.float32]:
        """(k, r, d) w / ‖w‖, unit vectors from hard to easy; NaN where w is zero, and points nowhere."""
        length = np.linalg.norm(self.coef.astype(np.float64), axis=-1, keepdims=True)
        unit: NDArray[np.float32] = np.full_like(self.coef, np.nan)
        np.divide(self.coef, length, out=unit, where=length > 0)
        return unit

    @property
    def significant(self) -> NDArray[np.bool_]:
        """(k, r) bool, q-value at most ``fdr``; False without permutations."""
        return np.asarray(self.q_value <= self.search_settings.fdr)

    @property
    def C_at_edge(self) -> NDArray[np.bool_]:  # noqa: N802 - after C
        """(k, r) bool, the chosen C is the first or the last of a grid of several."""
        grid = self.solver_settings.Cs
        return np.asarray(((grid[0] == self.C) | (grid[-1] == self.C)) & (len(grid) > 1))

    @property
    def scale(self) -> Floats:
        """(d,) deviations of the whitening, ones without it: the ``scale`` of a :class:`fdgpu.CaptionIndex`."""
        return self.whitening.scale

    @property
    def most_permutations(self) -> int:
        """The most permutations that a class may be given, for one of those that were tested to pass."""
        tested = sum(status is Status.OK and not why for status, why in zip(self.status, self.p_value_reason, strict=True))
        return most_permutations(self.search_settings, tested)

    def resampled(self, direction: int, device: torch.device) -> torch.Tensor:
        """(k, B, d) on ``device``, w of the resamples of one direction of every class; B = 0 where none were drawn."""
        if self.resampled_coef is None:
            raise NotFittedError(
                "resampled_coef_ is not stored with a fit: call fit(embeddings, labels, correct) again"
            )
        return self.resampled_coef[:, direction].to(device)

    def index_of(self, class_id: int) -> int:
        """Return the row of a class in ``classes`` and all other results.

        Raises:
            InputError: for a class that was not fitted.
        """
        found = np.flatnonzero(self.classes == class_id)
        if not len(found):
            raise InputError(f"class_id is {class_id}: use one of classes_, {self.classes[:10].tolist()}…")
        return int(found[0])

    def decide(self, x: torch.Tensor, labels: Ints, direction: int) -> torch.Tensor:
        """Return (n,) w·x + b under each row's own class; NaN for a class that was not fitted or has no direction.

        Args:
            x: (n, d) whitened unit rows.
            labels: (n,) class of each row.
            direction: which of the class's directions.
        """
        nearest = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        index = to_device(nearest, x.device)
        w = to_device(self.coef[:, direction], x.device).to(x.dtype)
        intercept = np.where(self.classes[nearest] == labels, self.intercept[nearest, direction], np.nan)
        values = torch.empty(len(x), dtype=torch.float64, device=x.device)
        step = chunk_rows(x)  # w of every row, but not of all rows at once
        for part, of_class, into in zip(x.split(step), index.split(step), values.split(step), strict=True):
            into.copy_(torch.linalg.vecdot(part, w[of_class]))
        return values + to_device(intercept, x.device)

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all: arrays as tensors, the rest as JSON in its header."""
        arrays = {KEYS.get(name, name): np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}
        arrays |= {"whitening_mean": self.whitening.mean, "whitening_scale": self.whitening.scale}
        header = {
            "format": FORMAT,
            "fdgpu": __version__,
            "parameters": json.dumps(asdict(self.solver_settings) | asdict(self.search_settings)),
            "status": json.dumps(self.status),
            "solver": json.dumps(self.solver),
            "p_value_reason": json.dumps(self.p_value_reason),
            "backend": json.dumps([self.backend, self.backend_reason]),
        }
        write_atomically(path, to_bytes(arrays, metadata=header))

    @classmethod
    def load(cls, path: Path) -> Fit:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: if the file is missing, damaged, or something else.
        """
        if not path.is_file():
            raise InputError(f"{path} does not exist: pass a file that FailureDirections.save wrote")
        try:
            with safe_open(path, framework="numpy") as stored:
                header = stored.metadata() or {}
                if header.get("format") != FORMAT:
                    raise InputError(f"{path} is a safetensors file, but not of a fit ({FORMAT} was expected)")
                arrays = {name: stored.get_tensor(KEYS.get(name, name)) for name in ARRAYS}
                whitening = Whitening(stored.get_tensor("whitening_mean"), stored.get_tensor("whitening_scale"))
        except SafetensorError as error:
            raise InputError(f"{path} is damaged or not a safetensors file ({error}): save the fit again") from None
        parameters = json.loads(header["parameters"])
        solver = SolverSettings(**{one.name: parameters[one.name] for one in fields(SolverSettings) if one.name in parameters})
        search = SearchSettings(**{one.name: parameters[one.name] for one in fields(SearchSettings) if one.name in parameters})
        backend, reason = json.loads(header["backend"])
        return cls(
            solver_settings=solver,
            search_settings=search,
            status=[Status(name) for name in json.loads(header["status"])],
            solver=[Solver(name) for name in json.loads(header["solver"])],
            p_value_reason=json.loads(header.get("p_value_reason", json.dumps([""] * len(arrays["classes"])))),
            backend=Backend(backend),
            backend_reason=reason,
            whitening=whitening,
            **arrays,
        )


ARRAYS = [one.name for one in fields(Fit) if "tensor" in one.metadata]
PROPERTIES = [(name, (one.__doc__ or "")) for name, one in vars(Fit).items() if isinstance(one, property)]
ESTIMATED = dict(documents_of(Fit) + PROPERTIES)  # what the estimator shows with a "_" behind its name, and its meaning
