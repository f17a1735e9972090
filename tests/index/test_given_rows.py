"""Ids of positions, and names of ids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fdgpu.index.given_rows import Chain, RowIds, batches

BLOCKS = st.lists(st.lists(st.booleans(), max_size=6), max_size=6)


@given(BLOCKS, st.randoms())
def test_every_kept_row_has_its_id(blocks: list[list[bool]], random: st.DataObject) -> None:
    starts = np.cumsum([0, *map(len, blocks)])
    order = random.sample(range(len(blocks)), len(blocks))
    row_ids, ids = RowIds(), []
    for block in order:
        kept = np.array(blocks[block], bool)
        row_ids.append(int(starts[block]), kept)
        ids += (starts[block] + np.flatnonzero(kept)).tolist()
    assert len(row_ids) == len(ids)
    if ids:
        np.testing.assert_array_equal(row_ids.ids(torch.arange(len(ids))), ids)
        again = RowIds(row_ids.runs, len(row_ids))
        np.testing.assert_array_equal(again.ids(torch.tensor([[len(ids) - 1, 0]])), [[ids[-1], ids[0]]])


def test_rows_in_order_take_one_run() -> None:
    row_ids = RowIds()
    for start in range(0, 5000, 1000):
        row_ids.append(start, np.ones(1000, bool))
    assert row_ids.runs == [[0, 0]]


@given(st.lists(st.lists(st.text(max_size=2), max_size=4), max_size=4))
def test_a_chain_is_its_parts(parts: list[list[str]]) -> None:
    chain, flat = Chain(parts), [name for part in parts for name in part]
    assert (len(chain), list(chain)) == (len(flat), flat)
    assert [chain[i] for i in range(-len(flat), len(flat))] == flat + flat
    assert chain[1:3] == flat[1:3]
    with pytest.raises(IndexError):
        chain[len(flat)]


@given(st.integers(0, 9000), st.integers(1, 5000), st.booleans())
def test_batches_hold_every_id_once(count: int, batch_size: int, shuffled: bool) -> None:
    found = list(batches(count, batch_size, shuffled))
    assert sorted(i for blocks in found for block in blocks for i in block) == list(range(count))
    assert all(1 <= sum(map(len, blocks)) <= batch_size for blocks in found)
