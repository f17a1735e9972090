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
from fdgpu.auditing.causes import LOOKED_AT
from fdgpu.auditing.gathering import EXAMPLES, NEIGHBOURS
from fdgpu.auditing.label_errors import FEWEST, pools
from fdgpu.captions.reliability import SHOWN
from fdgpu.errors import FdgpuWarning
from fdgpu.findings import ClassFindings, ScoredCaption
from tests.pretend_cuda import pretend_cuda, solve_by_twins

SIZES = ((16, 2), (32, 3))  # images of a class and split, classes: both grow, and no crossing becomes fewer by either
FEW = ((16, 2), (32, 2))
CHECK = "how far captions lie from encode_text's"
OF_THE_MODEL = {  # the bundled CLIP
    "the text tower's attention mask": 4 * 20 * 20,
    CHECK: 4,
    "a digest of weights": 29340,  # up to 64 entries of each tensor
}
SIDE = 64  # pixels of a picture, as the bundled CLIP takes them: CUDA resizes through floats, and the CPU does not
SETTINGS = {"n_resamples": 4, "Cs": (0.01, 0.1, 1.0), "tol": 1e-4}
ADJECTIVES = [None, "red", "blue", "green", "white", "black"]
WORDS = ["coat", "boot", "bag", "shirt", "dress", "sandal", "sneaker", "pullover"]


@contextmanager
def on_the_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    solve_by_twins(monkeypatch)
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


class Knows(nn.Module):
    """A model that gives the answers of a job: those of the picture that is the most like what it is shown."""

    def __init__(self, pictures: torch.Tensor, predictions: np.ndarray) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.AvgPool2d(16), nn.Flatten())
        self.register_buffer("seen", self.look(pictures / 255))
        self.register_buffer("scores", nn.functional.one_hot(torch.from_numpy(predictions)).float())

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        distances = (self.look(pictures)[:, None] - self.seen[None]).square().sum(-1)
        return self.scores[distances.argmin(1)]


def run(
    n: int, k: int, on_device: bool = False, grammar: object = None, answered: bool = False, **settings: Any
) -> tuple[AuditResult, list[Crossing]]:
    """Audit where the embedder is, and count; several batches in every stage that has any."""
    inputs = job(n, k)
    if answered:
        model = Knows(inputs["images"], inputs["predictions"]).to("cuda" if on_device else "cpu")
        inputs |= {"predictions": None, "confidence": None, "model": model}
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
    few, more = (Counter(one.why for one in crossings) for _, crossings in there)
    assert few == more
    resamples, asked = SETTINGS["n_resamples"], "which captions of an index are farthest out"
    for (result, crossings), (other, _) in zip(there, here, strict=True):
        k = len(result.findings.classes)
        assert [one.bytes for one in crossings if one.why == asked] == [8 * k * 2 * 2, 8 * k * 2 * resamples * 2]
        same_findings(other, result)


def expected(result: AuditResult, settings: dict[str, Any], on_device: bool) -> dict[str, int]:
    """Bytes of each crossing of an audit, by what it is for.

    N images, of which s are shown, all in pictures where they are so few, beside errors of val; k classes, r
    directions, m candidates a class, c values of C, d dimensions: nothing has N·d or m·d elements.
    """
    n, k, r = len(result.mode_decisions), len(result.findings.classes), settings.get("n_directions", 1)
    m, c, d, s = len(ADJECTIVES), len(SETTINGS["Cs"]), 128, n // 2
    near = min(LOOKED_AT, s)
    causes = result.findings.causes.lists.values()
    of_val = len({one.example.path for listed in causes for one in listed[:EXAMPLES] if one.split == "val"})
    found = {
        "which images have a vector": n,
        **{f"how near the nearest images of {split} are": 4 * n * near for split in ("val", "test")},
        **{f"which images of {split} are nearest": 8 * n * near for split in ("val", "test")},
        "how much errors look like the class that they were taken for": 8 * judged(result),
        "which images are near-duplicates": 8 * s,
        "mean and deviation of the reference": 2 * 8 * d,
        "what was found": 8 * k * (d + c + 15),
        "decision values": 8 * n * r,
        "the alignments of candidates": 8 * k * m,
        "which captions are alike": 2 * k * m,
        "the evidence of the captions that are shown": 8 * k * 2 * SHOWN * 6,
        "right or wrong, the images nearest to a caption first": 2 * s,
        "places on the maps": 4 * s,
        "images most like each": 4 * NEIGHBOURS * s,
    }
    if on_device:
        found |= {"checksums of the pictures": 8 * n, "the pictures to show": 3 * SIDE * SIDE * (s + of_val)}
    return found | OF_THE_MODEL


