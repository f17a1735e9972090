"""What the batched solvers take and give back, its checks, and the same in plain torch.

Labels are a label matrix (P, N): each row is a labelling of the samples of all classes, and so a problem for each class
at once. The kernels that solve them are :mod:`fdgpu.kernels.smo_triton`'s; this file runs anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

SMALLEST_TOL = 1e-5  # below it the rounding of a float32 residual decides
MOST_FOLDS = 127  # a fold is one byte
MOST_STEPS = 2**31 - 1  # counted in 32 bits
LARGEST_CLASS = 8192  # samples of one class that one program holds
FLAT = 1e-12  # curvature of a pair of equal samples, as in libsvm
ROUNDING = 1e-9  # of its bound, at which the twin takes an alpha for one at its bound


@dataclass(frozen=True)
class GramBatch:
    """Gram matrices of K classes, one behind the other; N samples in all.

    Attributes:
        grams: flat float32; matrix k is the row-major n_k x n_k elements from ``gram_starts[k]`` on.
        gram_starts: (K,) or longer, int64.
        starts: (K + 1,) int64; the samples of class k are ``starts[k]`` to ``starts[k + 1]`` of N.
        sizes: n_k on the host, so that a launch need not ask the device.
    """

    grams: torch.Tensor
    gram_starts: torch.Tensor
    starts: torch.Tensor
    sizes: list[int]

    @cached_property
    def diagonal(self) -> torch.Tensor:
        """(N,) diagonals of the matrices, one behind the other, where a step reads them without gaps."""
        device, n = self.grams.device, sum(self.sizes)
        counts = self.starts[: len(self.sizes) + 1].diff()
        classes = torch.arange(len(self.sizes), device=device)
        k = torch.repeat_interleave(classes, counts, output_size=n)  # a known size, so that nothing is waited for
        within = torch.arange(n, device=device) - self.starts[k]
        return self.grams[self.gram_starts[k] + within * (counts[k] + 1)]


class Solutions(NamedTuple):
    """One solution a labelling and class; NaN (and -1 in ``n_iter``) where none was asked for, or a label is missing.

    A solver of a single class leaves K out: (P,) for (P, K).
    """

    a: torch.Tensor  # (P, N) dual, y·alpha
    decisions: torch.Tensor  # (P, N) w·x + b of every sample of the class
    intercept: torch.Tensor  # (P, K)
    violation: torch.Tensor  # (P, K) above tol where max_iter ended the last C
    n_iter: torch.Tensor  # (P, K) steps at the last C

    @classmethod
    def empty(
        cls, labels: torch.Tensor, problems: tuple[int, ...], dtype: torch.dtype, steps: torch.dtype = torch.int32
    ) -> Solutions:
        """Make room for the solutions of (P, N) ``labels``, ``problems`` being (P, K) or (P,), with nothing solved."""
        device = labels.device
        return cls(
            torch.full(labels.shape, torch.nan, dtype=dtype, device=device),
            torch.full(labels.shape, torch.nan, dtype=dtype, device=device),
            torch.full(problems, torch.nan, dtype=dtype, device=device),
            torch.full(problems, torch.nan, dtype=dtype, device=device),
            torch.full(problems, -1, dtype=steps, device=device),
        )


# --- checks ---------------------------------------------------------------------------------------------------------


def check_problem(batch: GramBatch, labels: torch.Tensor, costs: torch.Tensor, tol: float, max_iter: int) -> None:
    """Raise a ValueError unless this is a batch of problems that the kernels solve."""
    if max(batch.sizes, default=0) > LARGEST_CLASS:
        raise ValueError(
            f"a class has {max(batch.sizes)} samples: one program holds at most {LARGEST_CLASS}; "
            "solve it with backend='cuml' or backend='numba'"
        )
    if not tol >= SMALLEST_TOL:
        raise ValueError(
            f"tol is {tol}: the GPU solver's residuals are float32, pass {SMALLEST_TOL} or more, or backend='numba'"
        )
    if not 1 <= max_iter <= MOST_STEPS:
        raise ValueError(f"max_iter is {max_iter}: pass 1 to {MOST_STEPS} steps")
    for name, tensor, dtype, least in (
        ("grams", batch.grams, torch.float32, sum(n * n for n in batch.sizes)),
        ("gram_starts", batch.gram_starts, torch.int64, len(batch.sizes)),
        ("starts", batch.starts, torch.int64, len(batch.sizes) + 1),
        ("costs", costs, torch.float32, 1),
    ):
        if tensor.dtype != dtype or tensor.ndim != 1 or len(tensor) < least:
            raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}: pass ({least},) {dtype}, or longer")
        if not tensor.is_contiguous():
            raise ValueError(f"{name} has stride {tensor.stride()}: pass it contiguous")
        _check_device(name, tensor, labels)
    if labels.dtype != torch.int8 or labels.ndim != 2 or labels.shape[1] != sum(batch.sizes):
        raise ValueError(
            f"labels is {labels.dtype} {tuple(labels.shape)}: pass (P, {sum(batch.sizes)}) int8, "
            "a labelling a row, a sample of the classes a column"
        )


def check_folds(folds: torch.Tensor, cv: int, labels: torch.Tensor) -> None:
    """Raise a ValueError unless ``folds`` has a fold for each of ``labels``, and ``cv`` fits into its type."""
    if folds.dtype != torch.int8 or folds.shape != labels.shape:
        raise ValueError(f"folds is {folds.dtype} {tuple(folds.shape)}: pass {tuple(labels.shape)} int8, as labels")
    if not 2 <= cv <= MOST_FOLDS:
        raise ValueError(f"cv is {cv}: pass 2 to {MOST_FOLDS} folds")
    _check_device("folds", folds, labels)


def check_indices(C_index: torch.Tensor, labels: torch.Tensor, batch: GramBatch) -> None:
    """Raise a ValueError unless ``C_index`` has an index for each labelling and class."""
    shape = (len(labels), len(batch.sizes))
    if C_index.dtype != torch.int32 or C_index.shape != shape:
        raise ValueError(
            f"C_index is {C_index.dtype} {tuple(C_index.shape)}: pass {shape} int32, the index of a C for each "
            "labelling and class"
        )
    _check_device("C_index", C_index, labels)


def classes_asked(batch: GramBatch, classes: Sequence[int] | None) -> list[int]:
    """Return the classes that are not empty among those asked for, or among all if ``classes`` is None."""
    asked = range(len(batch.sizes)) if classes is None else classes
    for k in asked:
        if not 0 <= k < len(batch.sizes):
            raise ValueError(f"classes holds {k}: there are {len(batch.sizes)} classes, from 0")
    return [k for k in asked if batch.sizes[k] > 0]


def _check_device(name: str, tensor: torch.Tensor, labels: torch.Tensor) -> None:
    if tensor.device != labels.device:
        raise ValueError(f"{name} is on {tensor.device}, labels on {labels.device}: put both on one device")


# --- plain twin -----------------------------------------------------------------------------------------------------
# Every problem of every labelling, class, fold and C at once, in torch, on any device. Classes are padded to one size:
# a sample that pads has the label 0, as one that takes no part.


def cross_validate_reference(
    batch: GramBatch,
    labels: torch.Tensor,
    folds: torch.Tensor,
    cv: int,
    costs: torch.Tensor,
    *,
    tol: float,
    max_iter: int,
    classes: Sequence[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do ``cross_validate_labels``'s work, every C by itself, in float64: (P, K, cv, c) and (P, K, cv)."""
    shape = (len(labels), len(batch.sizes), cv, len(costs))
    held = folds[:, None] == torch.arange(cv, device=labels.device)[:, None]  # (P, cv, N)
    train = torch.where(held, 0, labels[:, None]).repeat_interleave(len(costs), dim=1).flatten(0, 1)  # (P·cv·c, N)
    of_problem = costs.double().repeat(len(labels) * cv)[:, None].expand(-1, len(batch.sizes))
    solved = solve_reference(batch, train, _asked(batch, of_problem, classes), tol, max_iter)
    positive = solved.decisions.unflatten(0, (len(labels), cv, len(costs))) > 0
    recalls = []
    for hit, kind in ((~positive, labels < 0), (positive, labels > 0)):
        of_kind = (held & kind[:, None])[:, :, None]
        recalls.append(_per_class(batch, hit & of_kind) / _per_class(batch, of_kind))  # (P, cv, c, K), 0 / 0 is NaN
    violation = solved.violation.unflatten(0, (len(labels), cv, len(costs)))
    scores = torch.where(violation.isnan(), torch.nan, torch.stack(recalls).mean(dim=0))
    return scores.permute(0, 3, 1, 2).reshape(shape), violation.amax(dim=2).transpose(1, 2)


