"""Which device and which backend run, and the errors that say why one cannot."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from fdgpu.device import (
    GPU_EXTRAS,
    Backend,
    BatchSize,
    IndexBackend,
    choose_backend,
    choose_device,
    choose_index_backend,
    halving_batches,
    out_of_memory,
    why_no_faiss_gpu,
)
from fdgpu.errors import BackendError, InputError
from tests.cards import show_card, show_no_card

TRITON_3_4 = SimpleNamespace(__version__="3.4.0")


def test_out_of_memory_halves_the_batch_and_loses_no_row() -> None:
    tried = []

    def run(start: int, stop: int) -> list[int]:
        tried.append(stop - start)
        if stop - start > 3:
            raise torch.OutOfMemoryError
        return list(range(start, stop))

    batch = BatchSize(8)
    rows = [row for _, part in halving_batches(run, 10, batch) for row in part]
    assert rows == list(range(10))
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    assert batch.rows == 2

    def hopeless(*_: int) -> None:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        list(halving_batches(hopeless, 4, BatchSize(4)))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.78 GiB"
        ),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError(
            "Error in virtual void* faiss::gpu::StandardGpuResourcesImpl::allocMemory(const faiss::gpu::AllocRequest&) "
            "at faiss/gpu/StandardGpuResources.cpp: Error: 'err == cudaSuccess' failed: StandardGpuResources: alloc "
            "fail type FlatData dev 0 space Device stream 0 size 2764800000 bytes (cudaMalloc error out of memory [2])"
        ),
        RuntimeError("StandardGpuResources: device alloc fail type FlatData (preallocated pool exhausted"),
        RuntimeError("'err == cudaSuccess' failed: Failed to cudaMalloc 536870912 bytes on device 1 (error 2"),
        RuntimeError("std::bad_alloc"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried to ..."
        ),
        RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 132426121216 bytes. Error code 12"
        ),
        type("OutOfMemoryError", (MemoryError,), {})("Out of memory allocating 512 bytes"),  # CuPy's
        RuntimeError("cudaErrorMemoryAllocation: out of memory"),  # CuPy's CUDARuntimeError is one
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 64 bytes"),  # as is JAX's
        MemoryError("Unable to allocate 7.28 TiB for an array with shape (1000000, 1000000)"),
        MemoryError("std::bad_alloc: out_of_memory: CUDA error at: cuda_memory_resource.hpp:70"),  # cuML's
    ],
    ids=lambda error: str(error)[:30],
)
def test_a_failed_allocation_of_any_kind_halves_the_batch(error: Exception) -> None:
    assert out_of_memory(error)
    batch, failures = BatchSize(4), [error]

    def run(start: int, stop: int) -> int:
        if failures:
            raise failures.pop()
        return stop - start

    assert list(halving_batches(run, 4, batch)) == [(2, 2), (4, 2)]
    with pytest.raises(type(error)):
        list(halving_batches(lambda *_: (_ for _ in ()).throw(error), 4, BatchSize(1)))


def test_the_host_that_torch_asks_for_too_much() -> None:
    with pytest.raises(RuntimeError) as got:
        torch.empty(1 << 60)
    assert out_of_memory(got.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("out of resource: shared memory, Required: 135168, Hardware limit: 101376"),  # Triton's
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_SUPPORTED"),
        ValueError("out of memory"),
        KeyboardInterrupt("out of memory"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_another_error_passes_through(error: BaseException) -> None:
    def run(*_: int) -> None:
        raise error

    batch = BatchSize(8)
    assert not out_of_memory(error)
    with pytest.raises(type(error)):
        list(halving_batches(run, 8, batch))
    assert batch.rows == 8


def test_a_device_that_is_none() -> None:
    with pytest.raises(BackendError, match="device is 'abacus': use 'auto', 'cpu' or 'cuda'"):
        choose_device("abacus")
    chosen = choose_device(torch.device("cpu"))
    assert (chosen.device.type, chosen.dtype, chosen.reason) == ("cpu", torch.float32, "asked for by name")


def test_a_precision_is_chosen_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = choose_device("cpu")
    assert (on_cpu.dtype, on_cpu.precision_reason) == (torch.float32, "auto: float32 on cpu")
    asked = choose_device("cpu", "bfloat16")
    assert (asked.dtype, asked.precision_reason) == (torch.bfloat16, "asked for by name")
    for unknown in ("half", "Float16", ""):
        with pytest.raises(InputError, match=f"precision is '{unknown}': use one of auto, float16, bfloat16, float32"):
            choose_device("cpu", unknown)
    show_card(monkeypatch, "NVIDIA A100", (8, 0))
    on_cuda = choose_device()
    assert (on_cuda.device.type, on_cuda.dtype, on_cuda.reason) == ("cuda", torch.float16, "auto: NVIDIA A100")
    assert on_cuda.precision_reason == "auto: float16 on cuda"
    assert choose_device(precision="bfloat16").dtype is torch.bfloat16
    assert choose_device(precision="float32").dtype is torch.float32


@pytest.mark.parametrize(("name", "capability"), [("Tesla V100", (7, 0)), ("Tesla T4", (7, 5))])
def test_a_card_without_bfloat16(name: str, capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, name, capability, built="sm_70 sm_75 sm_80")
    assert choose_device().dtype is torch.float16
    with pytest.raises(BackendError, match=rf"'bfloat16' was asked for, but {name} has none .*: use 'float16'"):
        choose_device("auto", "bfloat16")
    with pytest.raises(BackendError, match=r"use 'float16'"):
        choose_device("cuda", "bfloat16")


def test_a_card_that_torch_has_no_code_for(monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, "Tesla V100", (7, 0))
    why = (
        "this torch has no code for Tesla V100 (sm_70), only for sm_75, sm_80, sm_86, sm_90, sm_100, sm_120; "
        "pip install 'fdgpu[gpu-cu12]'"
    )
    chosen = choose_device()
    assert chosen.device.type == "cpu"
    assert chosen.reason.endswith(f"CPU cores; {why}")
    solver, index = choose_backend("auto"), choose_index_backend("auto")
    assert (solver.name, index.name) == (Backend.NUMBA, IndexBackend.CPU)
    assert solver.reason.endswith(f"CPU cores; {why}")
    assert index.reason.endswith(f"CPU cores; {why}")
    for ask in (
        lambda: choose_device("cuda"),
        lambda: choose_device("cuda:0", "bfloat16"),
        lambda: choose_backend("triton"),
        lambda: choose_backend("cuml", torch.device("cuda:0")),
        lambda: choose_index_backend("gpu"),
    ):
        with pytest.raises(BackendError) as got:
            ask()
        assert why in str(got.value)


def test_a_number_that_no_card_has(monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, "NVIDIA A100", (8, 0), count=2)
    with pytest.raises(
        BackendError, match="device 'cuda:2' was asked for, but the CUDA devices here, counted from 0, are 2"
    ):
        choose_device("cuda:2")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Found no NVIDIA driver on your system. Please check", "no CUDA device (no NVIDIA driver is installed"),
        (
            "The NVIDIA driver on your system is too old (found version 12040). Please update",
            "no CUDA device (the NVIDIA driver serves CUDA 12.4 at most, and this torch was built for CUDA 13.0; "
            "update the driver, or pip install 'fdgpu[gpu-cu12]')",
        ),
    ],
    ids=["no driver", "an old driver"],
)
def test_without_a_driver_that_serves(said: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show_no_card(monkeypatch, said)
    assert words in choose_device().reason
    assert words in choose_backend("auto").reason
    assert words in choose_index_backend("auto").reason
    for ask in (lambda: choose_device("cuda"), lambda: choose_backend("triton"), lambda: choose_index_backend("gpu")):
        with pytest.raises(BackendError) as got:
            ask()
        assert words in str(got.value)


@pytest.mark.parametrize(
    ("triton", "words"),
    [
        (TRITON_3_4, "Triton is 3.4.0, and its compiler crashes on these kernels before 3.5: pip install --upgrade"),
        (
            None,
            "Triton cannot be imported (import of triton halted; None in sys.modules); PyPI's torch for Linux brings",
        ),
    ],
    ids=["too old", "missing"],
)
def test_without_a_triton_that_compiles(triton: object | None, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, "NVIDIA A100", (8, 0))
    monkeypatch.setitem(sys.modules, "triton", triton)
    choice = choose_backend("auto")
    assert choice.name is Backend.NUMBA
    assert words in choice.reason
    with pytest.raises(BackendError) as got:
        choose_backend("triton")
    assert words in str(got.value)
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(__version__="3.5.1+git12"))
    assert choose_backend("auto", torch.device("cpu")).reason == "auto: the Triton solver on NVIDIA A100"


def test_a_backend_is_named_by_a_string_or_a_member() -> None:
    for asked in ("numba", Backend.NUMBA):
        choice = choose_backend(asked)
        assert choice.name is Backend.NUMBA
        assert json.dumps(choice.name) == '"numba"'
    with pytest.raises(BackendError, match=r"^backend is 'abacus': use one of auto, numba, triton, cuml, torch$"):
        choose_backend("abacus")


def test_faiss_that_is_not_installed_leaves_the_cpu_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choice = choose_index_backend("auto")
    assert choice.name is IndexBackend.CPU
    assert choice.reason.endswith("; FAISS is not installed, pip install 'fdgpu[index]'")
    assert choose_index_backend("cpu").name is IndexBackend.CPU
    with pytest.raises(BackendError, match="'gpu' was asked for, but cannot run here: no CUDA device"):
        choose_index_backend("gpu")
    show_card(monkeypatch, "NVIDIA A100", (8, 0))  # there the extra is one that brings a GPU's build
    assert why_no_faiss_gpu() == f"FAISS is not installed ({GPU_EXTRAS})"
