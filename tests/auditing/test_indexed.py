"""An audit whose candidates come from an index of captions, larger than anybody would judge one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fdgpu
from fdgpu import CaptionGrammar, CaptionIndex, ClipEmbedder, FailureDirections
from fdgpu.auditing import captioning
from fdgpu.auditing.captioning import CaptionSource
from fdgpu.errors import InputError
from fdgpu.findings import Findings

COLOURS = [None, "red", "blue", "green", "yellow", "white", "black", "pink", "orange", "brown", "grey", "purple"]
PLACES = [None, "on a white background", "on a black background", "on a red background", "on a blue background"]
SIZES = [None, "small", "large", "blurry"]


def grammar(*nouns: str) -> CaptionGrammar:
    return CaptionGrammar(
        "a photo of a {size} {colour} {noun} {place}", size=SIZES, colour=COLOURS, noun=list(nouns), place=PLACES
    )


@pytest.fixture(scope="module")
def boots(clip: ClipEmbedder) -> CaptionIndex:
    return CaptionIndex.from_captions(grammar("boot"), clip)


def audit(world: dict, clip: ClipEmbedder, given: object, **settings: Any) -> fdgpu.auditing.AuditResult:
    return fdgpu.audit(
        world["pictures"], world["labels"], world["predictions"], splits=world["splits"], embedder=clip, grammar=given,
        directions=FailureDirections(n_resamples=8), **settings,
    )  # fmt: skip


def boot(findings: Findings) -> Any:
    return next(one for one in findings.classes if one.name == "boot").strongest


def test_the_hardest_captions_are_those_of_the_whole_grammar(
    world: dict, clip: ClipEmbedder, boots: CaptionIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioning, "DRAWN", 20)
    monkeypatch.setattr(captioning, "FARTHEST", 30)
    monkeypatch.setattr(captioning, "OF_RESAMPLES", 2)
    whole = audit(world, clip, {"boot": grammar("boot"), "coat": grammar("coat"), "bag": grammar("bag")})
    found = audit(world, clip, {"boot": boots, "coat": grammar("coat"), "bag": grammar("bag")})
    one, other = boot(whole.findings), boot(found.findings)
    first, same = one.hard_captions[0], other.hard_captions[0]
    assert (first.caption, first.alignment) == (same.caption, pytest.approx(same.alignment, abs=1e-6))
    assert one.easy_captions[0].caption == other.easy_captions[0].caption
    assert "white background" in same.caption
    texts = found.captions.by_class[[c.name for c in found.findings.classes].index("boot")][0].texts
    assert 60 <= len(texts) <= 20 + 2 * 30 + 2 * 2 * 16 < len(boots)
    assert same.evidence.candidates == len(texts) - ("a photo of a boot" in texts)
    assert any("an index of up to 240" in note for note in found.findings.notes)
    assert not any("no captions for" in note for note in found.findings.notes)
    assert {effect.slot for effect in other.word_effects} <= {"size", "colour", "place"}  # words of the index's grammar


def test_noise_and_ranks_are_those_of_the_whole_index(
    world: dict, clip: ClipEmbedder, boots: CaptionIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lifts a caption farthest by chance is among the candidates, however few are drawn."""
    monkeypatch.setattr(captioning, "DRAWN", 60)
    monkeypatch.setattr(captioning, "FARTHEST", 20)
    monkeypatch.setattr(captioning, "OF_RESAMPLES", 1)
    whole, found = audit(world, clip, {"boot": grammar("boot")}), audit(world, clip, {"boot": boots})
    for one, other in zip(boot(whole.findings).hard_captions[:1], boot(found.findings).hard_captions, strict=False):
        assert one.evidence.noise_p == pytest.approx(other.evidence.noise_p, abs=0.12)  # the average is of a sample
        assert one.evidence.decided_by == other.evidence.decided_by


def test_one_index_serves_classes_that_each_have_a_reference_of_their_own(world: dict, clip: ClipEmbedder) -> None:
    index = CaptionIndex.from_captions(grammar("boot", "bag", "coat"), clip)
    source = CaptionSource.resolve(index, ["boot", "bag", "coat"], clip.dimension)
    assert [entry.reference for entry in source.recipe.classes] == [
        f"a photo of a {n}" for n in ("boot", "bag", "coat")
    ]
    assert not source.recipe.fallen_back
    found = audit(world, clip, index)
    captions = boot(found.findings).hard_captions
    assert captions
    assert all(np.isfinite(caption.alignment) for caption in captions)


def test_an_index_of_plain_lists_has_no_words(world: dict, clip: ClipEmbedder) -> None:
    listed = list(grammar("boot"))
    found = boot(audit(world, clip, CaptionIndex.from_captions(listed, clip)).findings)
    assert found.hard_captions
    assert not found.word_effects


def test_what_cannot_be_audited_with(world: dict, clip: ClipEmbedder, boots: CaptionIndex) -> None:
    with pytest.raises(InputError, match="an index of captions is empty"):
        audit(world, clip, CaptionIndex(None, ["a"]))
    fixed = CaptionIndex.from_captions(grammar("boot"), clip, reference="a photo of a boot")
    with pytest.raises(InputError, match="make it without reference= and scale="):
        audit(world, clip, {"boot": fixed})
    with pytest.raises(InputError, match="an index holds vectors of 3 numbers, the embedder gives 128"):
        audit(world, clip, CaptionIndex(np.eye(3, dtype=np.float32), ["a", "b", "c"]))
    with pytest.raises(InputError, match="grammar is a dict"):
        audit(world, clip, {"boot": boots, "coat": 3})
