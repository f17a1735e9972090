"""What the tests of a whole audit share: the bundled CLIP, a small world, and a fit that needs no solver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fdgpu
from fdgpu import ClipEmbedder
from fdgpu.auditing import AuditResult, Planted
from fdgpu.auditing.captioning import CaptionedClasses, ModeCaptions
from fdgpu.auditing.columns.inputs import AuditInputs, check_inputs
from fdgpu.auditing.gathering import class_findings
from fdgpu.auditing.images import AuditImages
from fdgpu.captions import WordEffects
from fdgpu.captions.reliability import rank_captions
from fdgpu.demo.world import draw_attributes, draw_scene, load_photographs, render, world_settings
from fdgpu.directions.parameters import SolverSettings
from fdgpu.findings import ClassFindings, Findings, ScoredCaption, Side, Split, WordEffect
from fdgpu.rows import TensorRows

NAN = float("nan")
SHOWN = 8  # images of each class of the fit that needs no solver
PER_CLASS = 40
CLASSES = ("boot", "bag", "coat")


@pytest.fixture(scope="session")
def clip() -> ClipEmbedder:
    embedder = ClipEmbedder.bundled("cpu")
    embedder.doubts = ()  # it audits the world that it knows
    return embedder


@pytest.fixture(scope="session")
def world() -> dict:
    """Pictures of three classes; the model fails on boots on white, is never wrong on bags, never right on coats."""
    names = world_settings().class_names
    pixels, kinds = load_photographs("val")
    keep = torch.cat([(kinds == names.index(c)).nonzero()[:PER_CLASS, 0] for c in CLASSES])
    generator = torch.Generator().manual_seed(0)
    attributes = draw_attributes(len(keep), generator)
    attributes.background[:] = torch.arange(len(keep)) % 2 + 1  # black, white
    pictures = render(pixels[keep], draw_scene(attributes, kinds[keep], generator))
    labels = np.repeat(CLASSES, PER_CLASS)
    predictions = labels.copy()
    predictions[:PER_CLASS][attributes.background[:PER_CLASS].numpy() == 2] = "coat"
    predictions[2 * PER_CLASS :] = "bag"
    predictions[[0, 3]] = ["bag", "boot"]  # not quite
    splits = np.where(np.arange(len(keep)) % 4 < 2, "val", "test")
    return {
        "pictures": pictures,
        "labels": labels.tolist(),
        "predictions": predictions.tolist(),
        "splits": splits.tolist(),
    }


def audit_world(world: dict, clip: ClipEmbedder, out: Path) -> AuditResult:
    return fdgpu.audit(
        world["pictures"], world["labels"], world["predictions"], splits=world["splits"], embedder=clip, out=out,
        grammar="demo", confidence=np.linspace(0.4, 1, len(world["labels"])),
    )  # fmt: skip


@pytest.fixture(scope="session")
def audited(world: dict, clip: ClipEmbedder, tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    return audit_world(world, clip, tmp_path_factory.mktemp("audit"))


class StandIn:
    """The record of a fit of three classes: two modes, one that stopped early, and none; r = 2, two values of C."""

    solver_settings = SolverSettings(Cs=(0.1, 1.0))
    classes = np.array([0, 1, 2])
    status = ("ok", "ok", "no_errors")
    n_samples, n_errors = np.array([40, 40, 40]), np.array([14, 9, 0])
    n_directions, n_permutations = np.array([2, 1, 0]), np.array([200, 57, 0])
    p_value_reason = ("", "", "")
    nested_score, solver = np.array([0.75, NAN, NAN]), ["gram", "newton", ""]
    coef = np.full((3, 2, 4), NAN)
    cv_score = np.array([[0.9, 0.8], [0.6, NAN], [NAN, NAN]])
    cv_scores = np.array([[[0.7, 0.9], [0.8, 0.8]], [[0.5, 0.6], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]])
    p_value = np.array([[0.005, 0.01], [0.3, NAN], [NAN, NAN]])
    q_value = np.array([[0.01, 0.02], [0.3, NAN], [NAN, NAN]])
    significant = q_value <= 0.05
    C = np.array([[1.0, 0.1], [1.0, NAN], [NAN, NAN]])
    C_at_edge = np.isfinite(C)
    converged = np.array([[True, False], [True, False], [False, False]])
    n_errors_of = np.array([[8, 6], [9, 0], [0, 0]])
    share = np.array([[0.2, NAN], [NAN, NAN], [NAN, NAN]])
    explained = np.where(np.isnan(share)[..., None], NAN, [0.7, 0.5, 0.8])

    def save(self, path: Path) -> None:
        path.write_bytes(b"")


@pytest.fixture
def inputs() -> AuditInputs:
    labels = np.repeat([0, 1, 2], SHOWN)
    predictions = labels.copy()
    predictions[:4], predictions[8] = 1, 0
    confidence = np.linspace(0.3, 0.9, len(labels))
    true_probability = np.where(labels == predictions, confidence, confidence / 2)
    return check_inputs(labels, predictions, ["<b>a", "b", "c"], None, confidence, true_probability=true_probability)


@pytest.fixture
def images(inputs: AuditInputs) -> AuditImages:
    """Mode 0 of the first class flags images 0 and 1 most, mode 1 images 2 and 3."""
    decisions = np.full((len(inputs), 2), NAN)
    decisions[:SHOWN, 0] = [-4, -3, 7, 8, 1, 2, 3, 4]
    decisions[:SHOWN, 1] = [1, 2, -4, -3, 6, 5, 4, 3]
    decisions[SHOWN : 2 * SHOWN, 0] = np.arange(SHOWN) - 1.0
    ids = [f"{i}.png" for i in range(len(inputs))]
    vectors = TensorRows(torch.eye(len(inputs), 4))
    return AuditImages(inputs, ids, vectors, np.ones(len(inputs), bool), decisions, Split.VAL)


def captions_of(*scores: list[float]) -> tuple[ModeCaptions, ...]:
    """Three captions along each direction: the hardest and the easiest are shown, and nobody judged them."""
    texts = ["a red one", "a blue one", "one"]
    nearest = {Side.HARD: np.arange(SHOWN) > 3}

    def along(own: np.ndarray) -> ModeCaptions:
        hard, easy = (
            tuple(ScoredCaption(texts[i], float(own[i]), float(own[i]) / 2) for i in one)
            for one in rank_captions(own, 1)
        )
        words = WordEffects((WordEffect("colour", "blue", float(own[1]), 0.5, 1),), 0.75)
        return ModeCaptions(texts, own, hard, easy, nearest, words)

    return tuple(along(np.array(own)) for own in scores)


@pytest.fixture
def captions() -> CaptionedClasses:
    two, one = captions_of([-1.0, 1.0, NAN], [1.0, -1.0, NAN]), captions_of([-0.5, 0.5, NAN])
    return CaptionedClasses({0: two, 1: one}, [])


@pytest.fixture
def stand_in() -> Any:
    return StandIn()


@pytest.fixture
def classes(
    inputs: AuditInputs, images: AuditImages, captions: CaptionedClasses, stand_in: Any
) -> tuple[ClassFindings, ...]:
    minority = np.zeros(len(inputs), bool)
    minority[[2, 3]] = True
    planted = Planted("colour", "red", "blue", "a blue", minority)
    return class_findings(stand_in, images, captions, {"<b>a": planted}, {})


@pytest.fixture
def findings(classes: tuple[ClassFindings, ...]) -> Findings:
    return Findings(
        version="1", seed=0, model="m", backend="numba", backend_reason="", device="cpu", title="t", classes=classes,
        timings={}, n_images={"val": 24}, fitted_on="val", whitened_by="val", shown_from="val", C_grid=(0.1, 1.0),
        n_directions=2, n_permutations=200, fdr=0.05,
    )  # fmt: skip
