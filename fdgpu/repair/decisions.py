"""Decision values as interventions take them: h(x) < 0 is hard, NaN where a class has no direction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import doubles, to_numpy, to_torch
from fdgpu.errors import InputError


def check_values(values: Any) -> NDArray[np.float64]:
    """Return (n,) decision values.

    Raises:
        InputError: if there are none, they are not numbers, or one is infinite.
    """
    column = doubles(to_torch(values, "values"))
    if column.ndim != 1 or len(column) == 0:
        raise InputError(f"values has shape {column.shape}: pass one decision value an example, (n,) with n > 0")
    if np.isinf(column).any():
        raise InputError(f"values holds infinity, the first at {int(np.isinf(column).argmax())}: see what made it")
    return column


def check_labels(labels: Any, n: int) -> NDArray[np.int64]:
    """Return (n,) class ids.

    Raises:
        InputError: if they are not n integers.
    """
    column = to_numpy(labels, "labels")
    if column.shape != (n,):
        raise InputError(f"labels has shape {column.shape}, values has {n} entries: pass one class id a value")
    if column.dtype.kind not in "iu":
        raise InputError(f"labels is of type {column.dtype}: pass integer class ids")
    return column.astype(np.int64)


def check_classes(classes: Iterable[int], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the classes, each once, in the order in which they were given.

    Args:
        classes: class ids: a sequence, an array, a set, or any other iterable.
        ids: (n,) class ids of the examples.

    Raises:
        InputError: if they are not integers, or no example has one of them.
    """
    if not isinstance(classes, Iterable):
        raise InputError(f"classes is {classes!r}: pass several class ids, such as [{classes}]")
    column = to_numpy(classes if hasattr(classes, "dtype") else list(classes), "classes")
    if column.ndim != 1 or (len(column) and column.dtype.kind not in "iu"):
        raise InputError(f"classes is of type {column.dtype} and shape {column.shape}: pass (k,) integer class ids")
    once = np.array(list(dict.fromkeys(column.tolist())), np.int64)
    absent = once[~np.isin(once, ids)]
    if len(absent):
        raise InputError(f"class {absent[0]} is empty: the pool has no example of it; leave it out of classes")
    return once
