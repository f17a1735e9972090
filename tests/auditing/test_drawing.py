"""An audit with a decoder: the grid on its page, its files, and the classes that get one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fdgpu
from fdgpu import ClipEmbedder, FailureDirections, slerp
from fdgpu.auditing.drawing import SEEDS
from fdgpu.decoding import Decoder
from fdgpu.errors import InputError
from tests.auditing.test_audit import clip, world  # noqa: F401 - fixtures
from tests.decoding import tiny
from tests.decoding.tiny import random_net


@pytest.fixture
def decoder(tmp_path: Path) -> Decoder:
    torch.set_num_threads(1)
    decoder = Decoder(random_net(tmp_path))
    decoder.steps = 1
    return decoder


def test_the_audits_directions_are_drawn(world: dict, clip: ClipEmbedder, decoder: Decoder, tmp_path: Path) -> None:  # noqa: F811
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


def test_a_decoder_of_another_space_is_refused(world: dict, clip: ClipEmbedder) -> None:  # noqa: F811
    with pytest.raises(InputError, match="bundled gives vectors of 128 numbers, RDMPipeline decodes vectors of 32"):
        fdgpu.audit(
            world["pictures"], world["labels"], world["predictions"], splits=world["splits"], embedder=clip,
            grammar="demo", decoder=Decoder.from_diffusers(tiny.retrieval_augmented()),
        )  # fmt: skip


def test_parts_of_one_class_give_the_same_grid(
    world: dict,  # noqa: F811
    clip: ClipEmbedder,  # noqa: F811
    decoder: Decoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drawn() -> tuple[dict, list]:
        told: list = []
        result = fdgpu.audit(
            world["pictures"], world["labels"], predictions, splits=world["splits"], embedder=clip, grammar="demo",
            decoder=decoder, progress=lambda *report: told.append(report),
        )  # fmt: skip
        decoded = {path: one for one in result.findings.classes for c in one.decoded for path in c.paths}
        return decoded, [done for stage, done, total in told if (stage, total) == ("decode pictures", 56)]

    predictions = list(world["predictions"])
    predictions[48:52] = ["boot"] * 4  # a second class with errors
    together, told = drawn()
    monkeypatch.setattr("fdgpu.auditing.drawing.MEMORY", 1)
    apart, told_apart = drawn()
    assert together.keys() == apart.keys()
    assert len(together) == 56
    assert max(told) == max(told_apart) == 56
    assert told_apart == sorted(told_apart)
