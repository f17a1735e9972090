"""Weights of examples' losses: up-weighting what is predicted to fail (paper, A.2, B.1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.errors import InputError
from fdgpu.repair.decisions import check_values

LARGEST = float(np.finfo(np.float32).max)  # weights are float32


def up_weights(values: Any, factor: float = 2.0) -> NDArray[np.float32]:
    """Return (n,) ``factor`` where h(x) < 0 and 1 elsewhere, the paper's h·1(x ∈ H) + 1(x ∉ H).

    Args:
        values: (n,) decision values of the training images; NaN, of a class without a direction, weighs 1.
        factor: weight of what is predicted to fail; the paper doubles.

    Raises:
        InputError: if the factor is negative or above what float32 holds, or leaves no weight at all.
    """
    column = check_values(values)
    return _as_weights(np.where(column < 0, _checked(factor), 1.0))


def soft_up_weights(values: Any, factor: float = 2.0, width: float | None = None) -> NDArray[np.float32]:
    """Return (n,) weights that pass smoothly from 1 (easy) to ``factor`` (hard): 1 + (factor − 1) · σ(−h / width).

    A value just below zero then counts hardly more than one just above. At h = 0 the weight is half-way; as the width
    goes to zero the weights become those of :func:`up_weights`.

    Args:
        values: (n,) decision values; NaN weighs 1.
        factor: weight of the hardest.
        width: decision value over which the weight changes; by default the median of |h|.

    Raises:
        InputError: if the factor is negative or above what float32 holds, no weight is left at all, or the width is not
            above 0.
    """
    column, top = check_values(values), _checked(factor)
    known = ~np.isnan(column)
    if width is None:
        width = float(np.median(np.abs(column[known]))) if known.any() else 1.0
        width = width or 1.0  # most values are zero: any width will do
    if not (np.isfinite(width) and width > 0):
        raise InputError(f"width is {width}: use a decision value above 0")
    share = np.zeros(len(column))
    share[known] = 0.5 * (1 - np.tanh(column[known] / width / 2))  # the logistic function, without overflow
    return _as_weights(1 + (top - 1) * share)


def _checked(factor: float) -> float:
    try:
        number = float(factor)
    except (TypeError, ValueError):
        raise InputError(f"factor is {factor!r}: use a number; the paper takes 2") from None
    if not 0 <= number <= LARGEST:
        raise InputError(f"factor is {factor}: use 0 or more, up to {LARGEST:.0e}; the paper takes 2")
    return number


def _as_weights(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    narrow = weights.astype(np.float32)
    if not narrow.any():
        raise InputError(
            "weights sum to zero: every example is predicted to fail and factor is 0; use a factor above 0"
        )
    return narrow
