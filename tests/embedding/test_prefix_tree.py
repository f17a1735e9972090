from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from fdgpu.embedding.text_tower import BLOCK, PrefixTree, TokenPaths, TreeAttention, attend_plainly


@st.composite
def token_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = (draw(st.integers(1, 25)), draw(st.integers(1, 7)))
    tokens = draw(nps.arrays(np.int32, shape, elements=st.integers(0, 2)))
    return tokens, draw(nps.arrays(np.int64, shape[0], elements=st.integers(1, shape[1])))


def prefixes(rows: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {row[:length] for row in rows for length in range(1, len(row) + 1)}


@given(token_rows())
def test_every_row_is_a_path_and_every_prefix_one_node(given_rows: tuple[np.ndarray, np.ndarray]) -> None:
    tokens, lengths = given_rows
    rows = [tuple(row[:length]) for row, length in zip(tokens.tolist(), lengths, strict=True)]
    paths, path_of_row = TokenPaths.of(tokens, lengths)
    tree = PrefixTree.of(paths)
    assert len(paths) == len(set(rows))
    assert len(tree) == paths.nodes == len(prefixes(rows))
    for row, path in zip(rows, path_of_row, strict=True):
        nodes = tree.of_path[path, : len(row)]
        assert tuple(tree.token[nodes]) == row
        assert tree.level[nodes].tolist() == list(range(len(row)))
        assert tree.last[path] == nodes[-1]


@given(token_rows())
def test_parents_come_first_and_subtrees_stand_together(given_rows: tuple[np.ndarray, np.ndarray]) -> None:
    paths, _ = TokenPaths.of(*given_rows)
    tree = PrefixTree.of(paths)
    above = [tree.of_path[path, :level].tolist() for path, level in zip(tree.path, tree.level, strict=True)]
    for node in range(len(tree)):
        assert all(ancestor < node for ancestor in above[node])
        subtree = [other for other in range(len(tree)) if other == node or node in above[other]]
        assert subtree == list(range(node, tree.below[node]))
    some = np.arange(0, len(tree), 3)
    listed = tree.above(some)
    assert [row[:level].tolist() for row, level in zip(listed, tree.level[some], strict=True)] == [
        above[node] for node in some
    ]


@given(token_rows(), st.data())
def test_a_part_is_what_its_rows_alone_would_be(given_rows: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    paths, _ = TokenPaths.of(*given_rows)
    start = data.draw(st.integers(0, len(paths) - 1))
    stop = data.draw(st.integers(start + 1, len(paths)))
    part = paths.part(start, stop)
    alone, _ = TokenPaths.of(paths.tokens[start:stop], paths.lengths[start:stop])
    for name in ("tokens", "lengths", "shared"):
        np.testing.assert_array_equal(getattr(part, name), getattr(alone, name))


def test_what_stands_past_a_rows_length_does_not_count() -> None:
    tokens = np.array([[1, 2, 9], [1, 2, 8], [1, 2, 3], [1, 7, 7]], np.int32)
    paths, path_of_row = TokenPaths.of(tokens, np.array([2, 2, 3, 1]))
    assert path_of_row.tolist() == [1, 1, 2, 0]
    assert paths.lengths.tolist() == [1, 2, 3]
    assert paths.shared.tolist() == [0, 1, 2]


@pytest.mark.parametrize("width", [0, 5])
def test_no_rows_are_no_paths(width: int) -> None:
    paths, path_of_row = TokenPaths.of(np.zeros((0, width), np.int32), np.zeros(0, np.int64))
    assert len(paths) == len(path_of_row) == paths.nodes == 0


CPU = torch.device("cpu")


def chain(length: int) -> PrefixTree:
    return PrefixTree.of(TokenPaths.of(np.zeros((1, length), np.int32), np.array([length]))[0])


def bush(rows: int, width: int, words: int, seed: int = 0) -> PrefixTree:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, words, (rows, width), dtype=np.int32)
    return PrefixTree.of(TokenPaths.of(tokens, rng.integers(1, width + 1, rows))[0])


TREES = {
    "one node": chain(1),
    "a block less one": chain(BLOCK - 1),
    "a block": chain(BLOCK),
    "a block and one": chain(BLOCK + 1),
    "CLIP's context": chain(77),
    "deep": bush(60, 70, 2),
    "broad": bush(500, 3, 40),
    "many roots": bush(70, 1, 100),
    "as captions": bush(200, 12, 3),
}


@pytest.mark.parametrize("name", TREES)
def test_blocks_see_what_the_plain_twin_sees(name: str) -> None:
    tree = TREES[name]
    generator = torch.Generator().manual_seed(0)
    attend = TreeAttention(tree, CPU, torch.float32)
    q = torch.randn(attend.nodes, 3, 8, generator=generator)
    kv = torch.randn(attend.nodes, 2, 3, 8, generator=generator)
    expected = attend_plainly(q[: len(tree)].double(), kv[: len(tree)].double(), tree)
    found = attend(q, kv)
    assert found.isfinite().all()  # the nodes that fill up the last block, too
    assert (found[: len(tree)] - expected).abs().max() < 2e-6


def test_blocks_hold_no_more_than_one_path_of_other_nodes() -> None:
    tree = TREES["as captions"]
    attend = TreeAttention(tree, CPU, torch.float16)
    assert attend.mask.dtype == torch.float16
    assert attend.mask.shape[2:] == (BLOCK, attend.above.shape[1] + BLOCK)
    assert attend.above.shape[1] < tree.of_path.shape[1]
    assert attend.nodes - len(tree) < BLOCK
