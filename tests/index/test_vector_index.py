"""Searching by inner product: exact where it says so, and never an id that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fdgpu
from fdgpu.device import cpu_count
from fdgpu.errors import InputError
from fdgpu.index import IndexKind, VectorIndex
from tests.index.vectors import exact, names, unit_rows

KINDS = ("flat", "ivf", "hnsw")
N, D, K = 1500, 16, 7
IN_FEW_LISTS = IndexKind("ivf", "a test", lists=20, probes=1)
ROWS, QUERIES = unit_rows(N, D), unit_rows(40, D, seed=1) * 3


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_exact_search_finds_what_numpy_finds(kind: str, dtype: str) -> None:
    index = VectorIndex(ROWS, names(N), kind=kind, dtype=dtype)
    scores, ids = index.search(QUERIES, K, exact=True)
    within = 3e-7 if dtype == "float32" else 1e-3
    np.testing.assert_allclose(scores, exact(QUERIES, ROWS, K), atol=3 * within)
    np.testing.assert_allclose(scores, np.take_along_axis(QUERIES @ ROWS.T, ids, axis=1), atol=3 * within)
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)
    assert index.kind_.name == kind


def test_a_flat_index_is_exact_without_being_asked() -> None:
    index = VectorIndex(ROWS, names(N), kind="flat")
    np.testing.assert_allclose(index.search(QUERIES, K).scores, exact(QUERIES, ROWS, K), atol=1e-6)
    assert index.recall(QUERIES, K) == 1


@pytest.mark.parametrize("kind", [*KINDS, IN_FEW_LISTS], ids=str)
def test_what_a_search_finds_is_there_once_and_in_order(kind: str | IndexKind) -> None:
    @settings(deadline=None, max_examples=15)
    @given(st.integers(1, 200), st.integers(1, 80), st.integers(0, 5))
    def holds(n: int, k: int, seed: int) -> None:
        rows, k = unit_rows(n, 5, seed), min(k, n)
        scores, ids = VectorIndex(rows, names(n), kind=kind).search(rows[:4], k)
        assert (np.diff(scores, axis=1) <= 0).all()
        assert ((ids >= 0) & (ids < n)).all()
        assert all(len(set(row)) == k for row in ids.tolist())
        np.testing.assert_allclose(scores, np.take_along_axis(rows[:4] @ rows.T, ids, axis=1), atol=1e-6)

    holds()


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_chunks_are_the_whole(kind: str) -> None:
    whole = VectorIndex(ROWS, names(N), kind=kind)
    parts = VectorIndex(None, names(N), kind=kind)
    for start in range(0, N, 399):
        parts.add(torch.from_numpy(ROWS[start : start + 399]))
    assert (len(parts), parts.kind_) == (len(whole), whole.kind_)
    for exactly in (True, False) if kind == "flat" else (True,):  # the lists are learned from the first rows
        np.testing.assert_array_equal(
            whole.search(QUERIES, K, exact=exactly).ids, parts.search(QUERIES, K, exact=exactly).ids
        )


def test_lists_are_flat_and_exact_until_there_is_enough_to_learn_them_from() -> None:
    index = VectorIndex(kind=IN_FEW_LISTS)
    assert IN_FEW_LISTS.training_rows == 800
    index.add(ROWS[:799], names(799))
    assert index.recall(QUERIES, K) == 1
    index.add(ROWS[799:], names(N - 799))
    assert 0.05 < index.recall(QUERIES, K) < 0.95  # one list of twenty is looked at
    np.testing.assert_allclose(index.search(QUERIES, K, exact=True).scores, exact(QUERIES, ROWS, K), atol=1e-6)


def test_recall_is_the_share_of_the_true_nearest() -> None:
    index = VectorIndex(ROWS, names(N), kind=IN_FEW_LISTS)
    found, true = index.search(QUERIES, K).ids, np.argsort(-(QUERIES @ ROWS.T), axis=1)[:, :K]
    shares = [len(set(f) & set(t)) / K for f, t in zip(found.tolist(), true.tolist(), strict=True)]
    assert index.recall(QUERIES, K) == pytest.approx(np.mean(shares))


def test_recall_does_not_mind_which_of_two_equal_captions_is_found() -> None:
    twice = np.concatenate([ROWS, ROWS])
    assert VectorIndex(twice, names(2 * N), kind="hnsw").recall(QUERIES, 3) == pytest.approx(1, abs=0.02)


def test_more_than_the_lists_hold_is_found_all_the_same() -> None:
    k = N - 1
    scores, ids = VectorIndex(ROWS, names(N), kind=IN_FEW_LISTS).search(QUERIES[:2], k)
    np.testing.assert_allclose(scores, exact(QUERIES[:2], ROWS, k), atol=1e-6)
    assert (ids >= 0).all()


def test_the_images_nearest_to_a_caption() -> None:
    images = VectorIndex(torch.from_numpy(ROWS), [f"photos/{i}.png" for i in range(N)])
    found = images.search(torch.from_numpy(ROWS[[3, 9]]), 2)
    assert [row[0] for row in images.names_of(found.ids)] == ["photos/3.png", "photos/9.png"]
    assert isinstance(found.scores, torch.Tensor)
    assert isinstance(found.ids, torch.Tensor)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_embeddings_of_any_precision(dtype: torch.dtype) -> None:
    index = VectorIndex(torch.from_numpy(ROWS).to(dtype), names(N))
    assert index.search(torch.from_numpy(QUERIES).to(dtype), 1).scores.dtype == torch.float32


def test_more_can_be_added_with_names_of_their_own() -> None:
    grammar = fdgpu.CaptionGrammar("a {colour} {noun}", colour=["red", "blue"], noun=["cat", "dog"])
    index = VectorIndex(ROWS[:4], grammar)
    index.add(ROWS[4:6], ["a bird", "a fish"])
    assert list(index.names) == [*grammar, "a bird", "a fish"]
    assert index.names[1:5] == ["a red dog", "a blue cat", "a blue dog", "a bird"]
    assert index.names[-1] == "a fish"
    assert index.names_of(index.search(ROWS[[5, 1]], 1).ids) == [["a fish"], ["a red dog"]]


def test_faiss_uses_the_cores_of_this_process() -> None:
    assert 1 <= faiss.omp_get_max_threads() <= cpu_count()


WITH_NAN = ROWS[:5].copy()
WITH_NAN[3, 2] = np.nan
MISTAKES: dict[str, tuple[Any, Any, str]] = {
    "mismatch": (ROWS[:5], names(4), "4 entries, embeddings has 5 rows"),
    "no names": (ROWS[:5], None, "names for 0"),
    "NaN": (WITH_NAN, names(5), "NaN or infinity in 1 of 5 rows, the first is row 3"),
    "length": (2 * ROWS[:5], names(5), "not unit vectors, the first is row 0 of length 2: divide"),
    "one row": (ROWS[0], names(1), r"shape \(16,\): pass one vector a row"),
    "no columns": (ROWS[:, :0], names(N), "no dimensions"),
    "complex": (ROWS.astype(complex), names(N), "complex"),
    "a string": (ROWS[:5], "abcde", "pass a list"),
    "not strings": (ROWS[:2], ["a", 3], "holds 3, a int"),
    "a set": (ROWS[:2], {"a", "b"}, "pass a list"),
}


@pytest.mark.parametrize(("rows", "texts", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_rows_that_cannot_be_added(rows: Any, texts: Any, message: str) -> None:
    index = VectorIndex(ROWS[:4], names(4)) if np.ndim(rows) and rows.shape[-1] == D else VectorIndex()
    before = len(index), len(index.names)
    with pytest.raises(InputError, match=message):
        index.add(rows, texts)
    assert (len(index), len(index.names)) == before


def test_rows_of_another_model() -> None:
    with pytest.raises(InputError, match="embeddings has 8 columns, the index holds vectors of 16"):
        VectorIndex(ROWS, names(N)).add(unit_rows(2, 8), names(2))


def test_names_that_the_index_was_made_with_come_first() -> None:
    index = VectorIndex(None, names(10)).add(ROWS[:4])
    with pytest.raises(InputError, match="waits for the rows of 6 names"):
        index.add(ROWS[:1], ["another"])
    with pytest.raises(InputError, match="embeddings has 7 rows, the index has names for 6"):
        index.add(ROWS[:7])
    assert len(index.add(ROWS[4:10])) == 10


@pytest.mark.parametrize(
    ("queries", "k", "message"),
    [
        (QUERIES, N + 1, f"k is {N + 1}, the index holds {N} vectors: ask for at most {N}"),
        (QUERIES, 0, "at least 1"),
        (QUERIES, 1.5, "whole number"),
        (QUERIES[:, :8], 3, "queries has 8 columns, the index holds vectors of 16"),
        (QUERIES[0], 3, r"queries has shape \(16,\)"),
        (np.full((2, D), np.nan), 3, "queries holds NaN"),
    ],
)
def test_questions_that_cannot_be_answered(queries: np.ndarray, k: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VectorIndex(ROWS, names(N)).search(queries, k)


def test_an_empty_index(tmp_path: Path) -> None:
    for index in (VectorIndex(), VectorIndex(None, names(3)), VectorIndex(ROWS[:0], [])):
        with pytest.raises(InputError, match="the index is empty"):
            index.search(QUERIES, 1)
        with pytest.raises(InputError, match="the index is empty"):
            index.save(tmp_path / "none")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "tree"}, "kind is 'tree': use one of auto, flat, ivf, hnsw"),
        ({"dtype": "int8"}, "dtype is 'int8': use one of float32, float16"),
        ({"expected": 0}, "expected is 0"),
        ({"expected": "9"}, "expected is '9': use a whole number of at least 1"),
        ({"kind": 3}, "kind is 3: use one of auto"),
        ({"dtype": None}, "dtype is None"),
        ({"names": {"a": 1}}, "names is .*a dict"),
    ],
)
def test_settings_that_are_not_known(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        VectorIndex(**wrong)
