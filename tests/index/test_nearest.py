"""The nearest rows, against all cosines at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.index import exact as module
from fdgpu.index.exact import best, best_by_groups, mean_row, nearest
from fdgpu.rows import Rows, TensorRows
from tests.counted_rows import CountedRows


def plain(x: torch.Tensor, queries: np.ndarray, keys: np.ndarray, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All cosines around the mean in float64, sorted."""
    centred = x.double() - x.double().mean(dim=0)
    unit = centred / centred.norm(dim=1, keepdim=True)
    return (unit[queries] @ unit[keys].T).topk(min(k, len(keys)), dim=1)


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize(("n", "d", "k"), [(63, 5, 4), (500, 33, 7), (3, 2, 9)])
def test_it_finds_what_all_cosines_say(n: int, d: int, k: int, in_parts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(n)) + 3
    monkeypatch.setattr(module, "KEYS", {"cpu": 50})
    monkeypatch.setattr(module, "ASKED", {"cpu": 7})
    if in_parts:
        monkeypatch.setattr(module, "HELD_BYTES", {"cpu": 0})
    rows: Rows = CountedRows(x) if in_parts else TensorRows(x)
    queries, keys = np.arange(0, n, 2), np.arange(n)[::-1][: n - 1].copy()
    cosines, at = nearest(rows, queries, keys, k, mean_row(rows, np.arange(n)))
    expected, where = plain(x, queries, keys, k)
    torch.testing.assert_close(cosines, expected.float(), atol=1e-5, rtol=0)
    assert (at == where).all()
    if isinstance(rows, CountedRows):
        assert rows.most <= n


@given(st.integers(1, 6), st.integers(1, 200), st.integers(1, 5), st.integers(0, 2**31))
def test_groups_find_the_best(q: int, m: int, k: int, seed: int) -> None:
    scores = torch.from_numpy(np.random.default_rng(seed).permuted(np.tile(np.arange(m, dtype=float), (q, 1)), axis=1))
    for mine, theirs in zip(best_by_groups(scores, k, 9), best(scores, k, 9), strict=True):
        assert (mine == theirs).all()


def test_what_is_the_mean_is_near_nothing() -> None:
    rows = TensorRows(torch.full((5, 3), 7.3))
    cosines, _ = nearest(rows, np.arange(5), np.arange(5), 2, mean_row(rows, np.arange(5)))
    assert (cosines == 0).all()


def test_without_keys_there_is_nothing() -> None:
    rows = TensorRows(torch.eye(4))
    cosines, at = nearest(rows, np.arange(3), np.arange(0), 2, mean_row(rows, np.arange(4)))
    assert cosines.shape == at.shape == (3, 0)
