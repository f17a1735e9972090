"""From a fit to its pictures, and from an audit to captions that a text-to-image pipeline paints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from fdgpu import FailureDirections, decode_directions, extreme_captions, slerp
from fdgpu.decoding import Decoder
from fdgpu.errors import InputError
from fdgpu.findings import CaptionEvidence, ClassFindings, Findings, ModeFindings, ScoredCaption
from tests.conftest import make_class
from tests.decoding import tiny


@pytest.fixture(scope="module")
def fit() -> FailureDirections:
    """Classes 2, 5 and 9; class 5 makes no errors."""
    torch.set_num_threads(1)
    parts = [make_class(80, tiny.D, 0.3, 3.0, k) for k in range(3)]
    right = np.concatenate([part.right for part in parts])
    right[80:160] = True
    x, labels = np.concatenate([part.x for part in parts]), np.repeat([2, 5, 9], 80)
    return FailureDirections(whiten=False).fit(x, labels, right)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    return Decoder.from_diffusers(tiny.retrieval_augmented())


REFERENCES = np.random.default_rng(0).normal(size=(3, tiny.D)).astype(np.float32)


def test_classes_with_a_direction_are_decoded_along_it(fit: FailureDirections, decoder: Decoder) -> None:
    decoded = decode_directions(fit, REFERENCES, decoder, alphas=(0.2,), seeds=(4,), steps=2)
    assert decoded.classes == (2, 9)
    assert decoded.grid.pictures.shape == (2, 3, 1, 3, 16, 16)
    hard = slerp(REFERENCES[2], -fit.directions_[2, 0], 0.2)
    np.testing.assert_allclose(decoded.grid.vectors[1, 2], hard, atol=1e-6)
    np.testing.assert_allclose(decoded.grid.at("hard", 0.2)[1, 0], decoder.sample(hard[None], 2, [4])[0], atol=1e-4)


class Named:
    name, dimension = "ViT-B-32:openai", 512


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"fit": FailureDirections()}, r"fit again with FailureDirections\(whiten=False\)"),
        ({"clip": Named()}, "512 numbers"),
        ({"references": REFERENCES[:2]}, "one row for each of 3 classes"),
        ({"direction": 1}, "no class has a direction 1"),
        ({"direction": -1}, "no class has a direction -1"),
        ({"alphas": (2.0,)}, "alphas holds 2"),
    ],
)
def test_says_what_is_wrong(fit: FailureDirections, decoder: Decoder, change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        decode_directions(**{"fit": fit, "references": REFERENCES, "decoder": decoder} | change)


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
