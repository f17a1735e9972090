"""What the batched solvers take and give back, its checks, and the same in plain float64.

Labels are a label matrix (P, N): each row is a labelling of the samples of all classes, and so a problem for each class
at once. The kernels that solve them are :mod:`fdgpu.kernels.smo_triton`'s; this file runs anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from fdgpu.kernels.smo_numba import smo_reference

SMALLEST_TOL = 1e-5  # below it the rounding of a float32 residual decides
MOST_FOLDS = 127  # a fold is one byte
MOST_STEPS = 2**31 - 1  # counted in 32 bits
LARGEST_CLASS = 8192  # samples of one class that one program holds


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


# --- plain references -----------------------------------------------------------------------------------------------


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
    """Do ``cross_validate_labels``'s work problem by problem, every C from zero, in float64 on the CPU."""
    n_labellings, n_classes = len(labels), len(batch.sizes)
    scores = torch.full((n_labellings, n_classes, cv, len(costs)), torch.nan, dtype=torch.float64)
    violation = torch.full((n_labellings, n_classes, cv), torch.nan, dtype=torch.float64)
    for k, p, of_class, gram in _problems(batch, labels, classes):
        y, fold_of = labels[p, of_class].cpu().numpy(), folds[p, of_class].cpu().numpy()
        for fold in range(cv):
            held = (y != 0) & (fold_of == fold)
            path = [solve_reference(gram, y * (fold_of != fold), float(cost), tol, max_iter) for cost in costs]
            violation[p, k, fold] = max(gap for _, _, _, gap in path)
            for c, (_, decisions, _, gap) in enumerate(path):
                hits = (decisions > 0) == (y > 0)
                kinds = [held & (y < 0), held & (y > 0)]
                if not np.isnan(gap) and all(kind.any() for kind in kinds):
                    scores[p, k, fold, c] = float(np.mean([hits[kind].mean() for kind in kinds]))
    return scores, violation


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
    """Do ``fit_labels``'s work problem by problem, from zero, in float64 on the CPU; steps are not counted."""
    found = Solutions.empty(labels.cpu(), C_index.shape, torch.float64)
    for k, p, of_class, gram in _problems(batch, labels, classes):
        index = int(C_index[p, k])
        if index >= 0:
            y = labels[p, of_class].cpu().numpy()
            a, decisions, intercept, gap = solve_reference(gram, y, float(costs[index]), tol, max_iter)
            found.a[p, of_class], found.decisions[p, of_class] = torch.from_numpy(a), torch.from_numpy(decisions)
            found.intercept[p, k], found.violation[p, k] = intercept, gap
    return found


def _problems(
    batch: GramBatch, labels: torch.Tensor, classes: Sequence[int] | None
) -> Iterator[tuple[int, int, slice, np.ndarray]]:
    """Yield (class, labelling, its columns, its float64 Gram matrix)."""
    for k in classes_asked(batch, classes):
        n, start, of_gram = batch.sizes[k], int(batch.starts[k]), int(batch.gram_starts[k])
        gram = batch.grams[of_gram : of_gram + n * n].view(n, n).to("cpu", torch.float64).numpy()
        yield from ((k, p, slice(start, start + n), gram) for p in range(len(labels)))


def solve_reference(
    gram: np.ndarray, y: np.ndarray, cost: float, tol: float, max_iter: int
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """(a, decision values, intercept, KKT violation) of the samples whose y is not 0; NaN if a kind is missing."""
    right, wrong = (y > 0).sum(), (y < 0).sum()
    if not right or not wrong:
        nothing = np.full(len(y), np.nan)
        return nothing, nothing, np.nan, np.nan
    train = np.flatnonzero(y)
    weights = (right + wrong) / (2.0 * np.where(y[train] > 0, right, wrong))
    own, intercept = smo_reference(
        gram[np.ix_(train, train)], y[train].astype(np.float64), weights, cost, tol=tol, max_iter=max_iter
    )
    a = np.zeros(len(y))
    a[train] = own
    g = gram @ a
    v = (y - g)[train]
    may_rise = own < np.where(y[train] > 0, cost * weights, 0)
    may_fall = own > np.where(y[train] > 0, 0, -cost * weights)
    return a, g + intercept, intercept, float(v[may_rise].max() - v[may_fall].min())
