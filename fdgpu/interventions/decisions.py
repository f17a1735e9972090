"""Decision values as interventions take them: h(x) < 0 is hard, NaN where a class has no direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.arrays import to_numpy
from fdgpu.errors import InputError


def check_values(values: Any) -> NDArray[np.float64]:
    """Return (n,) decision values.

    Raises:
        InputError: if there are none, or one is infinite.
    """
    column = to_numpy(values, "values").astype(np.float64)
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
