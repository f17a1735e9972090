"""What ``FailureDirections`` accepts, checked in one place before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import finite_rows, to_numpy, to_torch
from fdgpu.errors import InputError


@dataclass(frozen=True)
class FitInput:
    """Checked arguments of ``fit``: embeddings where they lie, labels on the host.

    ``reference`` is the embeddings where none was given.
    """

    embeddings: torch.Tensor
    labels: NDArray[np.int64]
    correct: NDArray[np.bool_]
    reference: torch.Tensor


def check_costs(Cs: Sequence[float]) -> tuple[float, ...]:
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


def check_embeddings(array: Any, name: str, columns: int | None = None) -> torch.Tensor:
    """Return float rows (n, d) where they lie, all of them finite."""
    rows = to_torch(array, name)
    if rows.ndim != 2:
        raise InputError(f"{name} has shape {tuple(rows.shape)}: pass one row per image, (n, d)")
    if columns is not None and rows.shape[1] != columns:
        raise InputError(f"{name} has {rows.shape[1]} columns, expected {columns}: use the same embedding model")
    if rows.is_complex():
        raise InputError(f"{name} is of type {rows.dtype}: pass floating-point embeddings")
    if not rows.is_floating_point():
        rows = rows.float()
    finite_rows(rows, name)
    return rows


def check_labels(array: Any, rows: int) -> NDArray[np.int64]:
    """Return (n,) integer class ids, one for each of ``rows`` rows."""
    labels = _column(array, "labels", rows)
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels is of type {labels.dtype}: pass integer class ids")
    return labels.astype(np.int64, copy=False)


def check_correct(array: Any, rows: int) -> NDArray[np.bool_]:
    """Return (n,) bool; 0 and 1 are taken, anything else is not, so that -1/+1 cannot pass for True/True."""
    correct = _column(array, "correct", rows)
    if correct.dtype.kind == "b":
        return correct
    if not np.isin(correct, (0, 1)).all():
        odd = correct[~np.isin(correct, (0, 1))][0]
        raise InputError(f"correct holds {odd}: pass True where the model was right and False where it was wrong")
    return correct.astype(bool)


def check_fit_input(embeddings: Any, labels: Any, correct: Any, reference: Any) -> FitInput:
    """Check everything ``fit`` is given.

    Raises:
        InputError: names the argument, what was expected, what came and the remedy.
    """
    rows = check_embeddings(embeddings, "embeddings")
    if len(rows) == 0 or rows.shape[1] == 0:
        raise InputError(f"embeddings has shape {tuple(rows.shape)}: there is nothing to fit")
    whitener = rows if reference is None else check_embeddings(reference, "reference", rows.shape[1])
    return FitInput(rows, check_labels(labels, len(rows)), check_correct(correct, len(rows)), whitener)


def _column(array: Any, name: str, rows: int) -> NDArray[Any]:
    column = to_numpy(array, name)
    if column.ndim != 1:
        raise InputError(f"{name} has shape {column.shape}: pass one entry a row, ({rows},)")
    if len(column) != rows:
        raise InputError(
            f"{name} has {len(column)} entries, embeddings has {rows} rows: pass one {name.rstrip('s')} a row"
        )
    return column
