"""Which device, which precision and which backend run, and why; and what to do when memory runs out."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import torch

from fdgpu.cgroups import CORES, granted_cores
from fdgpu.checks import check_name, check_whole, shown
from fdgpu.cuda import GPU_EXTRAS, capability_of, quietly, why_no_cuda, why_no_triton
from fdgpu.errors import BackendError
from fdgpu.extras import install

FAISS_GPU_REMEDY = f"pip uninstall faiss-cpu, then {GPU_EXTRAS}; side by side the CPU's build hides the other"
PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
FIRST_WITH_BFLOAT16 = (8, 0)  # Ampere
# What torch, cuBLAS, cuDNN, cuSOLVER, Triton, CuPy, FAISS and C++ call it where it is no MemoryError
FAILED_ALLOCATION = re.compile(
    r"out of memory|ALLOC(ATION)?_FAILED|DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|failed to cudaMalloc|StandardGpuResources: (\w+ )?alloc fail|cannot allocate memory|bad_alloc"
    r"|RESOURCE_EXHAUSTED",
    re.IGNORECASE,
)
T = TypeVar("T")
B = TypeVar("B", bound=StrEnum)


class Backend(StrEnum):
    """What solves: SVMs, and torch the hidden classes of the latent method."""

    AUTO = "auto"
    NUMBA = "numba"
    TRITON = "triton"
    CUML = "cuml"
    TORCH = "torch"


class IndexBackend(StrEnum):
    """Where an index is kept and searched."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


@dataclass(frozen=True)
class Choice:
    """What was chosen, by its name, and the reason in words."""

    name: str
    reason: str


@dataclass(frozen=True)
class Placement:
    """Where a model runs, in which precision it computes, and why."""

    device: torch.device
    dtype: torch.dtype
    reason: str  # of the device
    precision_reason: str = ""


def cpu_count() -> int:
    """Return how many cores this process may use: those it may run on, or fewer if a container grants less time.

    ``FDGPU_CORES`` sets it for processes that share a machine, as the workers of a cluster do.
    """
    if (own := os.environ.get(CORES, "")).isdigit() and int(own):
        return int(own)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, granted_cores())))


def choose_device(device: str | torch.device = "auto", precision: str = "auto") -> Placement:
    """Choose a device and a precision, before anything is computed.

    Args:
        device: ``"auto"``, or anything that :class:`torch.device` takes. ``"auto"`` is a CUDA device if torch can
            compute on it, and the CPU otherwise; the reason says why.
        precision: ``"auto"``, ``"float16"``, ``"bfloat16"`` or ``"float32"``. ``"auto"`` is float16 on CUDA, float32
            elsewhere.

    Raises:
        InputError: if the precision is none of these.
        BackendError: if a device asked for by name is not here or torch has no code for it, or has no bfloat16.
    """
    check_name(precision, "precision", ("auto", *PRECISIONS))
    if isinstance(device, str) and device == "auto":
        missing = why_no_cuda()
        if missing is None:
            return _placement(torch.device("cuda"), f"auto: {torch.cuda.get_device_name()}", precision)
        return _placement(torch.device("cpu"), f"auto: {cpu_count()} CPU cores; {missing}", precision)
    placement = _placement(_device_named(device), "asked for by name", precision)
    try:
        torch.zeros(1, device=placement.device)
    except (RuntimeError, NotImplementedError) as error:
        raise BackendError(f"device {device!r} was asked for, but does not compute here ({error})") from None
    return placement


def _device_named(device: str | torch.device) -> torch.device:
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise BackendError(f"device is {shown(device)}: use 'auto', 'cpu' or 'cuda' ({error})") from None
    if chosen.type == "cuda":
        _check_cuda(chosen)
    return chosen


def _check_cuda(device: torch.device) -> None:
    """Raise unless torch can compute on this CUDA device."""
    asked, there = f"device '{device}' was asked for, but", quietly(torch.cuda.device_count)
    if there and (device.index or 0) >= there:
        raise BackendError(f"{asked} the CUDA devices here, counted from 0, are {there}")
    missing = why_no_cuda(device)
    if missing is not None:
        raise BackendError(f"{asked} torch cannot compute on it: {missing}")


def _placement(device: torch.device, reason: str, precision: str) -> Placement:
    if precision == "auto":
        name = "float16" if device.type == "cuda" else "float32"
        return Placement(device, PRECISIONS[name], reason, f"auto: {name} on {device.type}")
    if precision == "bfloat16" and device.type == "cuda" and capability_of(device) < FIRST_WITH_BFLOAT16:
        raise BackendError(
            f"precision 'bfloat16' was asked for, but {torch.cuda.get_device_name(device)} has none of its own, as no "
            "card before sm_80 has: use 'float16'"
        )
    return Placement(device, PRECISIONS[precision], reason, "asked for by name")


