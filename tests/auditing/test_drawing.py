"""From an audit or a fit to pictures: the grid on its page and its files, and captions that a pipeline paints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fdgpu
from fdgpu import ClipEmbedder, FailureDirections, decode_directions, extreme_captions, slerp
from fdgpu.auditing.drawing import SEEDS
from fdgpu.decoding import Decoder
from fdgpu.errors import InputError
from fdgpu.findings import CaptionEvidence, ClassFindings, Findings, ModeFindings, ScoredCaption
from tests.conftest import make_class
from tests.decoding import tiny
from tests.decoding.tiny import random_net


@pytest.fixture
def decoder(tmp_path: Path) -> Decoder:
    decoder = Decoder(random_net(tmp_path))
    decoder.steps = 1
    return decoder


def test_the_audits_directions_are_drawn(world: dict, clip: ClipEmbedder, decoder: Decoder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = fdgpu.audit(
        world["pictures"], world["labels"], world["predictions"], splits=world["splits"], embedder=clip, out=out,
        grammar="demo", decoder=decoder,
    )  # fmt: skip
    boot = next(c for c in result.findings.classes if c.name == "boot")
    assert [c.end for c in boot.decoded] == ["easy"] * 3 + ["neutral"] + ["hard"] * 3
    assert all(len(column.paths) == len(SEEDS) for column in boot.decoded)
    assert not any(c.decoded for c in result.findings.classes if not c.found)
    assert "decode directions" in result.findings.timings
    assert result.page.count('<figure class="decoded">') == sum(c.found for c in result.findings.classes)
    document = json.loads((out / "audit.json").read_text())
    stored = next(c for c in document["classes"] if c["name"] == "boot")["decoded"]
    assert stored[6] == {"end": "hard", "alpha": 0.3, "paths": list(boot.decoded[6].paths)}

    labels, splits = np.array(world["labels"]), np.array(world["splits"])
    rows = (labels == "boot") & (splits == "val")
    right = labels[rows] == np.array(world["predictions"])[rows]
    plain = FailureDirections(whiten=False).fit(clip.images(world["pictures"][rows]), np.zeros(rows.sum(), int), right)
    z = slerp(clip.texts(["a photo of a boot"]), -torch.as_tensor(plain.directions_[0]), 0.3)
    expected = decoder.sample(z, seed=[SEEDS[1]])[0].mul(255).round()
    shown = np.asarray(Image.open(out / boot.decoded[6].paths[1])).transpose(2, 0, 1)
    assert np.abs(shown - expected.numpy()).max() <= 1


def test_a_decoder_of_another_space_is_refused(world: dict, clip: ClipEmbedder) -> None:
    with pytest.raises(InputError, match="bundled gives vectors of 128 numbers, RDMPipeline decodes vectors of 32"):
        fdgpu.audit(
            world["pictures"], world["labels"], world["predictions"], splits=world["splits"], embedder=clip,
            grammar="demo", decoder=Decoder.from_diffusers(tiny.retrieval_augmented()),
        )  # fmt: skip


def test_parts_of_one_class_give_the_same_grid(
    world: dict,
    clip: ClipEmbedder,
    decoder: Decoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn() -> tuple[dict, list]:
        reports: list = []
        result = fdgpu.audit(
            world["pictures"], world["labels"], predictions, splits=world["splits"], embedder=clip, grammar="demo",
            decoder=decoder, progress=lambda *report: reports.append(report),
        )  # fmt: skip
        decoded = {path: one for one in result.findings.classes for c in one.decoded for path in c.paths}
        return decoded, [done for stage, done, total in reports if (stage, total) == ("decode pictures", 56)]

    predictions = list(world["predictions"])
    predictions[48:52] = ["boot"] * 4  # a second class with errors
    together, done = drawn()
    monkeypatch.setattr("fdgpu.auditing.drawing.MEMORY", 1)
    apart, done_apart = drawn()
    assert together.keys() == apart.keys()
    assert len(together) == 56
    assert max(done) == max(done_apart) == 56
    assert done_apart == sorted(done_apart)


@pytest.fixture(scope="module")
def fit() -> FailureDirections:
    """Classes 2, 5 and 9; class 5 makes no errors."""
    parts = [make_class(80, tiny.D, 0.3, 3.0, k) for k in range(3)]
    right = np.concatenate([part.right for part in parts])
    right[80:160] = True
    x, labels = np.concatenate([part.x for part in parts]), np.repeat([2, 5, 9], 80)
    return FailureDirections(whiten=False).fit(x, labels, right)


@pytest.fixture(scope="module")
def diffuser() -> Decoder:
    return Decoder.from_diffusers(tiny.retrieval_augmented())


REFERENCES = np.random.default_rng(0).normal(size=(3, tiny.D)).astype(np.float32)


def test_classes_with_a_direction_are_decoded_along_it(fit: FailureDirections, diffuser: Decoder) -> None:
    decoded = decode_directions(fit, REFERENCES, diffuser, alphas=(0.2,), seeds=(4,), steps=2)
    assert decoded.classes == (2, 9)
    assert decoded.grid.pictures.shape == (2, 3, 1, 3, 16, 16)
    hard = slerp(REFERENCES[2], -fit.directions_[2, 0], 0.2)
    np.testing.assert_allclose(decoded.grid.vectors[1, 2], hard, atol=1e-6)
    np.testing.assert_allclose(decoded.grid.at("hard", 0.2)[1, 0], diffuser.sample(hard[None], 2, [4])[0], atol=1e-4)


class Named:
    name, dimension = "ViT-B-32:openai", 512


WHITENED = FailureDirections().fit(np.eye(4), np.zeros(4, int), np.ones(4, bool))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fit": WHITENED}, r"fit again with FailureDirections\(whiten=False\)"),
        ({"clip": Named()}, "512 numbers"),
        ({"references": REFERENCES[:2]}, "one row for each of 3 classes"),
        ({"direction": 1}, "no class has a direction 1"),
        ({"direction": -1}, "no class has a direction -1"),
        ({"alphas": (2.0,)}, "alphas holds 2"),
    ],
)
def test_says_what_is_wrong(fit: FailureDirections, diffuser: Decoder, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        decode_directions(**{"fit": fit, "references": REFERENCES, "decoder": diffuser} | change)


def test_extreme_captions_of_an_audit() -> None:
    def captions(*texts: str) -> tuple[ScoredCaption, ...]:
        return tuple(ScoredCaption(text, 0.0, 0.0) for text in texts)

    mode = ModeFindings(hard_captions=captions("a white cat", "a grey cat"), easy_captions=captions("a brown cat"))
    classes = (ClassFindings("cat", "ok", "", 9, 3, (mode,)), ClassFindings("dog", "no_errors", "", 9, 0))
    findings = Findings("", 0, "", "", "", "", "", classes, {}, {}, "val", "train", "test", (1.0,))
    assert extreme_captions(findings) == {
        "cat": {"hard": "a white cat", "easy": "a brown cat", "reference": "a photo of a cat"}
    }
    assert extreme_captions(findings, "cifar10")["cat"]["reference"] == "a photo of a cat"


def test_captions_that_the_audit_withheld_are_not_painted() -> None:
    unsure = CaptionEvidence(False, "neither", 1, 9, 4.0, 1.0, 8.0, 3, 0.2, 0.4, 10, 0.5, 0.0, -0.1, 0.1)
    withheld = (ScoredCaption("a dark photo", 0.0, 0.0, evidence=unsure),)
    half = ModeFindings(hard_captions=withheld, easy_captions=(ScoredCaption("a brown cat", 0.0, 0.0),))
    none = ModeFindings(hard_captions=withheld, easy_captions=withheld)
    classes = (ClassFindings("cat", "ok", "", 9, 3, (half,)), ClassFindings("dog", "ok", "", 9, 3, (none,)))
    findings = Findings("", 0, "", "", "", "", "", classes, {}, {}, "val", "train", "test", (1.0,))
    assert extreme_captions(findings) == {"cat": {"easy": "a brown cat", "reference": "a photo of a cat"}}
