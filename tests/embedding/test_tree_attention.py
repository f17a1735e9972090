from __future__ import annotations

import numpy as np
import pytest
import torch

from fdgpu.embedding.prefix_tree import PrefixTree, TokenPaths
from fdgpu.embedding.tree_attention import BLOCK, TreeBlocks, attend, attend_plainly

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
    blocks = TreeBlocks.of(tree, CPU, torch.float32)
    q = torch.randn(blocks.nodes, 3, 8, generator=generator)
    kv = torch.randn(blocks.nodes, 2, 3, 8, generator=generator)
    expected = attend_plainly(q[: len(tree)].double(), kv[: len(tree)].double(), tree)
    found = attend(q, kv, blocks)
    assert found.isfinite().all()  # the nodes that fill up the last block, too
    assert (found[: len(tree)] - expected).abs().max() < 2e-6


def test_blocks_hold_no_more_than_one_path_of_other_nodes() -> None:
    tree = TREES["as captions"]
    blocks = TreeBlocks.of(tree, CPU, torch.float16)
    assert blocks.mask.dtype == torch.float16
    assert blocks.mask.shape[2:] == (BLOCK, blocks.above.shape[1] + BLOCK)
    assert blocks.above.shape[1] < tree.of_path.shape[1]
    assert blocks.nodes - len(tree) < BLOCK