def fit_reference(
    batch: GramBatch,
    labels: torch.Tensor,
    C_index: torch.Tensor,
    costs: torch.Tensor,
    *,
    tol: float,
    max_iter: int,
    classes: Sequence[int] | None = None,
) -> Solutions:
    """Do ``fit_labels``'s work at each C by itself, in float64."""
    chosen = torch.where(C_index >= 0, costs.double()[C_index.clamp(min=0).long()], torch.nan)
    return solve_reference(batch, labels, _asked(batch, chosen, classes), tol, max_iter)


def solve_reference(
    batch: GramBatch, labels: torch.Tensor, costs: torch.Tensor, tol: float, max_iter: int
) -> Solutions:
    """Solve each labelling (P, N) and class with its own C (P, K), NaN for none: the method read off its formulas.

    All alphas start at their bounds. What a sum of steps leaves within rounding of a bound is put there in the end:
    taken for free, such a sample would decide b alone.
    """
    columns, at = _padding(batch)
    y = torch.nn.functional.pad(labels, (0, 1))[:, columns].double()  # (P, K, n)
    grams = _padded_grams(batch)
    right, wrong = ((y * sign > 0).sum(dim=-1, keepdim=True) for sign in (1, -1))
    solvable = ((right > 0) & (wrong > 0))[..., 0] & ~costs.isnan()
    weights = y.abs() * (right + wrong) / (2.0 * torch.where(y > 0, right, wrong).clamp(min=1))
    bound = torch.where(solvable, costs, 0.0)[..., None] * weights
    lower, upper = (-bound).where(y < 0, 0.0), bound.where(y > 0, 0.0)
    of_class = torch.arange(len(batch.sizes), device=y.device).expand(costs.shape)
    a = lower + upper
    v = y - _products(grams, a)
    n_iter = torch.zeros(costs.shape, dtype=torch.int32, device=y.device)
    for _ in range(max_iter):
        top, i = v.where(a < upper, -torch.inf).max(dim=-1)
        bottom = v.where(a > lower, torch.inf).amin(dim=-1)
        moving = solvable & (top - bottom > tol)
        if not moving.any():
            break
        row_i, diagonal = grams[of_class, i], grams.diagonal(dim1=1, dim2=2)
        curvature = (_at(diagonal.expand(a.shape), i)[..., None] + diagonal - 2 * row_i).clamp(min=FLAT)
        fall = (top[..., None] - v).clamp(min=0)
        j = (fall**2 / curvature).where(a > lower, -1.0).argmax(dim=-1)
        room_i, room_j = _at(upper - a, i), _at(a - lower, j)
        step = torch.minimum(_at(fall / curvature, j), torch.minimum(room_i, room_j)).where(moving, 0.0)
        put = moving[..., None]
        a_i = torch.where(step == room_i, _at(upper, i), _at(a, i) + step)[..., None]
        a_j = torch.where(step == room_j, _at(lower, j), _at(a, j) - step)[..., None]
        a = torch.where(put, a.scatter(-1, i[..., None], a_i).scatter(-1, j[..., None], a_j), a)
        v = v - step[..., None] * (row_i - grams[of_class, j])
        n_iter += moving
    a = torch.where(a.abs() > (1 - ROUNDING) * bound, y * bound, a.where(a.abs() > ROUNDING * bound, 0.0))
    g = _products(grams, a)
    v, may_rise, may_fall = y - g, a < upper, a > lower
    top, bottom = v.where(may_rise, -torch.inf).amax(dim=-1), v.where(may_fall, torch.inf).amin(dim=-1)
    free = may_rise & may_fall
    mean = v.where(free, 0.0).sum(dim=-1) / free.sum(dim=-1).clamp(min=1)
    intercept = torch.where(free.any(dim=-1), mean, (top + bottom) / 2)
    nothing = ~solvable
    return Solutions(
        a.masked_fill(nothing[..., None], torch.nan).flatten(1)[:, at],
        (g + intercept[..., None]).masked_fill(nothing[..., None], torch.nan).flatten(1)[:, at],
        intercept.masked_fill(nothing, torch.nan),
        (top - bottom).masked_fill(nothing, torch.nan),
        n_iter.masked_fill(nothing, -1),
    )


