"""Which device and which backend run, and the errors that say why one cannot."""

from __future__ import annotations

import json
import sys

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
    why_no_faiss_gpu,
)
from fdgpu.errors import BackendError


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


def test_a_device_that_is_none() -> None:
    with pytest.raises(BackendError, match="device is 'abacus': use 'auto', 'cpu' or 'cuda'"):
        choose_device("abacus")
    chosen = choose_device(torch.device("cpu"))
    assert (chosen.device.type, chosen.dtype, chosen.reason) == ("cpu", torch.float32, "asked for by name")


def test_a_backend_is_named_by_a_string_or_a_member() -> None:
    for asked in ("numba", Backend.NUMBA):
        choice = choose_backend(asked)
        assert choice.name is Backend.NUMBA
        assert json.dumps(choice.name) == '"numba"'
    with pytest.raises(BackendError, match=r"^backend is 'abacus': use one of auto, numba, triton, cuml$"):
        choose_backend("abacus")


def test_faiss_that_is_not_installed_leaves_the_cpu_and_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choice = choose_index_backend("auto")
    assert choice.name is IndexBackend.CPU
    assert choice.reason.endswith("; FAISS is not installed, pip install 'fdgpu[index]'")
    assert choose_index_backend("cpu").name is IndexBackend.CPU
    with pytest.raises(BackendError, match="'gpu' was asked for, but there is no CUDA device"):
        choose_index_backend("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # there the extra is one that brings a GPU's build
    assert why_no_faiss_gpu() == f"FAISS is not installed ({GPU_EXTRAS})"
