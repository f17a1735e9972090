"""torch, CuPy, NumPy or JAX in; the caller's own kind out, on the caller's device.

Embeddings become torch tensors where they lie, through DLPack or as a view of NumPy's memory. Nothing is copied, and
nothing that is on a device comes down to the host but through :func:`to_host`, which says why and is counted. Labels
and results are small, and are NumPy arrays.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
from numpy.typing import NDArray

from fdgpu.errors import InputError

Array = Any  # a torch tensor, a NumPy, CuPy or JAX array, or nested sequences of numbers
Host = NDArray[Any]
Restore = Callable[[Array], Array]
Parts = Callable[[], Iterable[torch.Tensor]]  # reads rows (n, d) once more, some at a time
ROWS_AT_ONCE = 65536  # of a check, so that its temporaries stay small
NUMBERS = {torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool, torch.uint8, torch.int8}
NUMBERS |= {torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64}
TORCH_KINDS = {"f": (2, 4, 8), "i": (1, 2, 4, 8), "u": (1, 2, 4, 8), "b": (1,)}  # bytes of NumPy's kinds


def to_numpy(array: Array, name: str) -> Host:
    """Return ``array`` as a NumPy array on the host; torch's bfloat16, which NumPy lacks, becomes float32.

    Args:
        array: a torch tensor, a CuPy, JAX or NumPy array, a pandas column, or a (nested) sequence of numbers.
        name: what the caller calls it, for the error message.

    Raises:
        InputError: if it is none of these, ragged, or lacks entries: masked, or missing in a pandas column.
    """
    if isinstance(array, torch.Tensor):
        return to_host(_dense(array, name), name)
    if _module(array) == "cupy":
        return to_host(_over_dlpack(array, name), name)
    if _module(array) == "scipy":
        raise InputError(f"{name} is sparse: pass a dense array, {name}.toarray()")
    if isinstance(array, np.ma.MaskedArray):
        missing = int(np.ma.getmaskarray(array).sum())
        if missing:
            raise InputError(f"{name} has {missing} masked entries: fill them, or leave their rows out")
        array = array.data
    try:
        host: Host = np.asarray(array)
        if host.dtype.kind == "O":
            host = np.asarray(host.tolist())  # a pandas column of numbers or names may be of Python's own objects
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InputError(f"{name} cannot be read as an array ({error}): pass a rectangular array") from None
    if host.dtype.kind == "O":
        missing = host.ndim and sum(entry is None or type(entry).__name__ == "NAType" for entry in host.flat)
        what = f"has {missing} missing entries" if missing else "is not numeric"
        raise InputError(f"{name} {what}: pass a torch, NumPy, CuPy or JAX array of numbers")
    if host.dtype.kind == "V":
        raise InputError(f"{name} is of type {str(host.dtype)[:60]}, which has fields: pass one of them")
    return host


def to_torch(array: Array, name: str) -> torch.Tensor:
    """Return ``array`` as a tensor on the device where it lies, sharing its memory where that is possible.

    Args:
        array: a torch tensor, a CuPy, JAX or NumPy array, or a (nested) sequence of numbers.
        name: what the caller calls it, for the error message.

    Raises:
        InputError: if it is none of these, ragged, or of a type that torch does not have or that is no real number.
    """
    if isinstance(array, torch.Tensor):
        return _dense(array, name)
    if is_array(array) and hasattr(array, "__dlpack__"):
        return _dense(_over_dlpack(array, name), name)
    host = to_numpy(array, name)
    if host.dtype.itemsize not in TORCH_KINDS.get(host.dtype.kind, ()):
        raise InputError(
            f"{name} is of type {host.dtype}: pass a floating-point array, such as float32, or integers for class ids"
        )
    host = host.astype(host.dtype.newbyteorder("="), copy=False)
    if any(stride < 0 or stride % host.itemsize for stride in host.strides):
        host = np.ascontiguousarray(host)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes to it
        return torch.from_numpy(host)


def _dense(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """Return a tensor without its history; one whose memory does not hold its numbers one by one is refused."""
    if tensor.is_meta:
        raise InputError(f"{name} is on the device 'meta', which holds no numbers: pass a tensor that has some")
    if tensor.is_nested or tensor.layout is not torch.strided:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise InputError(f"{name} is a {kind} tensor: pass a dense one, {name}.to_dense() or to_padded_tensor(0.0)")
    if tensor.is_quantized:
        raise InputError(f"{name} is quantized ({tensor.dtype}): pass {name}.dequantize()")
    if tensor.is_complex():
        raise InputError(f"{name} is of type {tensor.dtype}: pass floating-point numbers, such as {name}.real")
    if tensor.dtype not in NUMBERS:
        raise InputError(f"{name} is of type {tensor.dtype}: pass floating-point numbers, such as {name}.float()")
    return tensor.detach().resolve_neg()


def _over_dlpack(array: Array, name: str) -> torch.Tensor:
    try:
        return torch.utils.dlpack.from_dlpack(array)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be shared with torch ({error}): pass an array on one device") from None


def restorer(array: Array) -> Restore:
    """Return the function that turns tensors and NumPy results into the kind of ``array``, on its device.

    JAX gives numbers of its default precision, 32 bits unless ``jax_enable_x64`` is set.
    """
    if isinstance(array, torch.Tensor):
        return partial(_to_torch_on, device=array.device)
    if _module(array) == "cupy":
        return partial(_to_cupy, device=array.device)
    if _module(array) in ("jax", "jaxlib"):
        return partial(_to_jax, device=next(iter(array.devices())))
    return _host


def _to_torch_on(result: Array, device: torch.device) -> torch.Tensor:
    return to_device(_tensor(result), device)


def _to_cupy(result: Array, device: AbstractContextManager[object]) -> Array:
    import cupy

    if _on_cuda(result):
        return cupy.from_dlpack(result)
    with device:  # CuPy allocates on the current device, which need not be the caller's
        return cupy.asarray(_host(result))


def _to_jax(result: Array, device: object) -> Array:
    import jax

    if _on_cuda(result):
        return jax.dlpack.from_dlpack(result)
    host = _host(result)
    there = jax.device_put(host, device)
    if host.dtype.kind in "iu" and not (np.asarray(there) == host).all():
        raise InputError(
            f"integers up to {np.abs(host).max()}, such as class ids, do not fit into JAX's {there.dtype}: set "
            "jax_enable_x64, or number the classes from 0"
        )
    return there


def _on_cuda(result: Array) -> bool:
    return isinstance(result, torch.Tensor) and result.is_cuda


def _tensor(result: Array) -> torch.Tensor:
    return result if isinstance(result, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(result))


def _host(result: Array) -> Host:
    if isinstance(result, torch.Tensor):
        return to_host(result, "a result for a caller whose arrays are on the host")
    return np.asarray(result)


# --- from the host to a device --------------------------------------------------------------------------------------


def to_device(array: torch.Tensor | Host, device: torch.device) -> torch.Tensor:
    """Return a tensor or a NumPy array on ``device``; the host does not wait for what a CUDA device is still doing.

    A plain ``to`` from the host to CUDA waits for all work before it, and so does a tensor built with ``device=``. Out
    of pinned memory the copy only queues, and torch keeps that memory until it is done. Where ``device`` is the host,
    what lies elsewhere comes down by :func:`to_host`.
    """
    tensor = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
    if device.type == "cpu" and tensor.device.type != "cpu":
        return torch.from_numpy(to_host(tensor, "for what is on the host")).to(tensor.dtype)
    if device.type == "cuda" and tensor.device.type == "cpu" and not tensor.is_pinned():
        tensor = torch.empty_like(tensor, pin_memory=True).copy_(tensor)  # dense, whatever the strides were
    return tensor.to(device, non_blocking=True)


def empty_on_host(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return memory on the host to write to, pinned where CUDA runs in this process, as :func:`to_device` wants it."""
    return torch.empty(shape, dtype=dtype, pin_memory=torch.cuda.is_initialized())


