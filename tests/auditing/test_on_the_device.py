"""A whole audit on a device that only pretends to be one: what comes to the host, how often, and how much.

Kernels are replaced by their plain twins (``tests/kernels`` holds those together); everything else is the audit's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fdgpu
from fdgpu import CaptionGrammar, CaptionIndex, ClipEmbedder, FailureDirections
from fdgpu.arrays import Crossing, counted_crossings
from fdgpu.auditing import AuditResult, captioning
from fdgpu.captions.reliability import SHOWN
from fdgpu.directions import triton_backend
from fdgpu.findings import ClassFindings, ScoredCaption
from fdgpu.kernels.gram_triton import gram_reference
from fdgpu.kernels.smo_batch import cross_validate_reference, fit_reference
from tests.pretend_cuda import launched_as, pretend_cuda

SIZES = ((16, 3), (64, 3), (16, 12))  # images of a class and split, classes
OF_THE_MODEL = {  # the bundled CLIP
    "the text tower's attention mask": 4 * 20 * 20,
    "how far captions lie from encode_text's": 4,
    "a digest of weights": 29340,  # up to 64 entries of each tensor
}
SIDE = 64  # pixels of a picture, as the bundled CLIP takes them: CUDA resizes through floats, and the CPU does not
SETTINGS = {"n_resamples": 4, "Cs": (0.01, 0.1, 1.0), "tol": 1e-4}
ADJECTIVES = [None, "red", "blue", "green", "white", "black"]
WORDS = ["coat", "boot", "bag", "shirt", "dress", "sandal", "sneaker", "pullover"]


def gram_twin(x: torch.Tensor, starts: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    grams, at = gram_reference(x, starts, sizes)
    return grams.float(), at


@contextmanager
def on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    twins = {
        "gram_matrices": gram_twin,
        "cross_validate_labels": cross_validate_reference,
        "fit_labels": fit_reference,
    }
    for name, twin in twins.items():
        monkeypatch.setattr(triton_backend, name, launched_as(twin))
    with pretend_cuda(monkeypatch):
        yield
    monkeypatch.undo()


def job(n: int, k: int) -> dict[str, Any]:
    """n pictures of each of k classes in val and as many in test; every other one is dark, where the model fails."""
    rng = np.random.default_rng(0)
    within = np.tile(np.arange(n), 2 * k)
    labels = np.repeat(np.arange(k), 2 * n)
    dark = within % 2 == 0
    level = np.where(dark, 60, 190)[:, None, None, None] + 15 * (labels % 5)[:, None, None, None]
    pictures = np.clip(level + rng.normal(0, 30, (len(labels), 3, SIDE, SIDE)), 0, 255).astype(np.uint8)
    wrong = np.where(dark, within % 8 != 6, within % 16 == 1)
    return {
        "images": torch.from_numpy(pictures),
        "labels": labels,
        "predictions": np.where(wrong, (labels + 1) % k, labels),
        "splits": np.tile(np.repeat(["val", "test"], n), k).tolist(),
        "class_names": [f"{WORDS[i % len(WORDS)]} {i}" for i in range(k)],
        "confidence": rng.random(len(labels)),
        "grammar": CaptionGrammar("a photo of a {adjective} {noun}", adjective=ADJECTIVES, noun=["coat"]),
    }


def run(
    n: int, k: int, on_device: bool = False, grammar: object = None, **settings: Any
) -> tuple[AuditResult, list[Crossing]]:
    """Audit where the embedder is, and count; several batches in every stage that has any."""
    inputs = job(n, k)
    inputs["grammar"] = grammar or inputs["grammar"]
    if on_device:
        inputs["images"] = inputs["images"].to("cuda")
    fit = FailureDirections(**SETTINGS | settings)
    with counted_crossings() as crossings:
        embedder = ClipEmbedder.bundled(batch_size=7)
        embedder.doubts = ()  # it audits the world that it knows
        result = fdgpu.audit(embedder=embedder, directions=fit, **inputs)
    return result, crossings


def test_so_it_is_with_an_index_of_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captioning, "DRAWN", 3)
    monkeypatch.setattr(captioning, "FARTHEST", 2)
    monkeypatch.setattr(captioning, "OF_RESAMPLES", 1)

    def run_all() -> list[tuple[AuditResult, list[Crossing]]]:
        index = CaptionIndex.from_captions(job(2, 1)["grammar"], ClipEmbedder.bundled())
        return [run(n, k, grammar=index) for n, k in SIZES]

    here = run_all()
    with on_the_device(monkeypatch):
        there = run_all()
    once, more_images, more_classes = (Counter(one.why for one in crossings) for _, crossings in there)
    assert once == more_images == more_classes
    resamples, asked = SETTINGS["n_resamples"], "which captions of an index are farthest out"
    for (result, crossings), (other, _) in zip(there, here, strict=True):
        k = len(result.findings.classes)
        assert [one.bytes for one in crossings if one.why == asked] == [8 * k * 2 * 2, 8 * k * 2 * resamples * 2]
        same_findings(other, result)


def expected(result: AuditResult, settings: dict[str, Any], on_device: bool) -> dict[str, int]:
    """Bytes of each crossing of an audit, by what it is for.

    N images, of which s are shown and e are examples, k classes, r directions, m candidates a class, c values of C, d
    dimensions: nothing has N·d or m·d elements.
    """
    n, k, r = len(result.mode_decisions), len(result.findings.classes), settings.get("n_directions", 1)
    m, c, d, s = len(ADJECTIVES), len(SETTINGS["Cs"]), 128, n // 2
    e = len({example.path for one in result.findings.classes for example in one.examples})
    found = {
        "which images have a vector": n,
        "whether all embeddings are finite": 1,
        "which images are near-duplicates": 8 * s,
        "mean and deviation of the reference": 2 * 8 * d,
        "what was found": 8 * k * (d + c + 8),
        "decision values": 8 * n * r,
        "the alignments of candidates": 8 * k * m,
        "which captions are alike": 2 * k * m,
        "the evidence of the captions that are shown": 8 * k * 2 * SHOWN * 6,
        "right or wrong, the images nearest to a caption first": 2 * s,
    }
    if on_device:
        found |= {"checksums of the pictures": 8 * n, "the pictures to show": 3 * SIDE * SIDE * e}
    return found | OF_THE_MODEL


def check(result: AuditResult, crossings: list[Crossing], settings: dict[str, Any], on_device: bool) -> None:
    """Every crossing is one that is expected, and as large as its formula says; and the CPU finds the same."""
    assert result.directions.backend_ == "triton"
    formula = expected(result, settings, on_device)
    assert {one.why: one.bytes for one in crossings} == formula
    assert all(one.bytes == formula[one.why] for one in crossings)


VARIANTS = [({}, False), ({"n_permutations": 6, "nested": True}, True)]


@pytest.mark.parametrize(("settings", "on_device"), VARIANTS, ids=["plain", "tested, of pictures on the device"])
def test_what_comes_down_does_not_depend_on_images_nor_classes(
    settings: dict[str, Any], on_device: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = [run(n, k, **settings) for n, k in SIZES]
    assert not any(crossings for _, crossings in here)
    with on_the_device(monkeypatch):
        there = [run(n, k, on_device, **settings) for n, k in SIZES]
    for result, crossings in there:
        check(result, crossings, settings, on_device)
    once, more_images, more_classes = (Counter(one.why for one in crossings) for _, crossings in there)
    assert once == more_images == more_classes
    for (result, _), (other, _) in zip(here, there, strict=True):
        same_findings(result, other)


def shown(one: ClassFindings) -> tuple[ScoredCaption, ...]:
    return one.strongest.hard_captions + one.strongest.easy_captions


def same_findings(here: AuditResult, there: AuditResult) -> None:
    """The CPU's solver and the twins of the device's differ by their tolerance, and by nothing else."""
    assert here.findings.model_fingerprint == there.findings.model_fingerprint
    for one, other in zip(here.findings.classes, there.findings.classes, strict=True):
        assert (one.status, one.n_errors, one.n_shown) == (other.status, other.n_errors, other.n_shown)
        assert one.cv_score == pytest.approx(other.cv_score, abs=1e-9)
        assert one.p_value == pytest.approx(other.p_value, nan_ok=True)
        assert one.nested_score == pytest.approx(other.nested_score, nan_ok=True)
        for mine, yours in zip(shown(one), shown(other), strict=True):
            assert (mine.caption, mine.also) == (yours.caption, yours.also)
            assert mine.alignment == pytest.approx(yours.alignment, abs=2e-3)
            assert mine.evidence.decided_by == yours.evidence.decided_by
            assert mine.evidence.rank_median == pytest.approx(yours.evidence.rank_median, abs=1.0)  # near equals
    lengths = np.linalg.norm(here.directions.coef_, axis=-1).max()
    np.testing.assert_allclose(here.decisions, there.decisions, atol=5e-3 * max(1.0, lengths))


def test_batches_of_classes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_the_device(monkeypatch):
        whole, at_once = run(16, 5)
        monkeypatch.setattr(captioning, "BATCH_BYTES", 1)  # a class at a time
        result, one_by_one = run(16, 5)
    counts, more = (Counter(one.why for one in crossings) for crossings in (at_once, one_by_one))
    assert more["the alignments of candidates"] == 5 * counts["the alignments of candidates"]
    same_findings(whole, result)


def test_a_model_that_is_asked_brings_its_answers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_all() -> list[tuple[AuditResult, list[Crossing]]]:
        done = []
        for n in (16, 64):
            inputs = {name: own for name, own in job(n, 3).items() if name not in ("predictions", "confidence")}
            torch.manual_seed(0)
            model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
            embedder = ClipEmbedder.bundled(batch_size=7)
            embedder.doubts = ()
            with counted_crossings() as crossings:
                asked = {"model": model.to(embedder.placement.device), "embedder": embedder}
                done.append((fdgpu.audit(**inputs, **asked, directions=FailureDirections(**SETTINGS)), crossings))
        return done

    here = run_all()
    with on_the_device(monkeypatch):
        there = run_all()
    few, many = (Counter(one.why for one in crossings) for _, crossings in there)
    assert few == many
    assert (few["the model's answers"], few["a digest of weights"]) == (1, 2)  # of both models
    for (result, crossings), (other, _), n in zip(there, here, (96, 384), strict=True):
        assert [one.bytes for one in crossings if one.why == "the model's answers"] == [8 * 7 * n]
        assert result.findings.classifier is not None
        assert replace(result.findings.classifier, device="cpu") == other.findings.classifier
        assert result.findings.input_fingerprint == other.findings.input_fingerprint
