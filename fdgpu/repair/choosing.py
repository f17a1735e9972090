"""Which examples to add or to keep: the hardest of a pool, or all that are predicted to fail (paper, 2.3, A.2, A.5)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.repair.decisions import check_classes, check_labels, check_values


def hardest(values: Any, labels: Any, k: int, classes: Iterable[int] | None = None) -> NDArray[np.int64]:
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
        InputError: for a class that is empty or has fewer than ``k`` examples with a value, or a ``k`` that is not
            whole.
    """
    column = check_values(values)
    ids = check_labels(labels, len(column))
    if not isinstance(k, Integral) or k < 1:
        raise InputError(f"k is {k!r}: use a whole number of at least 1")
    chosen, without = [], []
    for label in np.unique(ids) if classes is None else check_classes(classes, ids):
        members = np.flatnonzero(ids == label)
        known = members[~np.isnan(column[members])]
        if len(known) == 0:
            without.append(int(label))
            continue
        if len(known) < k:
            raise InputError(f"class {label} has {len(known)} examples in the pool, k is {k}: lower k, or add examples")
        chosen.append(known[np.argsort(column[known], kind="stable")[:k]])
    if without:
        warnings.warn(
            f"{len(without)} classes have no direction, nothing is chosen for them (class ids {without[:10]})",
            FdgpuWarning,
            stacklevel=2,
        )
    return np.concatenate(chosen).astype(np.int64) if chosen else np.empty(0, np.int64)


def predicted_failures(values: Any, labels: Any = None, classes: Iterable[int] | None = None) -> NDArray[np.int64]:
    """Return the indices of all examples with h(x) < 0, the paper's set H (A.2), in their order.

    Args:
        values: (n,) decision values.
        labels: (n,) class ids; needed where ``classes`` is given.
        classes: take these only; any iterable of class ids.

    Raises:
        InputError: for classes without labels, labels that are not one a value, or a class that is empty.
    """
    column = check_values(values)
    flagged = column < 0  # NaN is not
    ids = None if labels is None else check_labels(labels, len(column))
    if classes is not None:
        if ids is None:
            raise InputError("classes was given without labels: pass the class id of every example")
        flagged &= np.isin(ids, check_classes(classes, ids))
    return np.flatnonzero(flagged)
