"""Findings and thumbnails made by hand, for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

from fdgpu.findings import (
    ClassFindings,
    Curve,
    CurveRole,
    Example,
    Findings,
    Histogram,
    ModeFindings,
    PlantedTruth,
    ScoredCaption,
    Skipped,
    Tally,
    Thumbnails,
    WordEffect,
)

BuildMode = Callable[..., ModeFindings]
BuildClass = Callable[..., ClassFindings]
BuildFindings = Callable[..., Findings]


def examples(folder: str, n: int, *, correct: bool) -> tuple[Example, ...]:
    return tuple(
        Example(f"{folder}/{i}.png", correct, "cat" if correct else "dog", (1 if correct else -1) * (2 - 0.1 * i), 0.75)
        for i in range(n)
    )


@pytest.fixture
def planted() -> PlantedTruth:
    k = (10, 20, 40)
    return PlantedTruth(
        attribute="colour",
        easy="red",
        hard="blue",
        named_at=1,
        shares=(
            Curve("decision value", CurveRole.DECISION_VALUE, k, (1.0, 0.9, 0.8)),
            Curve("confidence", CurveRole.CONFIDENCE, k, (0.7, 0.6, 0.5)),
            Curve("chance", CurveRole.CHANCE, k, (0.5, 0.5, 0.5)),
        ),
        top=20,
        share_by_decision=0.9,
        share_by_confidence=0.6,
        share_by_chance=0.5,
    )


@pytest.fixture
def build_mode() -> BuildMode:
    """Return a function that makes a failure mode; arguments replace what it shows."""

    def build(name: str = "cat", pictures: int = 4, **changes: object) -> ModeFindings:
        full = ModeFindings(
            cv_score=0.81,
            C=1e-3,
            n_errors=100,
            hard_captions=(
                ScoredCaption(f"a photo of a blue {name}", 2 * -0.4, -0.4),
                ScoredCaption("a dark photo", 2 * -0.2, -0.2),
            ),
            easy_captions=(ScoredCaption(f"a photo of a red {name}", 2 * 0.3, 0.3),),
            word_effects=(
                WordEffect("adjective", "blue", -0.31, 0.04, 48),
                WordEffect("adjective", "red", 0.22, 0.05, 48),
                WordEffect("adjective", "green", -0.02, 0.03, 48),
                WordEffect("noun", name, -0.01, 0.002, 96),
            ),
            explained_by_words=0.87,
            hard_examples=examples(f"{name}/hard", pictures, correct=False),
            easy_examples=examples(f"{name}/easy", pictures, correct=True),
            hard_side=Tally(200, 120),
            easy_side=Tally(300, 30),
            decisions=Histogram((-2.0, -1.0, 0.0, 1.0, 2.0), (1, 2, 10, 7), (3, 5, 1, 1)),
            nearest_accuracy=(
                Curve("nearest to the hard caption", CurveRole.HARD_CAPTION, (5, 10, 20), (0.2, 0.3, 0.5)),
                Curve("nearest to the easy caption", CurveRole.EASY_CAPTION, (5, 10, 20), (1.0, 0.9, 0.8)),
            ),
        )
        return replace(full, **changes)  # type: ignore[arg-type]

    return build


@pytest.fixture
def build_class(build_mode: BuildMode) -> BuildClass:
    """Return a function that makes a class with one mode; arguments replace what it or its mode shows."""
    of_class = {f.name for f in fields(ClassFindings)}

    def build(name: str = "cat", pictures: int = 4, **changes: object) -> ClassFindings:
        of_mode = {key: changes.pop(key) for key in list(changes) if key not in of_class}
        full = ClassFindings(
            name=name,
            status="ok",
            remedy="",
            n=400,
            n_errors=100,
            modes=(build_mode(name, pictures, **of_mode),),
            solver="gram",
            n_shown=500,
            accuracy_shown=0.7,
            unsure_examples=examples(f"{name}/unsure", pictures, correct=False),
        )
        return replace(full, **changes)  # type: ignore[arg-type]

    return build


@pytest.fixture
def tested(build_mode: BuildMode, build_class: BuildClass, build_findings: BuildFindings) -> Findings:
    """200 permutations: chance with the highest score, one mode, and two modes of a class without a Gram matrix."""
    two = (
        build_mode("boot", cv_score=0.84, p_value=1 / 201, q_value=0.0099, significant=True, n_errors=83),
        build_mode("worn boot", cv_score=0.71, p_value=0.0149, q_value=0.0199, significant=True, n_errors=57),
    )
    return build_findings(
        build_class("chance", cv_score=0.9, p_value=0.3448, q_value=0.3448, n_permutations=57),
        build_class("sure", cv_score=0.8, p_value=0.0249, q_value=0.0249, significant=True, n_permutations=200),
        build_class("boot", modes=two, n_errors=140, n_permutations=200, nested_score=0.79, solver="newton"),
        n_permutations=200,
        n_directions=2,
    )


@pytest.fixture
def no_direction() -> ClassFindings:
    return ClassFindings("bag", "too_few_errors", "Add validation images of this class.", n=400, n_errors=3)


@pytest.fixture
def build_findings() -> BuildFindings:
    def build(*classes: ClassFindings, **changes: object) -> Findings:
        plain = Findings(
            version="9.8.7",
            seed=42,
            model="ViT-B-32",
            method_reason="asked for by name",
            backend="numba",
            backend_reason="no CUDA device was found",
            text_method="prefix_tree",
            text_method_reason="the text tower is causal",
            activation="quick_gelu",
            activation_reason="the model’s name says so",
            device="2 cores",
            title="An audit",
            classes=classes,
            timings={"embed": 61.0, "fit": 1.5},
            n_images={"train": 12000, "test": 500},
            fitted_on="val",
            whitened_by="train",
            shown_from="test",
            C_grid=(1e-3, 1e-2, 1e-1),
            skipped=(Skipped("broken.png", "truncated file"),),
            notes=("captions were searched on the CPU",),
        )
        return replace(plain, **changes)  # type: ignore[arg-type]

    return build


@pytest.fixture
def pictures_of() -> Callable[[Findings], Thumbnails]:
    """Return a function that makes a flat grey thumbnail for every example of the findings."""

    def build(findings: Findings, shape: tuple[int, int, int] = (16, 16, 3)) -> Thumbnails:
        grey = np.full(shape, 120, np.uint8)
        return Thumbnails({e.path: grey for c in findings.classes for e in c.examples})

    return build
