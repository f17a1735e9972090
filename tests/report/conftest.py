"""Findings and thumbnails made by hand, for the tests of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fdgpu.findings import (
    ClassFindings,
    Curve,
    Example,
    Findings,
    Histogram,
    PlantedTruth,
    ScoredCaption,
    Skipped,
    Thumbnails,
)

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
            Curve("decision value", k, (1.0, 0.9, 0.8)),
            Curve("confidence", k, (0.7, 0.6, 0.5)),
            Curve("chance", k, (0.5, 0.5, 0.5)),
        ),
        top=20,
        share_by_decision=0.9,
        share_by_confidence=0.6,
        share_by_chance=0.5,
    )


@pytest.fixture
def build_class() -> BuildClass:
    """Return a function that makes a class with a direction; arguments replace what it shows."""

    def build(name: str = "cat", pictures: int = 4, **changes: object) -> ClassFindings:
        full = ClassFindings(
            name=name,
            status="ok",
            remedy="",
            n=400,
            n_errors=100,
            cv_score=0.81,
            C=1e-3,
            n_shown=500,
            accuracy_shown=0.7,
            hard_captions=(
                ScoredCaption(f"a photo of a blue {name}", 2 * -0.4, -0.4),
                ScoredCaption("a dark photo", 2 * -0.2, -0.2),
            ),
            easy_captions=(ScoredCaption(f"a photo of a red {name}", 2 * 0.3, 0.3),),
            hard_examples=examples(f"{name}/hard", pictures, correct=False),
            easy_examples=examples(f"{name}/easy", pictures, correct=True),
            unsure_examples=examples(f"{name}/unsure", pictures, correct=False),
            decisions=Histogram((-2.0, -1.0, 0.0, 1.0, 2.0), (1, 2, 10, 7), (3, 5, 1, 1)),
            nearest_accuracy=(
                Curve("nearest to the hard caption", (5, 10, 20), (0.2, 0.3, 0.5)),
                Curve("nearest to the easy caption", (5, 10, 20), (1.0, 0.9, 0.8)),
            ),
        )
        return replace(full, **changes)  # type: ignore[arg-type]

    return build


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
            backend="numba",
            backend_reason="no CUDA device was found",
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
        return Thumbnails(
            {e.path: grey for c in findings.classes for e in (*c.hard_examples, *c.easy_examples, *c.unsure_examples)}
        )

    return build
