"""Growing captions along a direction, through the bundled CLIP."""

from __future__ import annotations

import numpy as np
import pytest

import fdgpu
from fdgpu import CaptionGrammar, ClipEmbedder, FailureDirections
from fdgpu.errors import InputError

COLOURS = ["white", "blue", "red", "green", "black", "yellow", "orange", "brown"]


@pytest.fixture(scope="module")
def clip() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu")


@pytest.fixture(scope="module")
def fit(clip: ClipEmbedder) -> FailureDirections:
    """Two classes of noise around two captions: the model fails on blue coats far away; it is never wrong on bags."""
    rng = np.random.default_rng(0)
    captions = clip.texts(["a photo of a far away coat", "a photo of a red coat"]).numpy()
    right = np.arange(80) % 2 == 1
    x = captions[right.astype(int)] + 0.05 * rng.normal(size=(80, clip.dimension))
    labels = np.repeat([4, 8], 80)
    return FailureDirections().fit(np.concatenate([x, x]), labels, np.concatenate([right, np.ones(80, bool)]))


@pytest.fixture(scope="module")
def grammar() -> CaptionGrammar:
    return CaptionGrammar(
        "a photo of a {size} {adjective} {noun} {preposition}",
        size=[None, "far away", "close-up", "group of"],
        adjective=[None, *COLOURS],
        noun=["coat"],
        preposition=[None, *(f"on a {colour} background" for colour in COLOURS)],
    )


@pytest.mark.parametrize("side", ["hard", "easy"])
def test_it_finds_what_scoring_every_caption_finds(fit, clip, grammar, side) -> None:
    grown = fdgpu.grow_captions(fit, clip, 4, grammar, beam=16, top=3, side=side)
    scores = fit.score_captions(clip.texts(grammar), clip.texts("a photo of a coat")[0], 4).numpy()
    order = np.argsort(scores if side == "hard" else -scores)  # the reference is NaN, and last
    assert [one.caption for one in grown.captions] == [grammar[int(i)] for i in order[:3]]
    alignments = scores[order[:3]] / np.linalg.norm(fit.coef_[0, 0])
    assert [one.alignment for one in grown.captions] == pytest.approx(alignments, abs=1e-5)
    assert grown.n_scored < len(grammar)
    assert ("far away" in grown.captions[0].caption) == (side == "hard")


def test_a_caption_longer_than_the_context_is_left_out_and_named(fit, clip) -> None:
    long = "on a background that is " + "very " * 20 + "white"
    grammar = CaptionGrammar("a photo of a {noun} {place}", noun=["coat"], place=[None, "far away", long])
    grown = fdgpu.grow_captions(fit, clip, 4, grammar)
    assert [one.caption for one in grown.captions] == ["a photo of a coat far away"]
    assert grown.left_out == (f"a photo of a coat {long}",)


def test_what_cannot_work_is_named(fit, clip, grammar) -> None:
    with pytest.raises(InputError, match=r"class_id is 5: use one of classes_, \[4, 8\]"):
        fdgpu.grow_captions(fit, clip, 5, grammar)
    with pytest.raises(InputError, match=r"class 8 has 0 directions \(status 'no_errors'\)"):
        fdgpu.grow_captions(fit, clip, 8, grammar)
    with pytest.raises(InputError, match=r"class 4 has 1 directions .* direction is 1"):
        fdgpu.grow_captions(fit, clip, 4, grammar, direction=1)
    with pytest.raises(InputError, match="takes at most 20"):
        fdgpu.grow_captions(fit, clip, 4, grammar, reference="a photo of a " + "very " * 20 + "long coat")
    with pytest.raises(InputError, match="beam is 0"):
        fdgpu.grow_captions(fit, clip, 4, grammar, beam=0)