def _asked(batch: GramBatch, costs: torch.Tensor, classes: Sequence[int] | None) -> torch.Tensor:
    """Return ``costs`` (P, K) with NaN for the classes that were not asked for."""
    asked = torch.zeros(len(batch.sizes), dtype=torch.bool, device=costs.device)
    asked[classes_asked(batch, classes)] = True
    return torch.where(asked, costs, torch.nan)


def _padding(batch: GramBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sample (K, n) of each padded place, N where there is none, and the place (N,) of each sample."""
    device, total, largest = batch.grams.device, sum(batch.sizes), max(batch.sizes, default=0)
    within, counts = torch.arange(largest, device=device), torch.tensor(batch.sizes, device=device)[:, None]
    columns = torch.where(within < counts, batch.starts[: len(counts), None] + within, total)
    place = torch.zeros(total + 1, dtype=torch.int64, device=device)
    place[columns.flatten()] = torch.arange(columns.numel(), device=device)
    return columns, place[:-1]


def _padded_grams(batch: GramBatch) -> torch.Tensor:
    largest = max(batch.sizes, default=0)
    padded = torch.zeros((len(batch.sizes), largest, largest), dtype=torch.float64, device=batch.grams.device)
    for own, n, start in zip(padded, batch.sizes, batch.gram_starts.tolist(), strict=False):
        own[:n, :n] = batch.grams[start : start + n * n].view(n, n)
    return padded


def _products(grams: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    return torch.einsum("pki,kij->pkj", a, grams)


def _at(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return values.gather(-1, index[..., None])[..., 0]


def _per_class(batch: GramBatch, chosen: torch.Tensor) -> torch.Tensor:
    """Count the True of (…, N) in each class: (…, K) float64."""
    columns, _ = _padding(batch)
    return torch.nn.functional.pad(chosen, (0, 1))[..., columns].sum(dim=-1).double()
