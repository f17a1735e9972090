"""From decision values to what is done about them: which samples are added or kept, and how much each weighs.

A value h(x) < 0 is hard, and NaN belongs to a class without a direction (paper, 2.3, A.2, A.5, B.1.2).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import Array, to_host, to_numpy, to_torch
from fdgpu.checks import check_number, check_whole
from fdgpu.errors import FdgpuWarning, InputError

LARGEST_WEIGHT = float(np.finfo(np.float32).max)


def hardest(values: Array, labels: Array, k: int, classes: Iterable[int] | None = None) -> NDArray[np.int64]:
    """Choose the ``k`` lowest values of each class from a pool, the paper's filtering intervention (2.3, A.5).

    Args:
        values: (n,) decision values of the pool, or any other hardness of which lower is harder, such as confidence.
        labels: (n,) class ids.
        k: how many of each class, a whole number.
        classes: those to choose from, each once; by default all that are in ``labels``.

    Returns:
        (k · classes,) indices into the pool, class by class, the hardest first; of equal values the earlier. A class
        without a direction, all NaN, gives none, and a warning names it.

    Raises:
        InputError: for a class that is empty or has fewer than ``k`` samples with a value, or a ``k`` that is not
            whole.

    Example:
        >>> hardest([0.3, -1.2, -0.1, 0.8], [0, 0, 1, 1], k=1)
        array([1, 2])
    """
    column = _values(values)
    ids = _class_ids(labels, len(column))
    k = check_whole(k, "k", 1)
    chosen, without = [], []
    for label in np.unique(ids) if classes is None else _distinct(classes, ids):
        members = np.flatnonzero(ids == label)
        known = members[~np.isnan(column[members])]
        if len(known) == 0:
            without.append(int(label))
            continue
        if len(known) < k:
            raise InputError(f"class {label} has {len(known)} samples in the pool, k is {k}: lower k, or add samples")
        chosen.append(known[np.argsort(column[known], kind="stable")[:k]])
    if without:
        warnings.warn(
            f"{len(without)} classes have no direction, nothing is chosen for them (class ids {without[:10]})",
            FdgpuWarning,
            stacklevel=2,
        )
    return np.concatenate(chosen).astype(np.int64) if chosen else np.empty(0, np.int64)


def predicted_failures(values: Array, labels: Array = None, classes: Iterable[int] | None = None) -> NDArray[np.int64]:
    """Return the indices of all samples with h(x) < 0, the paper's set H (A.2), in their order.

    Args:
        values: (n,) decision values.
        labels: (n,) class ids; needed where ``classes`` is given.
        classes: take these only; any iterable of class ids.

    Raises:
        InputError: for classes without labels, labels that are not one a value, or a class that is empty.

    Example:
        >>> predicted_failures([0.3, -1.2, -0.1, 0.8])
        array([1, 2])
    """
    column = _values(values)
    flagged = column < 0  # NaN is not
    ids = None if labels is None else _class_ids(labels, len(column))
    if classes is not None:
        if ids is None:
            raise InputError("classes was given without labels: pass the class id of every sample")
        flagged &= np.isin(ids, _distinct(classes, ids))
    return np.flatnonzero(flagged)


def up_weights(values: Array, factor: float = 2.0) -> NDArray[np.float32]:
    """Return (n,) ``factor`` where h(x) < 0 and 1 elsewhere, the paper's h·1(x ∈ H) + 1(x ∉ H).

    Args:
        values: (n,) decision values of the training images; NaN, of a class without a direction, weighs 1.
        factor: weight of what is predicted to fail; the paper doubles.

    Raises:
        InputError: if the factor is negative or above what float32 holds, or leaves no weight at all.

    Example:
        >>> up_weights([0.3, -1.2, -0.1])
        array([1., 2., 2.], dtype=float32)
    """
    column = _values(values)
    return _as_weights(np.where(column < 0, _factor(factor), 1.0))


def soft_up_weights(values: Array, factor: float = 2.0, width: float | None = None) -> NDArray[np.float32]:
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

    Example:
        >>> soft_up_weights([5.0, 0.0, -5.0], width=1.0).round(2)
        array([1.01, 1.5 , 1.99], dtype=float32)
    """
    column, top = _values(values), _factor(factor)
    known = ~np.isnan(column)
    if width is None:
        width = float(np.median(np.abs(column[known]))) if known.any() else 1.0
        width = width or 1.0  # most values are zero: any width will do
    width = check_number(width, "width", lambda value: value > 0, "a decision value above 0")
    share = np.zeros(len(column))
    share[known] = 0.5 * (1 - np.tanh(column[known] / width / 2))  # the logistic function, without overflow
    return _as_weights(1 + (top - 1) * share)


def _factor(factor: float) -> float:
    wanted = f"a number of 0 or more, up to {LARGEST_WEIGHT:.0e}; the paper takes 2"
    return check_number(factor, "factor", lambda number: 0 <= number <= LARGEST_WEIGHT, wanted)


def _as_weights(weights: NDArray[np.float64]) -> NDArray[np.float32]:
    narrow = weights.astype(np.float32)
    if not narrow.any():
        raise InputError("weights sum to zero: every sample is predicted to fail and factor is 0; use a factor above 0")
    return narrow


def _values(values: Array) -> NDArray[np.float64]:
    """Return (n,) decision values; they are numbers, at least one, and none is infinite."""
    column = to_host(to_torch(values, "values").double(), "values")
    if column.ndim != 1 or len(column) == 0:
        raise InputError(f"values has shape {column.shape}: pass one decision value a sample, (n,) with n > 0")
    if np.isinf(column).any():
        raise InputError(f"values holds infinity, the first at {int(np.isinf(column).argmax())}: see what made it")
    return column


def _class_ids(labels: Array, n: int) -> NDArray[np.int64]:
    """Return (n,) class ids, integers."""
    column = to_numpy(labels, "labels")
    if column.shape != (n,):
        raise InputError(f"labels has shape {column.shape}, values has {n} entries: pass one class id a value")
    if column.dtype.kind not in "iu":
        raise InputError(f"labels is of type {column.dtype}: pass integer class ids")
    return column.astype(np.int64)


def _distinct(classes: Iterable[int], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes, each once, in the order in which they were given; every one occurs in ``ids`` (n,)."""
    if not isinstance(classes, Iterable):
        raise InputError(f"classes is {classes!r}: pass several class ids, such as [{classes}]")
    column = to_numpy(classes if hasattr(classes, "dtype") else list(classes), "classes")
    if column.ndim != 1 or (len(column) and column.dtype.kind not in "iu"):
        raise InputError(f"classes is of type {column.dtype} and shape {column.shape}: pass (k,) integer class ids")
    once = np.array(list(dict.fromkeys(column.tolist())), np.int64)
    absent = once[~np.isin(once, ids)]
    if len(absent):
        raise InputError(f"class {absent[0]} is empty: the pool has no sample of it; leave it out of classes")
    return once
