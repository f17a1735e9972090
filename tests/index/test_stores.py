"""The exact search against FAISS's flat index, its plain twin; and what there is without FAISS."""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fdgpu import CaptionGrammar
from fdgpu.errors import BackendError
from fdgpu.index import CaptionIndex, IndexKind, VectorIndex, vector_index
from fdgpu.index import exact as module
from fdgpu.index.exact import ExactStore
from tests.cards import show_card
from tests.index.vectors import exact, names, unit_rows

FILES = Path(__file__).parent / "files"
CPU = torch.device("cpu")
VECTORS = module.VECTORS["cpu"]


def store_of(rows: np.ndarray, *, half: bool = False) -> ExactStore:
    store = ExactStore(rows.shape[1], half, CPU)
    store.add(torch.from_numpy(rows))
    return store


def found_in(store: ExactStore, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    scores, positions = store.search(torch.from_numpy(queries).to(store.device), k)
    return scores.cpu().numpy(), positions.cpu().numpy()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("q", "n"), [(1, 1), (255, 100), (300, VECTORS + 500), (20, 2 * VECTORS)])
def test_it_finds_what_faiss_finds(q: int, n: int, half: bool) -> None:
    rows, queries = unit_rows(n, 8), unit_rows(q, 8, seed=1)
    kind = (faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    flat = faiss.IndexScalarQuantizer(8, *kind) if half else faiss.IndexFlatIP(8)
    held = rows.astype(np.float16).astype(np.float32) if half else rows
    flat.add(held)
    k = min(n, 9)
    expected, ids = flat.search(queries, k)
    scores, positions = found_in(store_of(rows, half=half), queries, k)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ held.T, positions, axis=1), atol=1e-6)
    other = positions != ids  # only where two scores are the same up to rounding
    np.testing.assert_allclose((queries @ held.T)[np.nonzero(other)[0], positions[other]], expected[other], atol=1e-6)
    assert other.mean() < 0.001


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 5), st.data())
def test_blocks_do_not_matter(n: int, block: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, n))
    rows, queries = unit_rows(n, 3, seed=n), unit_rows(4, 3, seed=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "VECTORS", {"cpu": block})
        patch.setattr(module, "QUERIES", {"cpu": block})
        scores, positions = found_in(store_of(rows), queries, k)
    np.testing.assert_allclose(scores, -np.sort(-(queries @ rows.T), axis=1)[:, :k], atol=1e-6)
    assert all(len(set(row)) == k for row in positions.tolist())


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 40))
def test_rows_that_come_in_chunks_are_kept_in_order(sizes: list[int], reserved: int) -> None:
    rows, store, start = unit_rows(sum(sizes), 3), ExactStore(3, False, CPU), 0
    store.reserve(reserved)
    for size in sizes:
        store.add(torch.from_numpy(rows[start : start + size]))
        start += size
    assert len(store) == len(rows)
    np.testing.assert_array_equal(store.rows.numpy(), rows)


# --- without FAISS --------------------------------------------------------------------------------------------------

N, D = 500, 12
ROWS, QUERIES = unit_rows(N, D), unit_rows(9, D, seed=1)
LISTS = IndexKind("ivf", "a test", lists=20, probes=3)


@pytest.fixture
def no_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)


@pytest.mark.usefixtures("no_faiss")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", ["auto", "flat"])
def test_an_exact_index_needs_no_faiss(kind: str, dtype: str, tmp_path: Path) -> None:
    grammar = CaptionGrammar("{a} {noun}", a=names(25), noun=names(20))
    index = CaptionIndex(ROWS, grammar, reference=ROWS[4], scale=np.linspace(0.1, 2, D), kind=kind, dtype=dtype)
    index.save(tmp_path / "index")
    read = CaptionIndex.load(tmp_path / "index")
    for mine, theirs in zip(index.hardest(QUERIES, 5), read.hardest(QUERIES, 5), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (len(read), list(read.captions), read.kind_) == (N - 1, list(grammar), index.kind_)
    plain = VectorIndex(ROWS, names(N), kind=kind, dtype=dtype)
    np.testing.assert_allclose(plain.search(QUERIES, 5).scores, exact(QUERIES, ROWS, 5), atol=1e-3)
    assert plain.backend_ == "cpu"
    assert plain.backend_reason_.endswith("FAISS is not installed, pip install 'fdgpu[index]'")


@pytest.mark.usefixtures("no_faiss")
def test_auto_looks_at_every_vector_and_says_why() -> None:
    kind = VectorIndex(ROWS, names(N), expected=10**8).kind_
    assert kind.name == "flat"
    assert kind.reason.endswith("FAISS, which has lists, is not installed")


@pytest.mark.usefixtures("no_faiss")
@pytest.mark.parametrize("kind", ["ivf", "hnsw", LISTS], ids=str)
def test_lists_and_graphs_say_what_to_install(kind: str | IndexKind) -> None:
    index = VectorIndex(None, names(N), kind=kind)
    with pytest.raises(BackendError, match=r"kind '(ivf|hnsw)' needs FAISS: pip install 'fdgpu\[index\]'"):
        index.add(ROWS)
    assert len(index) == 0


@pytest.mark.usefixtures("no_faiss")
def test_files_in_faiss_format_say_what_to_install() -> None:
    for file in FILES.glob("vectors_*.index"):
        with pytest.raises(BackendError, match=r"in FAISS's format, needs FAISS: pip install 'fdgpu\[index\]'"):
            VectorIndex.load(file)


def test_a_file_that_was_written_with_faiss_here_is_read_without(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    index = VectorIndex(ROWS, names(N), kind="flat")
    index.save(tmp_path / "index")
    monkeypatch.setitem(sys.modules, "faiss", None)
    np.testing.assert_array_equal(
        VectorIndex.load(tmp_path / "index").search(QUERIES, 5).ids, index.search(QUERIES, 5).ids
    )


@pytest.mark.usefixtures("no_faiss")
def test_a_gpu_without_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="'gpu' was asked for, but cannot run here: no CUDA device"):
        VectorIndex(backend="gpu")
    with pytest.raises(BackendError, match="backend is 'tpu': use one of auto, cpu, gpu"):
        VectorIndex(backend="tpu")
    show_card(monkeypatch, "a stand-in", (8, 0))
    monkeypatch.setattr(vector_index, "store_device", lambda *_: CPU)
    index = VectorIndex(ROWS, names(N))
    assert (index.backend_, index.backend_reason_) == ("gpu", "auto: on a stand-in")
    np.testing.assert_allclose(index.search(QUERIES, 5).scores, exact(QUERIES, ROWS, 5), atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("half", [False, True])
def test_an_exact_store_on_a_device_finds_what_it_finds_on_the_host(half: bool) -> None:
    rows, queries = unit_rows(VECTORS + 500, 64), unit_rows(300, 64, seed=1)
    device = ExactStore(64, half, torch.device("cuda"))
    device.add(torch.from_numpy(rows[:100]))
    device.add(torch.from_numpy(rows[100:]).cuda())
    expected, _ = found_in(store_of(rows, half=half), queries, 9)
    np.testing.assert_allclose(found_in(device, queries, 9)[0], expected, atol=1e-5)
