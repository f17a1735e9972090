"""Which device, which precision and which backend run, and why; and what to do when memory runs out."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from numbers import Integral
from typing import TypeVar

import torch

from fdgpu.errors import BackendError, InputError
from fdgpu.extras import install

OLDEST_CAPABILITY = (7, 0)  # Volta
GPU_EXTRAS = f"{install('gpu-cu12')} for CUDA 12, or 'fdgpu[gpu-cu13]' for CUDA 13"
FAISS_GPU_REMEDY = f"pip uninstall faiss-cpu, then {GPU_EXTRAS}; side by side the CPU's build hides the other"
T = TypeVar("T")
B = TypeVar("B", bound=StrEnum)


class Backend(StrEnum):
    """What solves the SVMs."""

    AUTO = "auto"
    NUMBA = "numba"
    TRITON = "triton"
    CUML = "cuml"


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
    """Where a model runs and in which precision it computes."""

    device: torch.device
    dtype: torch.dtype
    reason: str


def cpu_count() -> int:
    """Return how many cores this process may use, which in a container is fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_device(device: str | torch.device = "auto") -> Placement:
    """Choose a device and a precision: float16 on CUDA, float32 elsewhere.

    Args:
        device: ``"auto"``, or anything that :class:`torch.device` takes.

    Raises:
        BackendError: if a device asked for by name is not here.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return _placement(torch.device("cuda"), "auto: a CUDA device is here")
        return _placement(torch.device("cpu"), f"auto: no CUDA device, {cpu_count()} CPU cores")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise BackendError(f"device is {device!r}: use 'auto', 'cpu' or 'cuda' ({error})") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(f"device {device!r} was asked for, but torch sees no CUDA device: {why_no_cuda()}")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise BackendError(f"device {device!r} was asked for, but there are {torch.cuda.device_count()} CUDA devices")
    try:
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, NotImplementedError) as error:
        raise BackendError(f"device {device!r} was asked for, but does not compute here ({error})") from None
    return _placement(chosen, "asked for by name")


def _placement(device: torch.device, reason: str) -> Placement:
    return Placement(device, torch.float16 if device.type == "cuda" else torch.float32, reason)


def why_no_cuda() -> str:
    """Say in words why CUDA cannot be used here; only to be called where it cannot."""
    if torch.version.cuda is None:
        return "this torch was built without CUDA; install a CUDA build of torch"
    return f"torch was built for CUDA {torch.version.cuda}, but no driver or device answers; see nvidia-smi"


def choose_backend(requested: str) -> Choice:
    """Choose the solver's backend.

    Raises:
        BackendError: if the name is unknown, or the backend asked for by name cannot run here. It never falls
            back in silence.
    """
    backend = _named(Backend, requested)
    if backend is Backend.AUTO:
        missing = _why_no_triton()
        if missing is None:
            return Choice(Backend.TRITON, f"auto: the Triton solver on {torch.cuda.get_device_name()}")
        return Choice(Backend.NUMBA, f"auto: the numba solver on {cpu_count()} CPU cores; {missing}")
    why_not = {Backend.TRITON: _why_no_triton, Backend.CUML: why_no_cuml}.get(backend)
    missing = why_not() if why_not else None
    if missing is not None:
        raise BackendError(f"backend '{backend}' was asked for, but cannot run here: {missing}; use 'numba' or 'auto'")
    return Choice(backend, "asked for by name")


def _named(backends: type[B], name: str) -> B:
    try:
        return backends(name)
    except ValueError:
        raise BackendError(f"backend is {name!r}: use one of {', '.join(backends)}") from None


def _why_no_triton() -> str | None:
    """Say what the Triton solver lacks here; None if nothing."""
    if not torch.cuda.is_available():
        return f"no CUDA device ({why_no_cuda()})"
    if importlib.util.find_spec("triton") is None:
        return "the package triton is not installed"
    capability = torch.cuda.get_device_capability()
    if capability < OLDEST_CAPABILITY:
        return f"the device is sm_{capability[0]}{capability[1]}, the kernels need sm_70 or newer"
    return None


def why_no_cuml() -> str | None:
    """Say what the cuML solver lacks here, and how to get it; None if nothing."""
    lacking = [] if torch.cuda.is_available() else [f"no CUDA device ({why_no_cuda()})"]
    absent = [package for package in ("cupy", "cuml") if importlib.util.find_spec(package) is None]
    if absent:
        lacking.append(f"{' and '.join(absent)} not installed ({GPU_EXTRAS})")
    return "; ".join(lacking) or None


def choose_index_backend(requested: str) -> Choice:
    """Choose where an index is kept and searched: exactly by torch, or by FAISS where lists or a graph are asked for.

    Raises:
        BackendError: if the name is unknown, or the GPU was asked for by name and cannot be used.
    """
    backend = _named(IndexBackend, requested)
    if backend is IndexBackend.CPU:
        return Choice(backend, "asked for by name")
    if torch.cuda.is_available():
        auto = f"auto: on {torch.cuda.get_device_name()}"
        return Choice(IndexBackend.GPU, "asked for by name" if backend is IndexBackend.GPU else auto)
    if backend is IndexBackend.GPU:
        raise BackendError(f"backend 'gpu' was asked for, but there is no CUDA device ({why_no_cuda()}): use 'cpu'")
    without = "" if has_faiss() else f"; FAISS is not installed, {install('index')}"
    return Choice(IndexBackend.CPU, f"auto: on {cpu_count()} CPU cores; no CUDA device ({why_no_cuda()}){without}")


def has_faiss() -> bool:
    """Whether any build of FAISS is installed."""
    return importlib.util.find_spec("faiss") is not None


def why_no_faiss_gpu() -> str | None:
    """Say what FAISS lacks to search on a GPU, and how to get it; None if nothing."""
    if not has_faiss():
        return f"FAISS is not installed ({GPU_EXTRAS if torch.cuda.is_available() else install('index')})"
    if not torch.cuda.is_available():
        return f"no CUDA device ({why_no_cuda()})"
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        return f"this FAISS was built for the CPU ({FAISS_GPU_REMEDY})"
    if not faiss.get_num_gpus():
        return "FAISS sees no GPU, although torch does: its build may be for another CUDA version"
    return None


@dataclass
class BatchSize:
    """Rows to try at once; what did not fit once is not tried again.

    Raises:
        InputError: unless it is a whole number of at least 1.
    """

    rows: int

    def __post_init__(self) -> None:
        if not isinstance(self.rows, Integral) or self.rows < 1:
            raise InputError(f"batch_size is {self.rows!r}: use a whole number of at least 1")


def halving_batches(run: Callable[[int, int], T], total: int, batch: BatchSize) -> Iterator[tuple[int, T]]:
    """Run ``run(start, stop)`` over ``range(total)``; on out-of-memory halve the batch, and go on from there.

    Args:
        run: computes the rows from ``start`` to ``stop``.
        total: how many rows there are.
        batch: rows to try at once; lowered in place.

    Yields:
        ``(stop, result)`` in order, each row once.

    Raises:
        torch.OutOfMemoryError: if a single row does not fit.
    """
    start = 0
    while start < total:
        stop = min(start + batch.rows, total)
        try:
            result = run(start, stop)
        except torch.OutOfMemoryError:
            if batch.rows == 1:
                raise
        else:
            yield stop, result
            start = stop
            continue
        batch.rows = max(1, batch.rows // 2)
        torch.cuda.empty_cache()  # here, where the error no longer holds the tensors that did not fit
