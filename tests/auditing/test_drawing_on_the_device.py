"""Directions of an audit that are decoded on a pretended device: pictures come down once, as bytes."""

from __future__ import annotations

from collections import Counter

import pytest

import fdgpu
from fdgpu import ClipEmbedder, Decoder, FailureDirections
from fdgpu.arrays import Crossing, counted_crossings
from fdgpu.auditing import drawing
from tests.auditing.test_on_the_device import SETTINGS, job, on_the_device

ONCE_A_PART = {"whether vectors can be rotated", "whether a vector is zero", "whether all pictures are finite"}


def crossings_of(k: int, monkeypatch: pytest.MonkeyPatch) -> list[Crossing]:
    """Audit k classes and draw one picture of each side and one between them, in several batches."""
    monkeypatch.setattr(drawing, "SEEDS", (0,))
    monkeypatch.setattr(drawing, "ALPHAS", (0.2,))
    decoder = Decoder.bundled("cuda", batch_size=5)
    decoder.steps = 1
    embedder = ClipEmbedder.bundled("cuda")
    embedder.doubts = ()  # it audits the world that it knows
    with counted_crossings() as crossings:
        result = fdgpu.audit(
            embedder=embedder,
            directions=FailureDirections(**SETTINGS),
            decoder=decoder,
            **job(16, k),
        )
    assert all(len(one.decoded) == 3 for one in result.findings.classes)
    return crossings


def test_pictures_of_directions_come_down_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Decoder.bundled("cpu")  # diffusers is imported before torch.cuda is another
    with on_the_device(monkeypatch):
        found = {k: crossings_of(k, monkeypatch) for k in (2, 4)}
    few, many = (Counter(one.why for one in crossings) for crossings in found.values())
    assert few == many
    for k, crossings in found.items():
        (pictures,) = [one for one in crossings if one.why == "decoded pictures"]
        assert (pictures.shape, pictures.bytes) == ((k, 3, 1, 3, 32, 32), k * 3 * 3 * 32 * 32)
        flags = [one for one in crossings if one.why in ONCE_A_PART]
        assert {one.why for one in flags} == ONCE_A_PART
        assert len(flags) == len(ONCE_A_PART)
        assert all(one.bytes <= 3 for one in flags)
