"""One record of what is estimated. Files, the estimator's attributes and their documentation follow from its fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors import SafetensorError, safe_open

from fdgpu.arrays import to_device
from fdgpu.checks import shown
from fdgpu.described import Described
from fdgpu.device import Backend
from fdgpu.directions.parameters import SearchSettings, Solver, SolverSettings, doc, documents_of
from fdgpu.directions.testing import most_permutations
from fdgpu.directions.whitening import Whitening
from fdgpu.errors import BackendError, InputError, not_fitted
from fdgpu.files import check_regular_file, expect, parse_json, validated, write_safetensors
from fdgpu.findings import Status
from fdgpu.rows import Rows, chunk_rows
from fdgpu.version import __version__

FORMAT = "fdgpu.FailureDirections/2"
LATER = {"loss_weight": 0.0, "loss_intercept": 0.0, "share": np.nan, "explained": np.nan}  # which older files lack
KEYS = {"n_samples": "n"}  # what a field is called in the file, where that is something else
SHARE, COUNT = (0.0, 1.0), (0.0, np.inf)
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def tensor(text: str, kind: str = "F64", within: tuple[float, float] = (-np.inf, np.inf)) -> dict[str, object]:
    """Return the metadata of a documented field that is a tensor of the file.

    Args:
        text: its documentation, which begins with its shape, such as "(k, r, d)".
        kind: its type, as safetensors calls it.
        within: the least and the largest number; NaN is allowed beside.
    """
    return doc(text) | {"tensor": kind, "shape": text[1 : text.index(")")].strip(",").split(", "), "within": within}


@dataclass(frozen=True, repr=False)
class Fit(Described):
    """k classes, r directions, d dimensions, c values of C; arrays are NumPy's, but for the resamples.

    In every class the kept directions come first, those that explain the most errors beyond chance first; then NaN.
    """

    solver_settings: SolverSettings
    search_settings: SearchSettings
    classes: Ints = field(metadata=tensor("(k,) class ids, ascending.", "I64"))
    status: Sequence[Status] = field(
        metadata=doc('k of "ok", "no_errors", "all_errors", "too_few_errors" and "too_few_correct".')
    )
    coef: NDArray[np.float32] = field(
        metadata=tensor("(k, r, d) w in whitened space; NaN where a class has no direction.", "F32")
    )
    intercept: Floats = field(metadata=tensor("(k, r) b."))
    shift: NDArray[np.float32] = field(
        metadata=tensor(
            "(k, r, d) along which captions are scored and pictures painted, from hard to easy and as long as w: w "
            'itself with ``method="svm"``; the mean of the others less that of the hidden class with ``"latent"``.',
            "F32",
        )
    )
    C: Floats = field(metadata=tensor("(k, r) the chosen C."))
    cv_score: Floats = field(
        metadata=tensor(
            "(k, r) mean balanced accuracy over the folds at the chosen C; optimistic, as the paper reports it.",
            within=SHARE,
        )
    )
    cv_scores: Floats = field(metadata=tensor("(k, r, c) the score of every C of the grid.", within=SHARE))
    p_value: Floats = field(
        metadata=tensor(
            "(k, r) permutation p-values; NaN without permutations. Direction 0's is that of the class's CV score; "
            "direction j's says how surely there are more than j failure modes, and is never below the one before.",
            within=SHARE,
        )
    )
    q_value: Floats = field(
        metadata=tensor("(k, r) Benjamini-Hochberg q-values; NaN without permutations.", within=SHARE)
    )
    converged: NDArray[np.bool_] = field(
        metadata=tensor("(k, r) bool, every problem of the class reached ``tol``.", "BOOL")
    )
    n_iter: Ints = field(
        metadata=tensor(
            "(k, r) solver steps of the refit at the chosen C, -1 where an older cuML does not say.",
            "I64",
            (-1, np.inf),
        )
    )
    n_samples: Ints = field(metadata=tensor("(k,) samples of each class.", "I64", COUNT))
    n_errors: Ints = field(metadata=tensor("(k,) of which the model got wrong.", "I64", COUNT))
    n_directions: Ints = field(
        metadata=tensor("(k,) directions that were kept, 0 where a class has none.", "I64", COUNT)
    )
    n_errors_of: Ints = field(metadata=tensor("(k, r) errors that belong to each direction.", "I64", COUNT))
    n_permutations: Ints = field(
        metadata=tensor(
            "(k,) permutations drawn; fewer than asked for where ``stop_after`` settled the p-value.", "I64", COUNT
        )
    )
    nested_score: Floats = field(
        metadata=tensor("(k,) nested cross-validation's balanced accuracy; NaN unless ``nested``.", within=SHARE)
    )
    loss_weight: Floats = field(
        metadata=tensor(
            "(k, r) weight of the sample's own margin log(p / (1 - p)), p the probability of its true class, clipped "
            'to ±8, in a decision that knows it; 0 with ``method="svm"``.',
            within=COUNT,
        )
    )
    loss_intercept: Floats = field(metadata=tensor("(k, r) what such a decision adds beside it."))
    share: Floats = field(
        metadata=tensor(
            '(k, r) of the class\'s samples in the hidden class; NaN with ``method="svm"``, and where the evidence is '
            "too little to tell them.",
            within=SHARE,
        )
    )
    explained: Floats = field(
        metadata=tensor(
            "(k, r, 3) share of the errors that the hidden class explains, held out, and its 95 % interval: "
            'those inside beyond the rate outside; NaN with ``method="svm"``.',
            within=SHARE,
        )
    )
    solver: Sequence[Solver] = field(
        metadata=doc(
            'k of "gram", "newton" (where the Gram matrix was too large), "cuml", "latent", and "" without a direction.'
        )
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
            "(k, r, B, d) float32, ``shift`` of B = ``n_resamples`` random halves of each class and failure mode; NaN "
            "without a direction. 2 KB for each at d = 512, so that 1000 classes with 20 take 41 MB: they stay on the "
            "device where they were fitted. Not stored."
        ),
    )

    def _described(self) -> dict[str, object]:
        k, r, d = self.coef.shape
        solved = sum(status is Status.OK for status in self.status)
        tested = {"significant": int(self.significant.any(axis=1).sum())} if self.search_settings.n_permutations else {}
        return {
            "classes": k,
            "solved": solved,
            **tested,
            "directions": r,
            "dimensions": d,
            "backend": str(self.backend),
        }

    # --- what follows from these ------------------------------------------------------------------------------------

    @property
    def directions(self) -> NDArray[np.float32]:
        """(k, r, d) ``shift`` as unit vectors, from hard to easy; NaN where it is zero, and points nowhere."""
        length = np.linalg.norm(self.shift.astype(np.float64), axis=-1, keepdims=True)
        unit: NDArray[np.float32] = np.full_like(self.shift, np.nan)
        np.divide(self.shift, length, out=unit, where=length > 0)
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
        tested = sum(
            status is Status.OK and not why for status, why in zip(self.status, self.p_value_reason, strict=True)
        )
        return most_permutations(self.search_settings, tested)

    def resampled(self, direction: int, device: torch.device) -> torch.Tensor:
        """(k, B, d) on ``device``, the shift of the resamples of one direction of every class; B = 0 without any."""
        if self.resampled_coef is None:
            raise not_fitted("resampled_coef_ is not stored with a fit: call fit(embeddings, labels, correct) again")
        return self.resampled_coef[:, direction].to(device)

    def caption_origins(self, references: torch.Tensor) -> torch.Tensor:
        """Return what captions are seen from: the reference captions (…, d), or with ``published`` these + the mean."""
        if not self.solver_settings.published:
            return references
        return references.double() + to_device(self.whitening.mean, references.device)

    def caption_intercepts(self, direction: int) -> Floats:
        """(k,) what is added to w·d of a caption: nothing, or with ``published`` b."""
        own = self.intercept[:, direction]
        return own if self.solver_settings.published else np.zeros_like(own)

    def index_of(self, class_id: int) -> int:
        """Return the row of a class in ``classes`` and all other results.

        Raises:
            InputError: for a class that was not fitted.
        """
        found = np.flatnonzero(self.classes == class_id) if isinstance(class_id, Integral) else np.empty(0)
        if not len(found):
            raise InputError(f"class_id is {shown(class_id)}: use one of classes_, {self.classes[:10].tolist()}…")
        return int(found[0])

    def decisions(
        self, rows: Rows, labels: Ints, directions: Sequence[int], margins: Floats | None = None
    ) -> torch.Tensor:
        """Return w·x + b of every row under its own classes: (n, r) where the rows are, or (n, k, r).

        Each row is read and whitened once.

        Args:
            rows: n embeddings of d numbers, as they come.
            labels: (n,) class of each row, or (n, k) where it is in several.
            directions: r of each class's directions.
            margins: of the shape of ``labels``, each sample's own, which decides beside its vector; clipped.
        """
        columns = labels[:, None] if labels.ndim == 1 else labels
        values = torch.empty((*columns.shape, len(directions)), dtype=torch.float64, device=rows.device)
        step = chunk_rows(rows)
        for start, block in zip(count(step=step), rows.blocks(step), strict=False):
            x, part = self.whitening(block), slice(start, start + step)
            for of_rows, into in zip(columns[part].T, values[part].unbind(dim=1), strict=True):
                for direction, to in zip(directions, into.unbind(dim=1), strict=True):
                    to.copy_(self.decide(x, of_rows, direction))
        values = values.reshape(*labels.shape, len(directions))
        if margins is None:
            return values
        return values + to_device(self.by_margin(margins, labels, directions), values.device)

    def by_margin(self, margins: Floats, labels: Ints, directions: Sequence[int]) -> Floats:
        """Return what samples' own margins (…) add to their decisions, (…, r); NaN where there is no direction."""
        own = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        weight, intercept = (of[:, list(directions)][own] for of in (self.loss_weight, self.loss_intercept))
        return np.asarray(weight * margins[..., None] + intercept)

    def decide(self, x: torch.Tensor, labels: Ints, direction: int) -> torch.Tensor:
        """Return (n,) w·x + b under each row's own class; NaN for a class that was not fitted or has no direction.

        Args:
            x: (n, d) whitened unit rows, a block of all.
            labels: (n,) class of each row.
            direction: which of the class's directions.
        """
        nearest = np.minimum(np.searchsorted(self.classes, labels), len(self.classes) - 1)
        w = to_device(self.coef[:, direction], x.device).to(x.dtype)
        intercept = np.where(self.classes[nearest] == labels, self.intercept[nearest, direction], np.nan)
        along: torch.Tensor = torch.linalg.vecdot(x, w[to_device(nearest, x.device)])
        return along.double() + to_device(intercept, x.device)

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all: arrays as tensors, the rest as JSON in its header."""
        arrays = {KEYS.get(name, name): getattr(self, name) for name in ARRAYS}
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
        write_safetensors(path, arrays, header)

    @classmethod
    def load(cls, path: str | Path) -> Fit:
        """Read what :meth:`save` wrote; every array is checked against the header, and the header against a schema.

        Raises:
            InputError: if the file is missing, damaged, or something else.
        """
        path = check_regular_file(path, "a file that FailureDirections.save wrote")
        try:
            with safe_open(path, framework="numpy") as stored:
                fit = cls._of(Header.of(stored.metadata() or {}), stored)
            fit._check()
        except (OSError, SafetensorError, ValueError, BackendError) as error:
            what = str(error).splitlines()[0][:300]
            raise InputError(f"{path} is damaged or not a fit of {FORMAT} ({what}): save the fit again") from None
        return fit

    @classmethod
    def _of(cls, header: Header, stored: Any) -> Fit:
        """Read the arrays, each of the type and shape that the header makes it."""
        there = set(stored.keys())
        d = stored.get_slice("coef").get_shape()[-1:] if "coef" in there else []
        solver, search = header.settings()
        sizes = {"k": len(header.status), "r": search.n_directions, "c": len(solver.Cs), "d": d[0] if d else 0}

        def read(name: str, kind: str, shape: Sequence[str]) -> NDArray[Any]:
            if name == "shift" and name not in there:  # of an older file
                name = "coef"
            if name not in there and name in LATER:
                return np.full([int(sizes.get(size, size)) for size in shape], LATER[name])
            if name not in there:
                raise ValueError(f"there is no array {name!r}")
            array, expected = stored.get_slice(name), [int(sizes.get(size, size)) for size in shape]
            if array.get_dtype() != kind or array.get_shape() != expected:
                came = f"{array.get_dtype()} {array.get_shape()}"
                raise ValueError(f"{name} is {came[:60]}, the header makes it {kind} {expected}")
            return np.asarray(stored.get_tensor(name))

        about = {one.name: one.metadata for one in fields(cls)}
        arrays: dict[str, Any] = {
            name: read(KEYS.get(name, name), about[name]["tensor"], about[name]["shape"]) for name in ARRAYS
        }
        return cls(
            solver_settings=solver,
            search_settings=search,
            status=header.status,
            solver=header.solver,
            p_value_reason=header.p_value_reason or [""] * sizes["k"],
            backend=header.backend[0],
            backend_reason=header.backend[1],
            whitening=Whitening(*(read(f"whitening_{name}", "F64", "d") for name in ("mean", "scale"))),
            **arrays,
        )

    def _check(self) -> None:
        """Check what is stored against itself.

        Raises:
            ValueError: says what cannot be.
        """
        k, d = self.coef.shape[0], self.coef.shape[2]
        for one in fields(self):
            if "within" in one.metadata:
                values, (least, most) = getattr(self, one.name), one.metadata["within"]
                expect(not ((values < least) | (values > most)).any(), f"{one.name} from {least:g} to {most:g}")
        expect(k > 0 and d > 0, "at least one class, and vectors of at least one number")
        expect(len(self.solver) == len(self.p_value_reason) == k, "a solver and a reason for each class")
        expect(bool((self.classes[:-1] < self.classes[1:]).all()), "classes that ascend")
        expect(bool((self.n_errors <= self.n_samples).all()), "no more errors than samples")
        ok = np.array([status is Status.OK for status in self.status])
        expect(bool(((self.n_directions > 0) == ok).all()), 'directions where the status is "ok", and nowhere else')
        expect([solver is not Solver.NONE for solver in self.solver] == ok.tolist(), "a solver for each direction")
        expect(bool((self.n_directions <= self.coef.shape[1]).all()), "no more directions than were looked for")
        kept = np.arange(self.coef.shape[1]) < self.n_directions[:, None]
        for name in ("coef", "intercept", "shift"):
            there = np.isfinite(getattr(self, name)).reshape(*kept.shape, -1)
            expect(bool((there == kept[..., None]).all()), f"{name} of each direction that was kept, and of no other")
        expect(bool(np.isin(self.C[kept], self.solver_settings.Cs).all()), "a C of the grid for each direction")
        expect(bool(np.isfinite(self.whitening.mean).all()), "a whitening mean that is finite")
        scale = self.whitening.scale
        expect(bool((np.isfinite(scale) & (scale > 0)).all()), "whitening scales that are finite and above 0")


class Header(BaseModel):
    """What a file's header says, read from the JSON of its entries."""

    format: Literal["fdgpu.FailureDirections/2"]
    parameters: dict[str, Any]
    status: list[Status]
    solver: list[Solver]
    backend: tuple[Backend, str]
    p_value_reason: list[str] = []  # which files of the first version lack

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> Header:
        """Read it.

        Raises:
            ValueError: says what is missing, or is no JSON, or something else than it should be.
        """
        raw: dict[str, object] = {
            name: parse_json(metadata[name]) for name in cls.model_fields if name in metadata.keys() - {"format"}
        }
        return validated(cls, raw | {"format": metadata.get("format")})

    def settings(self) -> tuple[SolverSettings, SearchSettings]:
        """Return the two records, whose own checks hold for a file too."""
        names = [[one.name for one in fields(record)] for record in (SolverSettings, SearchSettings)]
        for record, name in (
            (SearchSettings, "min_errors"),
            (SolverSettings, "published"),
            (SolverSettings, "method"),
        ):  # which older files lack
            self.parameters.setdefault(name, getattr(record, name))
        missing = [name for own in names for name in own if name not in self.parameters]
        expect(not missing, f"the parameter {', '.join(missing)}")
        solver, search = ({name: self.parameters[name] for name in own} for own in names)
        return SolverSettings(**solver), SearchSettings(**search)


ARRAYS = [one.name for one in fields(Fit) if "tensor" in one.metadata]
PROPERTIES = [(name, (one.__doc__ or "")) for name, one in vars(Fit).items() if isinstance(one, property)]
ESTIMATED = dict(documents_of(Fit) + PROPERTIES)  # what the estimator shows with a "_" behind its name, and its meaning