def choose_backend(requested: str, device: torch.device | None = None) -> Choice:
    """Choose the solver's backend.

    Args:
        requested: one of :class:`Backend`.
        device: of the embeddings. Where it is None, or no CUDA device, a solver for one takes the current one.

    Raises:
        BackendError: if the name is unknown, or the backend asked for by name cannot run here. It never falls
            back in silence.
    """
    backend = _named(Backend, requested)
    card = device if device is not None and device.type == "cuda" else None
    if backend is Backend.AUTO:
        missing = why_no_triton(card)
        if missing is None:
            return Choice(Backend.TRITON, f"auto: the Triton solver on {torch.cuda.get_device_name(card)}")
        return Choice(Backend.NUMBA, f"auto: the numba solver on {cpu_count()} CPU cores; {missing}")
    why_not = {Backend.TRITON: why_no_triton, Backend.CUML: why_no_cuml}.get(backend)
    missing = why_not(card) if why_not else None
    if missing is not None:
        raise BackendError(f"backend '{backend}' was asked for, but cannot run here: {missing}; use 'numba' or 'auto'")
    return Choice(backend, "asked for by name")


def _named(backends: type[B], name: str) -> B:
    return backends(check_name(name, "backend", backends, BackendError))


def why_no_cuml(device: torch.device | None = None) -> str | None:
    """Say what the cuML solver lacks here, and how to get it; None if nothing."""
    missing = why_no_cuda(device)
    lacking = [] if missing is None else [missing]
    absent = [package for package in ("cupy", "cuml") if importlib.util.find_spec(package) is None]
    if absent:
        lacking.append(f"{' and '.join(absent)} not installed ({GPU_EXTRAS})")
    return "; ".join(lacking) or None


def choose_index_backend(requested: str) -> Choice:
    """Choose where an index is kept and searched: exactly by torch, or by FAISS where lists or a graph are asked for.

    Raises:
        BackendError: unless it is one of :class:`IndexBackend`, or if the GPU was asked for by name and cannot be used.
    """
    backend = _named(IndexBackend, requested)
    if backend is IndexBackend.CPU:
        return Choice(backend, "asked for by name")
    missing = why_no_cuda()
    if missing is None:
        auto = f"auto: on {torch.cuda.get_device_name()}"
        return Choice(IndexBackend.GPU, "asked for by name" if backend is IndexBackend.GPU else auto)
    if backend is IndexBackend.GPU:
        raise BackendError(f"backend 'gpu' was asked for, but cannot run here: {missing}; use 'cpu' or 'auto'")
    without = "" if has_faiss() else f"; FAISS is not installed, {install('index')}"
    return Choice(IndexBackend.CPU, f"auto: on {cpu_count()} CPU cores; {missing}{without}")


def has_faiss() -> bool:
    """Whether any build of FAISS is installed."""
    return importlib.util.find_spec("faiss") is not None


def why_no_faiss_gpu(device: torch.device | None = None) -> str | None:
    """Say what FAISS lacks to search on a GPU, and how to get it; None if nothing."""
    missing = why_no_cuda(device)
    if not has_faiss():
        return f"FAISS is not installed ({install('index') if missing else GPU_EXTRAS})"
    if missing is not None:
        return missing
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        return f"this FAISS was built for the CPU ({FAISS_GPU_REMEDY})"
    if not faiss.get_num_gpus():
        return "FAISS sees no GPU, although torch does: its build may be for another CUDA version"
    return None


def free_bytes(device: torch.device) -> int:
    """Return what can still be allocated on a CUDA device: what the driver has, and what torch keeps for later."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + kept


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: torch's, cuBLAS's, cuDNN's, cuSOLVER's, Triton's, FAISS's, CuPy's or the host's.

    Only torch and the host raise a type of their own; the others say it in a RuntimeError. That a kernel asks for more
    shared memory than a card has is no failed allocation, as a smaller batch asks for as much.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and FAILED_ALLOCATION.search(str(error)) is not None


@dataclass
class BatchSize:
    """Rows to try at once; what did not fit once is not tried again.

    Raises:
        InputError: unless it is a whole number of at least 1.
    """

    rows: int

    def __post_init__(self) -> None:
        self.rows = check_whole(self.rows, "batch_size", 1)


def halving_batches(run: Callable[[int, int], T], total: int, batch: BatchSize) -> Iterator[tuple[int, T]]:
    """Run ``run(start, stop)`` over ``range(total)``; when memory runs out halve the batch, and go on from there.

    Args:
        run: computes the rows from ``start`` to ``stop``.
        total: how many rows there are.
        batch: rows to try at once; lowered in place.

    Yields:
        ``(stop, result)`` in order, each row once.

    Raises:
        BaseException: what ``run`` raised, if a single row does not fit.
    """
    start = 0
    while start < total:
        stop = min(start + batch.rows, total)
        try:
            result = run(start, stop)
        except (MemoryError, RuntimeError) as error:
            if batch.rows == 1 or not out_of_memory(error):
                raise
        else:
            yield stop, result
            start = stop
            continue
        batch.rows = max(1, batch.rows // 2)
        torch.cuda.empty_cache()  # here, where the error no longer holds the tensors that did not fit
