"""The benchmark of growing: both sides score the same captions, and what it compares it compares rightly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.growing.__main__ import Everything, score_everything, search
from benchmarks.growing.directions import REFERENCE, Direction
from benchmarks.growing.grammars import grammars
from fdgpu import CaptionGrammar, ClipEmbedder
from fdgpu.kernels.alignments import alignments


@pytest.fixture(scope="module")
def clip() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu")


@pytest.fixture(scope="module")
def along(clip: ClipEmbedder) -> list[Direction]:
    base, ones = clip.texts(REFERENCE)[0], torch.ones(clip.dimension)
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(clip.dimension, 2)))[0].T.astype(np.float32)
    return [
        Direction(f"random {i}", lambda texts, w=w: alignments(texts, base, w, ones).numpy())
        for i, w in enumerate(torch.from_numpy(vectors))
    ]


def test_a_wide_beam_reaches_what_scoring_everything_does(clip: ClipEmbedder, along: list[Direction]) -> None:
    words = [None, "red", "blue", "green", "white", "very " * 20 + "long"]
    grammar = CaptionGrammar("a photo of a {one} {noun} {two}", one=words, noun=["coat"], two=words)
    everything = score_everything(grammar, clip, along)
    assert all(len(best) == 10 for best in everything.best.values())
    row = search("tiny", grammar, clip, along, 25, everything)
    assert (row.reached, row.reached_worst, row.top10) == (pytest.approx(1), pytest.approx(1), 10)
    assert row.scored == 25  # five words in either slot, the reference among them
    assert row.scored_share == pytest.approx(25 / 36)
    alone = search("tiny", grammar, clip, along, 25, Everything({}, math.nan))
    assert math.isnan(alone.reached)
    assert math.isnan(alone.top10)
    assert alone.best_alignment == row.best_alignment


def test_the_grammars_are_as_large_as_it_says() -> None:
    sizes = {name: len(grammar) for name, grammar in grammars().items()}
    assert sizes == {"three slots": 79_380, "four slots": 1_349_460, "five slots": pytest.approx(1.3e8, rel=0.05)}
