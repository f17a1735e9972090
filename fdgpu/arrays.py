"""torch, CuPy, NumPy or JAX in; the caller's own kind out, on the caller's device.

The CPU path works on NumPy views: nothing is copied that already lies in host memory with the right dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.errors import InputError

Restore = Callable[[NDArray[Any]], Any]


def to_numpy(array: Any, name: str) -> NDArray[Any]:
    """Return ``array`` as a NumPy array on the host; torch's bfloat16, which NumPy lacks, becomes float32.

    Args:
        array: a torch tensor, a CuPy, JAX or NumPy array, or a (nested) sequence of numbers.
        name: what the caller calls it, for the error message.

    Raises:
        InputError: if it is none of these, or ragged.
    """
    if isinstance(array, torch.Tensor):
        tensor = array.detach().cpu()
        return np.asarray((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy())
    if _module(array) == "cupy":
        return np.asarray(array.get())
    try:
        host: NDArray[Any] = np.asarray(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} cannot be read as an array ({error}): pass a rectangular array") from None
    if host.dtype.kind == "O":
        raise InputError(f"{name} is not numeric: pass a torch, NumPy, CuPy or JAX array")
    return host


def restorer(array: Any) -> Restore:
    """Return the function that turns NumPy results into the kind of ``array``, on its device."""
    if isinstance(array, torch.Tensor):
        device = array.device
        return lambda host: torch.from_numpy(np.ascontiguousarray(host)).to(device)
    if _module(array) == "cupy":
        import cupy

        return lambda host: cupy.asarray(host)
    if _module(array) in ("jax", "jaxlib"):
        import jax

        return lambda host: jax.device_put(host)
    return lambda host: host


def is_array(images: Any) -> bool:
    """Whether something is one CuPy or JAX array, rather than an iterable of things."""
    return _module(images) in ("cupy", "jax", "jaxlib")


def _module(array: Any) -> str:
    return type(array).__module__.partition(".")[0]


def finite_rows(array: NDArray[Any], name: str, chunk: int = 65536) -> None:
    """Check that every entry is finite, in chunks of rows.

    Raises:
        InputError: names the first row that holds NaN or infinity, and how many rows do.
    """
    bad: list[int] = []
    for start in range(0, len(array), chunk):
        rows = np.isfinite(array[start : start + chunk]).all(axis=1)
        if not rows.all():
            bad += (start + np.flatnonzero(~rows)).tolist()
    if bad:
        raise InputError(
            f"{name} holds NaN or infinity in {len(bad)} of {len(array)} rows, the first is row {bad[0]}: "
            "drop these rows, or see why the model that made them overflowed"
        )
