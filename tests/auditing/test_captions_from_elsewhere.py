"""Candidates of a list, a file or a captioner in a whole audit: the same rules believe or withhold them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fdgpu
from fdgpu import CaptionGrammar, ClipEmbedder, FailureDirections
from fdgpu.auditing import AuditResult, captioning
from fdgpu.errors import FdgpuWarning, InputError
from fdgpu.findings import ClassFindings, DecidedBy

QUICK = {"n_permutations": 60, "n_resamples": 20, "random_state": 0}
BACKGROUNDS = ("black", "white", "green", "blue")
SENTENCES = [f"a photo of a boot on a {colour} background" for colour in BACKGROUNDS]


def audit(world: dict, clip: ClipEmbedder, **given: Any) -> AuditResult:
    arguments = {"embedder": clip, "directions": FailureDirections(**QUICK), "splits": world["splits"], **given}
    predictions = arguments.pop("predictions", world["predictions"])
    return fdgpu.audit(world["pictures"], world["labels"], predictions, **arguments)


def boot_of(result: AuditResult) -> ClassFindings:
    return next(one for one in result.findings.classes if one.name == "boot")


def texts_of_boot(result: AuditResult) -> list[str]:
    index = [one.name for one in result.findings.classes].index("boot")
    return result.captions.by_class[index][0].texts


class SaysTheBackground:
    """A captioner that sees a corner, as bright as the background, and remembers what it was shown."""

    def __init__(self) -> None:
        self.shown: list[Image.Image] = []

    def __call__(self, images: list[Image.Image]) -> list[str]:
        self.shown += images
        bright = [np.asarray(image)[:3, :3].mean() > 128 for image in images]
        return [f"a photo of a boot on a {'white' if one else 'black'} background" for one in bright]


def test_a_captioner_names_the_failure_and_its_caption_is_believed(
    world: dict, clip: ClipEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captioning, "LOADED", 7)  # pictures in memory together
    captioner = SaysTheBackground()
    result = audit(world, clip, captioner=captioner)
    boot = boot_of(result)
    assert boot.strongest.hardest_caption == "a photo of a boot on a white background"
    assert boot.hard_captions[0].evidence.decided_by in (DecidedBy.GAP, DecidedBy.RANK_AND_GAP)
    assert boot.strongest.easy_captions[0].caption == "a photo of a boot on a black background"
    assert len(texts_of_boot(result)) == 2  # each sentence once
    labels, predictions, splits = (np.array(world[name]) for name in ("labels", "predictions", "splits"))
    fitted = (labels == "boot") & (splits == "val")
    wrong, right = (int((fitted & (match(predictions, labels))).sum()) for match in (np.not_equal, np.equal))
    assert len(captioner.shown) == wrong + min(wrong, right)  # coats, of which one is right, have no direction
    assert any("sentences that a captioner wrote" in note for note in result.findings.notes)


def test_what_a_captioner_says_of_failures_by_chance_is_withheld(world: dict, clip: ClipEmbedder) -> None:
    rng = np.random.default_rng(3)
    labels = np.array(world["labels"])
    predictions = np.where(rng.random(len(labels)) < 0.4, "coat", labels)
    result = audit(world, clip, captioner=SaysTheBackground(), predictions=predictions.tolist())
    for one in result.findings.classes:
        assert all(caption.withheld for mode in one.modes for caption in mode.hard_captions)
    assert boot_of(result).strongest.hardest_caption == "no reliable caption"


@pytest.mark.parametrize("kind", ["list", "file", "mapping"])
def test_sentences_of_a_list_or_a_file_are_judged_like_a_grammars(
    kind: str, world: dict, clip: ClipEmbedder, tmp_path: Path
) -> None:
    path = tmp_path / "own.csv"
    path.write_text("caption\n" + "\n".join([*SENTENCES, SENTENCES[0], ""]) + "\n")
    given: Any = {"list": SENTENCES, "file": path, "mapping": {"boot": SENTENCES}}[kind]
    result = audit(world, clip, grammar=given)
    backgrounds = [None, *(f"on a {colour} background" for colour in BACKGROUNDS)]  # None is the reference
    grammar = CaptionGrammar("a photo of a {noun} {background}", noun=["boot"], background=backgrounds)
    expected = boot_of(audit(world, clip, grammar={"boot": grammar}))
    assert boot_of(result).hard_captions == expected.hard_captions
    assert boot_of(result).strongest.hardest_caption == SENTENCES[1]


def test_a_captioner_that_fails_leaves_the_recipes_captions(world: dict, clip: ClipEmbedder) -> None:
    with pytest.warns(FdgpuWarning, match="Captions are the recipe's.*the captioner gave 3 answers"):
        result = audit(world, clip, captioner=lambda _: ["one", "two", "three"])
    assert len(texts_of_boot(result)) > 50
    says = SaysTheBackground()

    def raises_on_one(images: list[Image.Image]) -> list[str]:
        if images[0].size and len(images) == 1 and not says.shown:
            says(images)
            raise OSError("out of order")
        if len(images) > 1:
            raise OSError("one at a time")
        return says(images)

    with pytest.warns(FdgpuWarning, match=r"The captioner failed on 1 images, such as \d+ \(OSError: out of order\)"):
        result = audit(world, clip, captioner=raises_on_one)
    assert boot_of(result).strongest.hardest_caption == SENTENCES[1]


def test_a_captioner_stands_alone(world: dict, clip: ClipEmbedder) -> None:
    with pytest.raises(InputError, match="grammar and captioner are given"):
        audit(world, clip, captioner=SaysTheBackground(), grammar="demo")
    with pytest.raises(InputError, match="captioner is 3"):
        audit(world, clip, captioner=3)
    vectors = np.eye(len(world["labels"]), 40)
    with pytest.raises(InputError, match="captioner is given, and nothing reads captions"):
        audit(world, clip, captioner=SaysTheBackground(), embeddings=vectors, embedder=None)
    captions = ([f"a photo of a {name}" for name in ("boot", "bag", "coat")], np.eye(3, 40))
    with pytest.raises(InputError, match="captioner is given beside captions with their vectors"):
        audit(world, clip, captioner=SaysTheBackground(), embeddings=vectors, embedder=None, captions=captions)
