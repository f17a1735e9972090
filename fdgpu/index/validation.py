"""What an index accepts, checked before anything is stored or searched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import finite_rows, to_torch
from fdgpu.errors import InputError

MOST_ON_GPU = 2048  # neighbours
UNIT = 1e-2  # from length 1; rounding to bfloat16 moves the length of a unit vector by up to 4e-3


def check_rows(array: Any, name: str, dimension: int | None) -> torch.Tensor:
    """Return float rows (n, d) where they lie, all of them finite."""
    rows = to_torch(array, name)
    if rows.ndim != 2:
        raise InputError(f"{name} has shape {tuple(rows.shape)}: pass one vector a row, (n, d)")
    if rows.shape[1] == 0:
        raise InputError(f"{name} has shape {tuple(rows.shape)}: the vectors have no dimensions")
    if dimension is not None and rows.shape[1] != dimension:
        raise InputError(
            f"{name} has {rows.shape[1]} columns, the index holds vectors of {dimension}: use the same embedding model"
        )
    if rows.is_complex():
        raise InputError(f"{name} is of type {rows.dtype}: pass floating-point vectors")
    if not rows.is_floating_point():
        rows = rows.float()
    finite_rows(rows, name)
    return rows


def check_unit_rows(array: Any, name: str, dimension: int | None) -> torch.Tensor:
    """Return :func:`check_rows`, all of them of length 1."""
    rows = check_rows(array, name, dimension)
    lengths = torch.linalg.vector_norm(rows, dim=1, dtype=torch.promote_types(rows.dtype, torch.float32))
    odd = ((lengths - 1).abs() > UNIT).nonzero()[:, 0]
    if len(odd):
        raise InputError(
            f"{name} holds {len(odd)} of {len(rows)} rows that are not unit vectors, the first is row {int(odd[0])} "
            f"of length {float(lengths[odd[0]]):.3g}: divide each row by its norm"
        )
    return rows


def check_vector(array: Any, name: str, dimension: int | None) -> NDArray[np.float64]:
    """Return one finite vector (d,) on the host; (1, d) is taken as well."""
    rows = check_rows(torch.atleast_2d(to_torch(array, name)), name, dimension)
    if len(rows) != 1:
        raise InputError(f"{name} has {len(rows)} rows: pass one vector, ({rows.shape[1]},)")
    return np.asarray(rows[0].double().cpu().numpy())


def check_scale(array: Any, dimension: int | None) -> NDArray[np.float64]:
    """Return a whitening's deviations (d,), all of them above zero."""
    scale = check_vector(array, "scale", dimension)
    if (scale <= 0).any():
        place = int(np.flatnonzero(scale <= 0)[0])
        raise InputError(
            f"scale holds {scale[place]:g} at dimension {place}: pass the whitening's deviations, 1 where one is zero"
        )
    return scale


def check_k(k: int, held: int, gpu: bool = False) -> int:
    """Return k, a whole number from 1 to the vectors that are held, and to what FAISS finds on a GPU."""
    if not held:
        raise InputError("the index is empty: add embeddings before searching it")
    if k != int(k) or k < 1:
        raise InputError(f"k is {k}: use a whole number of at least 1")
    if k > held:
        raise InputError(f"k is {k}, the index holds {held} vectors: ask for at most {held}")
    if gpu and k > MOST_ON_GPU:
        raise InputError(f"k is {k}, FAISS finds at most {MOST_ON_GPU} on a GPU: ask for fewer, or use backend='cpu'")
    return int(k)


def check_names(names: Any, what: str) -> Sequence[str]:
    """Return a sequence of strings; only a list or a tuple is gone through, a grammar is not."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        hint = "pass a list, a tuple or a grammar"
        raise InputError(f"{what} is {str(names)[:60]!r}, a {type(names).__name__}: {hint}")
    if isinstance(names, list | tuple):
        odd = next((name for name in names if not isinstance(name, str)), None)
        if odd is not None:
            raise InputError(f"{what} holds {odd!r}, a {type(odd).__name__}: pass strings")
    return names


def host_rows(rows: torch.Tensor) -> NDArray[np.float32]:
    """Return rows as FAISS reads them: float32, on the host, row by row."""
    return np.ascontiguousarray(rows.to("cpu", torch.float32).numpy())