# --- from a device to the host --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crossing:
    """One copy from a device to the host, for which the host waited: what it was for, its shape and its bytes."""

    why: str
    shape: tuple[int, ...]
    bytes: int


_counting: list[list[Crossing]] = []  # one list for each count that is open


@contextmanager
def counted_crossings() -> Iterator[list[Crossing]]:
    """Count what comes from a device to the host in a block; tensors that are on the host already cross nothing.

    >>> with counted_crossings() as crossings:
    ...     _ = to_host(torch.ones(3), "an example")
    >>> crossings
    []
    """
    crossings: list[Crossing] = []
    _counting.append(crossings)
    try:
        yield crossings
    finally:
        _counting[:] = [one for one in _counting if one is not crossings]


def to_host(tensor: torch.Tensor, why: str) -> Host:
    """Return a tensor as a NumPy array on the host: the only way down from a device, for which the host waits.

    Args:
        tensor: of any shape; bfloat16, which NumPy lacks, becomes float32.
        why: what the host needs it for, which :func:`counted_crossings` tells.
    """
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    if tensor.device.type != "cpu":
        _count(tensor, why)
    return np.asarray(_down(tensor.detach()).numpy())


def _down(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.cpu()


def coming_down(tensor: torch.Tensor, why: str) -> Callable[[], Host]:
    """Begin a copy to the host beside the work of the device; what is returned waits for it, in any thread.

    The device's queue does not wait either: the copy has a stream of its own.
    """
    if not tensor.is_cuda:
        return lambda: to_host(tensor, why)
    there, copies = tensor.detach(), torch.cuda.Stream(tensor.device)
    copies.wait_stream(torch.cuda.current_stream(tensor.device))
    with torch.cuda.stream(copies):
        held = _beside(there)
    there.record_stream(copies)
    ready = copies.record_event()

    def arrived() -> Host:
        ready.synchronize()
        return to_host(held, why)

    _count(there, why)
    return arrived


def _beside(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _count(tensor: torch.Tensor, why: str) -> None:
    crossing = Crossing(why, tuple(tensor.shape), tensor.numel() * tensor.element_size())
    for crossings in _counting:
        crossings.append(crossing)


def bring_down(why: str, *tensors: torch.Tensor) -> list[NDArray[np.float64]]:
    """Return tensors that are on one device as float64 on the host, in one copy, so that the host waits once."""
    flat = to_host(torch.cat([tensor.reshape(-1).double() for tensor in tensors]), why)
    bounds = np.cumsum([tensor.numel() for tensor in tensors])[:-1]
    return [part.reshape(tensor.shape) for part, tensor in zip(np.split(flat, bounds), tensors, strict=True)]


def is_array(value: object) -> bool:
    """Whether something is one CuPy or JAX array, rather than an iterable of things."""
    return _module(value) in ("cupy", "jax", "jaxlib")


def _module(array: object) -> str:
    return type(array).__module__.partition(".")[0]


def finite_rows(rows: torch.Tensor, name: str) -> None:
    """Check that every entry of ``rows`` (n, d) is finite; where they are, the host waits once, for one byte.

    Raises:
        InputError: names the first row that holds NaN or infinity, and how many rows do.
    """
    finite_blocks(lambda: rows.split(ROWS_AT_ONCE), name)


def finite_blocks(blocks: Parts, name: str) -> None:
    """Check rows that come in blocks, as :func:`finite_rows`; they are read once where all are finite."""
    finite = _finite(blocks, name)
    if finite is not None:
        bad = np.flatnonzero(~finite)
        raise InputError(
            f"{name} holds NaN or infinity in {len(bad)} of {len(finite)} rows, the first is row {int(bad[0])}: "
            "drop these rows, or see why the model that made them overflowed"
        )


def rows_not_finite(rows: torch.Tensor, name: str) -> NDArray[np.int64]:
    """Return the indices of the rows of ``rows`` (n, d) that hold NaN or infinity, ascending, on the host."""
    finite = _finite(lambda: rows.split(ROWS_AT_ONCE), name)
    return np.empty(0, np.int64) if finite is None else np.flatnonzero(~finite)


def _finite(blocks: Parts, name: str) -> NDArray[np.bool_] | None:
    """Return (n,) whether each row is finite; None where all are."""
    # A row's sum is finite only where all of its entries are. One that merely overflows is sorted out below. Sums are
    # taken in the rows' own type, thirty times faster than torch widens them; half precision would overflow too often.
    kinds = {torch.float16: torch.float32, torch.bfloat16: torch.float32}
    sums = [part.sum(dim=1, dtype=kinds.get(part.dtype, part.dtype)).isfinite().all() for part in blocks()]
    if not sums or bool(to_host(torch.stack(sums).all(), f"whether all {name} are finite")):
        return None
    finite = to_host(torch.cat([rows_finite(part) for part in blocks()]), f"which {name} are finite")
    return None if finite.all() else finite


def rows_finite(rows: torch.Tensor) -> torch.Tensor:
    """Return (n,) bool, the rows of ``rows`` (n, d) without NaN and infinity, where they lie: nothing is waited for."""
    parts = rows.split(ROWS_AT_ONCE)
    return torch.cat([part.amax(dim=1).isfinite() & part.amin(dim=1).isfinite() for part in parts])
