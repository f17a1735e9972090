"""Where an index lives. FAISS's GPU build is stood in for by copies on the host, so that our own part runs here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import faiss
import numpy as np
import pytest
import torch

from fdgpu import device, doctor
from fdgpu.device import choose_index_backend
from fdgpu.errors import BackendError, InputError
from fdgpu.index import IndexKind, VectorIndex, stores
from tests.index.vectors import exact, names, unit_rows
from tests.pretend_cuda import launched_as, pretend_cuda

N, D = 1000, 12
ROWS, QUERIES = unit_rows(N, D), unit_rows(9, D, seed=1)


class Gpu:
    """What moved to the GPU and back, and the streams that FAISS was told of."""

    def __init__(self) -> None:
        self.moved: list[tuple[str, int, bool]] = []
        self.streams: list[tuple[int, int]] = []

    def index_cpu_to_gpu(self, resources: Any, number: int, index: Any, options: Any) -> Any:
        assert isinstance(resources, Resources)
        self.moved.append((type(index).__name__, number, options.useFloat16))
        return faiss.clone_index(index)


class Resources:
    told: ClassVar[list[tuple[int, int]]] = []

    def setDefaultStream(self, number: int, stream: int) -> None:  # noqa: N802 - FAISS's name
        self.told.append((number, stream))


class Options:
    useFloat16 = False  # noqa: N815 - FAISS's name


class Stream:
    cuda_stream = 77


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpu]:
    """A second card, pretended; what FAISS's GPU build would do, its CPU build does on the numbers."""
    stand_in = Gpu()
    Resources.told = stand_in.streams
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 2)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "GpuClonerOptions", Options, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", stand_in.index_cpu_to_gpu, raising=False)
    monkeypatch.setattr(faiss, "index_gpu_to_cpu", faiss.clone_index, raising=False)
    monkeypatch.setattr(faiss, "cast_integer_to_cudastream_t", int, raising=False)
    for name in ("train_index", "add_to_index", "search_index"):
        monkeypatch.setattr(stores, name, launched_as(getattr(stores, name)))
    with pretend_cuda(monkeypatch):
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream())
        yield stand_in


@pytest.mark.usefixtures("gpu")
def test_auto_takes_the_gpu_with_any_faiss_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_index_backend("auto") == device.Choice("gpu", "auto: on a pretended device")
    assert choose_index_backend("gpu").reason == "asked for by name"
    assert choose_index_backend("cpu").name == "cpu"
    monkeypatch.delattr(faiss, "StandardGpuResources")
    assert VectorIndex(ROWS, names(N)).backend_ == "gpu"


@pytest.mark.usefixtures("gpu")
def test_lists_on_a_gpu_without_faiss_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(BackendError, match="on a GPU, but cannot run there: FAISS sees no GPU, although torch does"):
        VectorIndex(ROWS, names(N), kind="ivf")
    monkeypatch.delattr(faiss, "StandardGpuResources")
    with pytest.raises(
        BackendError, match=r"built for the CPU \(pip uninstall faiss-cpu.*or use 'flat', which is exact"
    ):
        VectorIndex(ROWS, names(N), kind="ivf")


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    index = VectorIndex(ROWS, names(N))
    assert index.backend_ == "cpu"
    assert index.backend_reason_.startswith(f"auto: on {device.cpu_count()} CPU cores; no CUDA device")
    with pytest.raises(BackendError, match="no CUDA device"):
        VectorIndex(backend="gpu")
    with pytest.raises(BackendError, match="backend is 'tpu': use one of auto, cpu, gpu"):
        VectorIndex(backend="tpu")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["flat", IndexKind("ivf", "a test", lists=20, probes=20)], ids=str)
def test_an_index_on_a_gpu(gpu: Gpu, kind: str | IndexKind, dtype: str, tmp_path: Path) -> None:
    index = VectorIndex(ROWS[:400], names(400), kind=kind, dtype=dtype).add(ROWS[400:], names(N - 400))
    assert index.backend_ == "gpu"
    lists = "IndexIVFFlat" if dtype == "float32" else "IndexIVFScalarQuantizer"
    assert gpu.moved == ([] if kind == "flat" else [(lists, 0, dtype == "float16")])  # an exact index is torch's
    assert set(gpu.streams) == (set() if kind == "flat" else {(0, 77)})
    np.testing.assert_allclose(index.search(QUERIES, 5).scores, exact(QUERIES, ROWS, 5), atol=1e-3)
    index.save(tmp_path / "index")
    back = VectorIndex.load(tmp_path / "index", backend="cpu")
    np.testing.assert_array_equal(back.search(QUERIES, 5).ids, index.search(QUERIES, 5).ids)


@pytest.mark.usefixtures("gpu")
def test_what_a_gpu_cannot_do() -> None:
    with pytest.raises(BackendError, match="no such graph on a GPU: use 'flat' or 'ivf'"):
        VectorIndex(ROWS, names(N), kind="hnsw")
    with pytest.raises(BackendError, match="no such graph on a GPU"):
        VectorIndex(ROWS, names(N), kind=IndexKind("hnsw", "mine"))
    with pytest.raises(BackendError, match="4000 lists has more than FAISS probes on a GPU"):
        VectorIndex(ROWS, names(N), kind=IndexKind("ivf", "mine", lists=4000, probes=1))
    with pytest.raises(InputError, match="k is 2049, FAISS finds at most 2048 on a GPU"):
        VectorIndex(unit_rows(3000, 4), names(3000), kind="ivf").search(unit_rows(1, 4), 2049)
    assert VectorIndex(unit_rows(3000, 4), names(3000)).search(unit_rows(1, 4), 2049).ids.shape == (1, 2049)
    assert IndexKind.choose("ivf", 10**7, 512, gpu=True).lists == 2048


def test_the_doctor_says_where_captions_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {line.name: line for line in doctor.examine()}
    assert lines["faiss"].state == "ok"
    assert lines["caption index runs on"].detail.startswith("cpu (auto: on")
    assert "faiss twice" not in lines
    monkeypatch.setattr("fdgpu.extras.version", lambda _: "1.0")
    twice = {line.name: line for line in doctor.examine()}["faiss twice"]
    assert (twice.state, twice.detail.split(":")[0]) == (
        "broken",
        "faiss-cpu 1.0 and faiss-gpu-cu12 1.0 and faiss-gpu-cuvs 1.0",
    )
