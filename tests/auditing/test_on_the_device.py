"""A whole audit on a device that only pretends to be one: what comes to the host, how often, and how much.

Kernels are replaced by their plain twins (``tests/kernels`` holds those together); everything else is the audit's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fdgpu
from fdgpu import CaptionGrammar, ClipEmbedder, FailureDirections
from fdgpu.arrays import Crossing, counted_crossings
from fdgpu.directions import triton_backend
from fdgpu.kernels.gram_triton import gram_reference
from fdgpu.kernels.smo_batch import cross_validate_reference, fit_reference
from tests.pretend_cuda import launched_as, pretend_cuda

ADJECTIVES = [None, "red", "blue", "green", "white", "black"]
WORDS = ["coat", "boot", "bag", "shirt", "dress", "sandal", "sneaker", "pullover"]


def gram_twin(x: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    grams, at = gram_reference(x, starts, sizes)
    return grams.float(), at


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    twins = {
        "gram_matrices": gram_twin,
        "cross_validate_labels": cross_validate_reference,
        "fit_labels": fit_reference,
    }
    for name, twin in twins.items():
        monkeypatch.setattr(triton_backend, name, launched_as(twin))
    with pretend_cuda(monkeypatch):
        yield


def job(n: int, k: int, seed: int = 0) -> dict[str, Any]:
    """n pictures of each of k classes in val and as many in test; half are dark, and on these the model fails."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(k), 2 * n)
    dark = rng.random(len(labels)) < 0.5
    level = np.where(dark, 60, 190)[:, None, None, None] + 15 * (labels % 5)[:, None, None, None]
    pictures = np.clip(level + rng.normal(0, 30, (len(labels), 3, 32, 32)), 0, 255).astype(np.uint8)
    wrong = rng.random(len(labels)) < np.where(dark, 0.8, 0.1)
    return {
        "images": torch.from_numpy(pictures),
        "labels": labels,
        "predictions": np.where(wrong, (labels + 1) % k, labels),
        "splits": np.tile(np.repeat(["val", "test"], n), k).tolist(),
        "class_names": [f"{WORDS[i % len(WORDS)]} {i}" for i in range(k)],
        "confidence": rng.random(len(labels)),
        "grammar": CaptionGrammar("a photo of a {adjective} {noun}", adjective=ADJECTIVES, noun=["coat"]),
    }


def crossings_of(n: int, k: int, on_device: bool = False, **settings: Any) -> list[Crossing]:
    inputs = job(n, k)
    if on_device:
        inputs["images"] = inputs["images"].to("cuda")
    clip = ClipEmbedder.bundled(batch_size=7)
    fit = FailureDirections(**{"n_resamples": 4, "Cs": (0.01, 0.1, 1.0)} | settings)
    with counted_crossings() as crossings:
        result = fdgpu.audit(embedder=clip, directions=fit, **inputs)
    assert result.directions.backend_ == "triton"
    assert all(one.status == "ok" for one in result.findings.classes)
    assert all(one.hard_captions for one in result.findings.classes)
    return crossings


def counts(crossings: list[Crossing]) -> Counter[str]:
    return Counter(one.why for one in crossings)


def test_an_audit_runs(device: None) -> None:
    for one in crossings_of(12, 3):
        print(one)
