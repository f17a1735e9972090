"""Rows, however they are asked for, are those of their tensor."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.rows import ChosenRows, Rows, TensorRows, as_rows, runs, taken_by_part
from tests.counted_rows import CountedRows, read_in_blocks

X = torch.arange(60.0).reshape(20, 3)
LISTED = st.lists(st.integers(0, 19), max_size=25).map(lambda rows: np.array(rows, np.int64))


@given(st.sampled_from([TensorRows, CountedRows]), LISTED, st.data(), st.integers(1, 30))
def test_rows_chosen_among_the_chosen(kind: type[Rows], chosen: np.ndarray, data: st.DataObject, size: int) -> None:
    rows = kind(X, finite=True).chosen(chosen)
    again = np.array(
        data.draw(st.lists(st.sampled_from(range(len(chosen))), max_size=9)) if len(chosen) else [], np.int64
    )
    assert rows.shape == (len(chosen), 3)
    assert rows.finite
    assert torch.equal(rows.take(again), X[chosen][again])
    assert torch.equal(rows.chosen(again).take(np.arange(len(again))), X[chosen][again])
    blocks = [block for block in rows.blocks(size) if len(block)]
    assert torch.equal(torch.cat([X[:0], *blocks]), X[chosen])
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)


@given(st.lists(LISTED, max_size=6), st.integers(1, 30))
def test_parts_that_are_taken_together(parts: list[np.ndarray], size: int) -> None:
    rows = CountedRows(X)
    with pytest.MonkeyPatch.context() as monkeypatch:
        read_in_blocks(monkeypatch, size, 3)
        taken = [torch.cat([X[:0], *blocks]) for blocks in taken_by_part(rows, parts)]
    assert len(taken) == len(parts)
    assert all(torch.equal(found, X[part]) for found, part in zip(taken, parts, strict=True))
    assert rows.most <= size


@given(st.lists(st.integers(0, 9)), st.integers(1, 20))
def test_runs_are_all_parts_in_order_and_as_long_as_they_can_be(sizes: list[int], most: int) -> None:
    found = [sizes[run] for run in runs(sizes, most)]
    assert [size for run in found for size in run] == sizes
    assert all(sum(run) <= most or len(run) == 1 for run in found)
    assert all(sum(run) + after[0] > most for run, after in pairwise(found))


def test_all_rows_of_a_tensor_are_the_tensor() -> None:
    rows = as_rows(X.numpy(), "x")
    assert rows.chosen(np.arange(20)) is rows
    assert as_rows(rows, "x") is rows
    assert isinstance(CountedRows(X).chosen(np.arange(20)), ChosenRows)