def judged(result: AuditResult) -> int:
    """Errors, and the right images that each kind of them is compared with; a duplicate is neither."""
    k = len(result.findings.classes)
    inputs = job(len(result.mode_decisions) // (2 * k), k)
    asked = np.ones(len(inputs["labels"]), bool)
    asked[[int(one.example.path) for one in result.findings.causes.duplicate]] = False
    own = pools(inputs["labels"], inputs["predictions"], asked)
    return sum(len(pool.errors) + len(pool.right) for pool in own if len(pool.errors) >= FEWEST)


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
    few, more = (Counter(one.why for one in crossings) for _, crossings in there)
    assert few == more
    for (result, _), (other, _) in zip(here, there, strict=True):
        same_findings(result, other)


def shown(one: ClassFindings) -> tuple[ScoredCaption, ...]:
    return one.strongest.hard_captions + one.strongest.easy_captions


def same_findings(here: AuditResult, there: AuditResult) -> None:
    """The CPU's solver and the twins of the device's differ by their tolerance, and by nothing else."""
    assert here.findings.model_fingerprint == there.findings.model_fingerprint
    for one, other in zip(here.findings.classes, there.findings.classes, strict=True):
        assert (one.status, one.n_errors, one.n_shown) == (other.status, other.n_errors, other.n_shown)
        assert one.cv_score == pytest.approx(other.cv_score, abs=1e-9, nan_ok=True)
        assert one.p_value == pytest.approx(other.p_value, nan_ok=True)
        assert one.nested_score == pytest.approx(other.nested_score, nan_ok=True)
        for mine, yours in zip(shown(one), shown(other), strict=True):
            assert (mine.caption, mine.also) == (yours.caption, yours.also)
            assert mine.alignment == pytest.approx(yours.alignment, abs=2e-3)
            assert mine.evidence.decided_by == yours.evidence.decided_by
            assert mine.evidence.rank_median == pytest.approx(yours.evidence.rank_median, abs=1.0)  # near equals
    lengths = np.linalg.norm(here.directions.coef_, axis=-1).max()
    np.testing.assert_allclose(here.decisions, there.decisions, atol=5e-3 * max(1.0, lengths))


def test_a_models_answers_come_down_once(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [run(n, k, answered=True) for n, k in SIZES]
    with on_the_device(monkeypatch):
        there = [run(n, k, True, answered=True) for n, k in SIZES]
    for (result, crossings), (other, _) in zip(there, here, strict=True):
        n = len(result.mode_decisions)
        answers = [one.bytes for one in crossings if one.why == "the model's answers"]
        assert answers == [7 * 8 * n]
        _, of_the_classifier = (one for one in crossings if one.why == "a digest of weights")
        others = [one for one in crossings if one.why != "the model's answers" and one is not of_the_classifier]
        assert replace(result.findings.classifier, device="cpu") == other.findings.classifier
        check(result, others, {}, on_device=True)
        same_findings(other, result)
        np.testing.assert_allclose(other.findings.classes[0].n_errors, result.findings.classes[0].n_errors)


def test_batches_of_classes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with on_the_device(monkeypatch):
        whole, at_once = run(16, 3)
        monkeypatch.setitem(captioning.BATCH_BYTES, "cuda", 1)  # a class at a time
        result, one_by_one = run(16, 3)
    counts, more = (Counter(one.why for one in crossings) for crossings in (at_once, one_by_one))
    assert more["the alignments of candidates"] == 3 * counts["the alignments of candidates"]
    same_findings(whole, result)


def given(n: int, k: int, with_clip: bool, settings: Any = None, **change: Any) -> tuple[AuditResult, list[Crossing]]:
    """Audit vectors that are there already, where the embedder is."""
    inputs, settings = job(n, k) | change, settings or {}
    embedder = ClipEmbedder.bundled(batch_size=7)
    embedder.doubts = ()
    inputs["embeddings"] = embedder.images(inputs.pop("images"))
    fit = FailureDirections(**SETTINGS | settings)
    if with_clip:
        inputs["embedder"] = embedder
    else:
        inputs["captions"] = (list(inputs["grammar"]), embedder.texts(inputs["grammar"]))
    with counted_crossings() as crossings:
        result = fdgpu.audit(directions=fit, **inputs)
    return result, crossings


@pytest.mark.parametrize("with_clip", [True, False], ids=["with their CLIP", "with captions"])
def test_vectors_that_are_given_never_come_down(with_clip: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [given(n, k, with_clip) for n, k in FEW]
    with on_the_device(monkeypatch):
        there = [given(n, k, with_clip) for n, k in FEW]
    for (result, _), (other, crossings) in zip(here, there, strict=True):
        n, m = len(other.mode_decisions), len(ADJECTIVES)
        formula = {why: size for why, size in expected(other, {}, False).items() if why not in OF_THE_MODEL}
        formula |= {"which of the given vectors are zero": n, "checksums of the pictures": 8 * n}
        formula |= {why: OF_THE_MODEL[why] for why in [CHECK] if with_clip} or {"which captions have a vector": m}
        assert {one.why: one.bytes for one in crossings} == formula
        assert len(crossings) == len(there[0][1])
        same_findings(result, other)


def test_hidden_classes_are_found_where_the_vectors_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses go up; what comes down is what comes of a SVM, but that no solver of the host is near."""

    def latent(n: int, k: int) -> tuple[AuditResult, list[Crossing]]:
        labels, predictions = (job(n, k)[name] for name in ("labels", "predictions"))
        noise = 0.1 * np.random.default_rng(2).random(len(labels))
        known = {"confidence": None, "true_probability": np.where(labels == predictions, 0.8, 0.1) + noise}
        return given(n, k, False, {"method": "latent", "Cs": (1 / 3,)}, **known)

    here = latent(16, 2)
    with on_the_device(monkeypatch):
        there, more = latent(16, 2), latent(32, 2)
    assert (there[0].directions.backend_, there[0].findings.uses_loss) == ("torch", True)
    assert Counter(one.why for one in there[1]) == Counter(one.why for one in more[1])
    of = {one.why: one.bytes for one in there[1]}
    assert of["what was found"] == 8 * 2 * (2 * 128 + 1 + 15)
    for one, other in zip(here[0].findings.classes, there[0].findings.classes, strict=True):
        assert one.cv_score == pytest.approx(other.cv_score, abs=0.05)
        assert {example.path for example in one.hard_examples[:8]} == {
            example.path for example in other.hard_examples[:8]
        }


def test_what_comes_down_of_conditions_is_a_number_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of k conditions, of which one answer in eight is wrong by what is dark, as in :func:`job`."""

    def conditions(n: int, k: int) -> tuple[AuditResult, list[Crossing]]:
        rng = np.random.default_rng(1)
        truth = rng.integers(0, 2, (2 * n * k, 2))
        wrong = (np.arange(len(truth))[:, None] % 2 == 0) & (rng.random(truth.shape) < 0.6)
        answers = np.abs(truth - wrong) * 0.6 + 0.2 + 0.1 * rng.random(truth.shape)
        change = {"labels": truth, "predictions": answers, "class_names": ["torn", "worn"], "confidence": None}
        with pytest.warns(FdgpuWarning, match="have the best F1 on val"):
            return given(n, k, True, **change)

    here = conditions(*FEW[0])
    with on_the_device(monkeypatch):
        there, more = (conditions(*one) for one in FEW)
    assert Counter(one.why for one in there[1]) == Counter(one.why for one in more[1])
    same_findings(here[0], there[0])
    for result, crossings in (there, more):
        n = len(result.mode_decisions)
        of = {one.why: one.bytes for one in crossings}
        assert of["decision values"] == 8 * n * 2
        assert of["which images are near-duplicates"] == 8 * n // 2
        shown_of_classes = sum(one.n_shown for one in result.findings.classes if one.found)
        assert of["right or wrong, the images nearest to a caption first"] == 2 * shown_of_classes
        assert max(of.values()) < 4 * n * 128  # no vector
