"""The backend on request: cuML's ``SVC``, one problem after another on the device, for classes of any size.

It is a second way for a class too large for a Triton program, which holds a problem's alphas in registers, of at most
8192 samples, and reads a Gram matrix that is held whole: 1.6 GB at 20 000 samples. cuML keeps alphas in device memory
and computes the columns of the kernel that it needs, so that a class takes memory in proportion to its samples. It
solves one problem at a time, however small, so that below that size the Triton solver should be far ahead. This is
reasoned from both sources, not measured.

Rows are whitened on the device and handed over by DLPack; of cuML's answer only the dual is taken. Decision values, the
intercept and the violation of the KKT conditions are computed from it in float64 (:func:`optimality`): cuML stops by a
float32 residual that it only ever updates, or when that no longer falls, and says so in its log alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch

from fdgpu.arrays import Array, to_host, to_torch
from fdgpu.cuda import GPU_EXTRAS
from fdgpu.device import out_of_memory
from fdgpu.directions.batch import ClassBatch, Duals, SvmBatch, largest_violation
from fdgpu.directions.labellings import Classes, Layout, Tensor
from fdgpu.directions.parameters import Solver, SolverSettings
from fdgpu.directions.samples import ClassSamples, whitened
from fdgpu.errors import BackendError, InputError
from fdgpu.rows import chunk_rows

TIGHTER = 0.5  # of tol is asked of cuML: its residual has drifted by the time that it believes in it
ROUNDINGS = 8  # of C, of a weight, of their product and of a few steps: how far from its bound an alpha may end
WORKING_SET = 1024  # samples of which cuML holds kernel columns at once
MOST_ELEMENTS = 2**31 - 1  # cuML counts the elements of its arrays in 32 bits
UNKNOWN = -1  # steps of a cuML that does not tell


Cuml: TypeAlias = tuple[Callable[..., Array], Callable[[torch.Tensor], Array]]  # its SVC, and CuPy's from_dlpack


class CumlBackend:
    """cuML on a CUDA device, a class at a time; ``device="cpu"`` only for a stand-in of cuML."""

    name = "cuml"
    at_once = 1

    def __init__(self, device: str | torch.device = "cuda") -> None:
        self.device = torch.device(device)

    def check(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> None:  # noqa: ARG002 - protocol's
        """Load cuML, and refuse what it cannot count.

        Raises:
            BackendError: if cuML or CuPy cannot be imported.
            InputError: if a class is larger than cuML can count.
        """
        _load()
        for one in classes:
            d = one.embeddings.shape[1]
            if one.n * max(d, WORKING_SET) > MOST_ELEMENTS:
                most = MOST_ELEMENTS // max(d, WORKING_SET)
                raise InputError(
                    f"a class has {one.n} samples of {d} features, a problem of the cuml backend at most {most} "
                    "samples, as cuML counts elements in 32 bits: use a subset of this class"
                )

    def capacity(self) -> int:
        """Bytes of one batch, which is one class whatever it takes."""
        return 0

    def bytes_of(self, one: ClassSamples, settings: SolverSettings) -> int | None:  # noqa: ARG002 - the protocol's
        """None: every class comes alone, as together they would be no faster."""
        return None

    def open(self, classes: Sequence[ClassSamples], settings: SolverSettings) -> ClassBatch:
        """Whiten one class.

        Raises:
            BackendError: if cuML or CuPy cannot be imported.
        """
        (one,) = classes
        return CumlBatch(one, settings, self.device, _load())


def _load() -> Cuml:
    try:
        import cupy
        from cuml.svm import SVC
    except (ImportError, OSError, RuntimeError) as error:  # a missing shared library, or versions that clash
        raise BackendError(
            f"backend 'cuml' was asked for, but cuML cannot be imported ({error}): {GPU_EXTRAS}"
        ) from error
    return SVC, cupy.from_dlpack


class CumlBatch(SvmBatch):
    """One class whose whitened rows lie on the device; a :class:`~fdgpu.directions.batch.ClassBatch`."""

    solver = Solver.CUML

    def __init__(self, samples: ClassSamples, settings: SolverSettings, device: torch.device, cuml: Cuml) -> None:
        self.layout = Layout.of([samples], device)
        # column by column, the order in which cuML computes: other rows it would copy for every problem
        self._x = whitened([samples], settings.dtype, device).T.contiguous().T
        self._costs = torch.tensor(settings.Cs, dtype=torch.float64, device=device)
        self.settings, self._device, self._cuml = settings, device, cuml

    def cross_validate(self, labels: Tensor, classes: Classes = None) -> tuple[Tensor, Tensor]:
        """Hold out every fold of every labelling, at every C."""
        cv, c = self.settings.cv, len(self._costs)
        if not _asked(classes):
            nothing = torch.full((len(labels), 1), torch.nan, dtype=torch.float64, device=self._device)
            return nothing[..., None, None].expand(-1, -1, cv, c), nothing
        results = [self._hold_out(*labelling) for labelling in zip(labels, self.folds(labels), strict=True)]
        scores, violation = (torch.stack(parts)[:, None] for parts in zip(*results, strict=True))
        return scores, violation

    def fit(self, labels: Tensor, C_index: Tensor, classes: Classes = None) -> Duals:
        """Fit every labelling on the whole class."""
        costs = torch.where(C_index[:, 0] >= 0, self._costs[C_index[:, 0].clamp(min=0)], torch.nan)
        if not _asked(classes):
            costs = torch.full_like(costs, torch.nan)
        a, _, intercept, violation, n_iter = self._solve(labels.T, costs)
        return Duals(a.T, intercept[:, None], violation[:, None], n_iter[:, None])

    def decide(self, duals: Duals) -> Tensor:
        """Return X Xᵀ a + b of all samples."""
        _, g = self._products(duals.a.T)
        return g.T + duals.intercept

    def coef(self, duals: Duals) -> Tensor:
        """Return w = Xᵀ a."""
        w, _ = self._products(duals.a.T)
        return w.T[:, None]

    def _hold_out(self, labels: Tensor, fold_of: Tensor) -> tuple[Tensor, Tensor]:
        """Score one labelling, (cv, c) and the largest violation of all its problems."""
        cv, c = self.settings.cv, len(self._costs)
        labels, folds = labels[:, None], fold_of[:, None]
        held = folds == torch.arange(cv, device=self._device)
        _, decisions, _, violation, _ = self._solve(
            torch.where(held, 0, labels).repeat_interleave(c, dim=1), self._costs.repeat(cv)
        )
        right = (decisions > 0).reshape(-1, cv, c)
        recalls = []
        for hit, kind in ((~right, labels < 0), (right, labels > 0)):
            of_kind = (held & kind)[:, :, None]
            # counts, divided in float64 as on the CPU: ties between two Cs are ties there and here
            recalls.append((hit & of_kind).sum(dim=0).double() / of_kind.sum(dim=0))
        scores = torch.stack(recalls).mean(dim=0)
        return torch.where(violation.reshape(cv, c).isnan(), torch.nan, scores), largest_violation(violation)

    def _solve(self, y: Tensor, costs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Solve the problems in the columns of ``y`` (n, q), of labels +1, -1 and 0, each with its own C (q,).

        The host waits once to learn which of them cuML has to solve; what cuML itself waits for comes on top. Where C
        is NaN or a kind of label is missing, the dual is 0 and everything else NaN.

        Returns:
            Duals and decision values (n, q), intercepts, violations and steps (q,).
        """
        of_right, of_wrong = (y > 0).sum(dim=0), (y < 0).sum(dim=0)
        solvable = (of_right > 0) & (of_wrong > 0) & ~costs.isnan()
        own = torch.where(y > 0, of_right, of_wrong).clamp(min=1)
        weights = y.abs().double() * (of_right + of_wrong) / (2 * own)
        limit = torch.where(solvable, y * weights * costs, 0.0)
        # all alphas at their bounds are the optimum for every small C, and one product shows it: as on the CPU
        a, n_iter = limit, [0] * len(costs)
        _, g = self._products(a)
        violation, intercept = optimality(a, g, limit)
        taking = of_right + of_wrong
        violations, counts, Cs = to_host(
            torch.stack([torch.where(solvable, violation, 0.0), taking.double(), costs]),
            "which problems cuML has to solve",
        )
        unsolved = np.flatnonzero(violations > self.settings.tol).tolist()
        if unsolved:
            a = a.clone()  # and 0 where a sample takes no part
            order = (y == 0).to(torch.int8).argsort(dim=0, stable=True)  # first the samples that take part
            for j in unsolved:
                part = order[: int(counts[j]), j]
                a[part, j], n_iter[j] = self._ask(part, y[part, j], weights[part, j], float(Cs[j]))
            a = into_the_box(a, limit, ROUNDINGS * torch.finfo(self._x.dtype).eps)
            _, g = self._products(a)
            violation, intercept = optimality(a, g, limit)
        nothing = ~solvable
        return (
            a,
            (g + intercept).masked_fill(nothing, torch.nan),
            intercept.masked_fill(nothing, torch.nan),
            violation.masked_fill(nothing, torch.nan),
            torch.tensor(n_iter, device=self._device),
        )

    def _ask(self, part: Tensor, y: Tensor, weights: Tensor, cost: float) -> tuple[Tensor, int]:
        """Have cuML solve one problem of some samples (m,): their dual (m,), and its steps."""
        rows = self._x.T[:, part].T
        svc, from_dlpack = self._cuml
        over = [from_dlpack(one) for one in (rows, y.to(rows), weights.to(rows))]
        estimator = svc(
            kernel="linear",
            gamma=1.0,  # not used, but its default is computed all the same, from the variance of the rows
            C=cost,
            tol=TIGHTER * self.settings.tol,
            max_iter=min(self.settings.max_iter, MOST_ELEMENTS),
            output_type="cupy",
        )
        with warnings.catch_warnings():
            # before 26.2 cuML counts outer iterations, each of many steps, and says that this will change
            warnings.filterwarnings("ignore", "The meaning of `max_iter`", FutureWarning)
            _fit(estimator, *over)
        a = torch.zeros(len(y), dtype=torch.float64, device=self._device)
        support = to_torch(estimator.support_, "support_").long()
        a[support] = to_torch(estimator.dual_coef_, "dual_coef_").flatten().double()
        return a, int(np.sum(getattr(estimator, "n_iter_", UNKNOWN)))

    def _products(self, a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return w = Xᵀ a (d, q) and g = X w (n, q) in float64, some rows at a time, of ``a`` (n, q)."""
        parts = self._x.split(chunk_rows(self._x))
        w = torch.zeros((self._x.shape[1], a.shape[1]), dtype=torch.float64, device=self._device)
        for part, own in zip(parts, a.split(chunk_rows(self._x)), strict=True):
            w += part.double().T @ own
        return w, torch.cat([part.double() @ w for part in parts])


def _fit(estimator: Array, x: Array, y: Array, weights: Array) -> None:
    """Fit; where cuML finds no memory, once more without what torch holds for later, which is not free for cuML.

    Raises:
        BackendError: if that is not enough. A problem cannot be halved.
    """
    for last in (False, True):
        try:
            estimator.fit(x, y, sample_weight=weights)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if last:
                raise BackendError(
                    f"cuML ran out of device memory at {x.shape[0]} samples of {x.shape[1]} features ({error}): "
                    "use backend='triton', or fewer samples of this class"
                ) from error
        else:
            return
        torch.cuda.empty_cache()  # here, where the error no longer holds anything


def _asked(classes: Classes) -> bool:
    return classes is None or 0 in classes


# --- how good a dual is, measured from the dual itself --------------------------------------------------------------
# As in fdgpu.kernels.smo_numba, a is y·alpha and g is K a; limit is y C s(y): alpha's bound with the label's sign, and
# 0 where a sample takes no part. A column is a problem; everything is float64, and stays on its device.


def into_the_box(a: torch.Tensor, limit: torch.Tensor, rounding: float) -> torch.Tensor:
    """Return ``a`` (n, q) inside its bounds, and exactly at a bound what lies within ``rounding`` of it.

    A sum of steps mostly leaves an alpha an ulp short of its bound. Taken for free, that one sample would decide b.

    Args:
        a: (n, q) duals.
        limit: (n, q).
        rounding: relative to the bound.
    """
    a = torch.minimum(torch.maximum(a, limit.clamp(max=0)), limit.clamp(min=0))
    slack = rounding * limit.abs()
    return torch.where(a.abs() <= slack, 0.0, torch.where((limit - a).abs() <= slack, limit, a))


def optimality(a: torch.Tensor, g: torch.Tensor, limit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Measure how good duals ``a`` (n, q) that lie in their boxes are, with g = K a (n, q).

    With v = y - g the violation is libsvm's, max v of what may rise - min v of what may fall; or, where it is larger,
    how far the duals are from adding up to zero, relative to their size, of which the other knows nothing. The
    intercept is the mean v of the free samples; with none, the middle of the interval that is optimal.

    Returns:
        The violation (q,), infinite for a dual that is not finite, and the intercept (q,).
    """
    may_rise, may_fall = a < limit.clamp(min=0), a > limit.clamp(max=0)
    v = limit.sign() - g
    top = torch.where(may_rise, v, -torch.inf).amax(dim=0)
    bottom = torch.where(may_fall, v, torch.inf).amin(dim=0)
    unbalanced = a.sum(dim=0).abs() / a.abs().sum(dim=0).clamp(min=torch.finfo(a.dtype).tiny)
    violation = torch.maximum(top - bottom, unbalanced)
    free = may_rise & may_fall
    mean = torch.where(free, v, 0.0).sum(dim=0) / free.sum(dim=0).clamp(min=1)
    intercept = torch.where(free.any(dim=0), mean, (top + bottom) / 2)
    return torch.where(violation.isnan(), torch.inf, violation), intercept
