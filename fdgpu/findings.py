"""What an audit found, as plain data: written by ``audit``, read by ``report``, stored as ``audit.json``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ScoredCaption:
    """A caption and its score w·d: the lower, the harder.

    ``alignment`` is the score over ‖w‖, the cosine between the direction and the caption's difference from the
    reference: comparable between classes, whose w differ in length with C.
    """

    caption: str
    score: float
    alignment: float


@dataclass(frozen=True)
class Example:
    """One image of the class.

    ``decision`` is the direction's decision value (> 0 easy, < 0 hard); ``confidence`` the model's confidence in
    its own prediction, where the caller gave it.
    """

    path: str
    correct: bool
    prediction: str
    decision: float
    confidence: float | None = None


@dataclass(frozen=True)
class Curve:
    """A quantity over the number of images K: ``value[i]`` belongs to ``k[i]``."""

    name: str
    k: tuple[int, ...]
    value: tuple[float, ...]


@dataclass(frozen=True)
class Histogram:
    """Decision values of right and of wrong samples, counted in the same bins (``len(edges) == len(right) + 1``)."""

    edges: tuple[float, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]


@dataclass(frozen=True)
class PlantedTruth:
    """What the demo planted in a class and how well the audit found it (the paper's figure 2).

    ``named_at`` is the rank, from 1, of the first hard caption that names the hard attribute; None if none does.
    ``shares`` are the share of the minority among the top K by decision value, by confidence and by chance.
    """

    attribute: str
    easy: str
    hard: str
    named_at: int | None
    shares: tuple[Curve, ...]
    top: int
    share_by_decision: float
    share_by_confidence: float
    share_by_chance: float


@dataclass(frozen=True)
class ClassFindings:
    """One class: whether it has a failure direction, and what that direction shows.

    ``n`` and ``n_errors`` count the samples that the direction was fitted on. A class without a direction
    (``status != "ok"``) has NaN scores, empty captions and examples, and a ``remedy``.
    """

    name: str
    status: str
    remedy: str
    n: int
    n_errors: int
    cv_score: float = float("nan")
    p_value: float = float("nan")
    q_value: float = float("nan")
    C: float = float("nan")
    C_at_edge: bool = False
    C_tied: bool = False  # the next C of the grid scores the same: the direction has stopped to change
    converged: bool = True
    n_shown: int = 0
    accuracy_shown: float = float("nan")
    hard_captions: tuple[ScoredCaption, ...] = ()
    easy_captions: tuple[ScoredCaption, ...] = ()
    hard_examples: tuple[Example, ...] = ()
    easy_examples: tuple[Example, ...] = ()
    unsure_examples: tuple[Example, ...] = ()  # sure and wrong first: the hardest by the model's own confidence
    decisions: Histogram | None = None
    nearest_accuracy: tuple[Curve, ...] = ()  # accuracy of the K images nearest to the hard and easy caption
    planted: PlantedTruth | None = None


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Findings:
    """A whole audit."""

    version: str
    seed: int
    model: str
    backend: str
    backend_reason: str
    device: str
    title: str
    classes: tuple[ClassFindings, ...]
    timings: dict[str, float]
    n_images: dict[str, int]  # images by split
    fitted_on: str  # the split the directions were fitted on
    whitened_by: str
    shown_from: str
    C_grid: tuple[float, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()  # what the reader should know: fallbacks, missing classes


@dataclass
class Thumbnails:
    """Small pictures for the page, by path: uint8 arrays (height, width, 3)."""

    pixels: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
