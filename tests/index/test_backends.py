"""Where an index lives. FAISS's GPU build is stood in for by copies on the host, so that our own part runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch

from fdgpu import device, doctor
from fdgpu.device import choose_index_backend
from fdgpu.errors import BackendError, InputError
from fdgpu.index import IndexKind, VectorIndex, stores
from tests.cards import show_card
from tests.index.vectors import exact, names, unit_rows

N, D = 1000, 12
ROWS, QUERIES = unit_rows(N, D), unit_rows(9, D, seed=1)


class Gpu:
    """What moved to the GPU and back."""

    def __init__(self) -> None:
        self.moved: list[tuple[str, bool]] = []

    def index_cpu_to_gpu(self, resources: Any, number: int, index: Any, options: Any) -> Any:
        assert isinstance(resources, Resources)
        assert number == 0
        self.moved.append((type(index).__name__, options.useFloat16))
        return faiss.clone_index(index)


class Resources:
    pass


class Options:
    useFloat16 = False  # noqa: N815 - FAISS's name


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    stand_in = Gpu()
    show_card(monkeypatch, "a stand-in", (8, 0))
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", Resources, raising=False)
    monkeypatch.setattr(faiss, "GpuClonerOptions", Options, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", stand_in.index_cpu_to_gpu, raising=False)
    monkeypatch.setattr(faiss, "index_gpu_to_cpu", faiss.clone_index, raising=False)
    monkeypatch.setattr(stores, "torch_device", lambda _: torch.device("cpu"))
    return stand_in


@pytest.mark.usefixtures("gpu")
def test_auto_takes_the_gpu_where_device_and_build_are_there() -> None:
    assert choose_index_backend("auto") == device.Choice("gpu", "auto: FAISS on a stand-in")
    assert choose_index_backend("gpu").reason == "asked for by name"
    assert choose_index_backend("cpu").name == "cpu"


@pytest.mark.usefixtures("gpu")
def test_a_gpu_without_faiss_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(faiss, "StandardGpuResources")
    choice = choose_index_backend("auto")
    assert choice.name == "cpu"
    assert "built for the CPU (pip uninstall faiss-cpu" in choice.reason
    with pytest.raises(
        BackendError, match="'gpu' was asked for, but cannot run here: this FAISS was built for the CPU"
    ):
        VectorIndex(backend="gpu")


@pytest.mark.usefixtures("gpu")
def test_a_build_for_another_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    with pytest.raises(BackendError, match="FAISS sees no GPU, although torch does"):
        choose_index_backend("gpu")


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    index = VectorIndex(ROWS, names(N))
    assert index.backend_ == "cpu"
    assert index.backend_reason_.startswith(f"auto: FAISS on {device.cpu_count()} CPU cores; no CUDA device")
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
    assert gpu.moved == ([] if kind == "flat" else [(lists, dtype == "float16")])  # an exact index is torch's
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
    assert lines["caption index runs on"].detail.startswith("cpu (auto: FAISS on")
    assert "faiss twice" not in lines
    monkeypatch.setattr("fdgpu.packages.version", lambda _: "1.0")
    twice = {line.name: line for line in doctor.examine()}["faiss twice"]
    assert (twice.state, twice.detail.split(":")[0]) == (
        "broken",
        "faiss-cpu 1.0 and faiss-gpu-cu12 1.0 and faiss-gpu-cuvs 1.0",
    )
