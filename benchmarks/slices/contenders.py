"""Who takes part, and one setting's measurement of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.discovery.metric import FOUND, precision_at
from benchmarks.discovery.planting import Planted, Setting, plant
from benchmarks.slices.methods import Method, confidence, directions, domino, random, spotlight

OURS = "fdgpu"


@dataclass(frozen=True)
class Contender:
    """A method and the lines it gets: a name, and how many of its first proposals count, None for all."""

    method: Method
    lines: dict[str, int | None]


@dataclass(frozen=True)
class Measurement:
    """One line of one setting; precision and found are means over the setting's slices."""

    method: str
    family: str
    strength: float
    separation: float
    seed: int
    proposals: int
    precision_10: float
    precision_25: float
    found: float
    seconds: float


def contenders(n_directions: int = 1) -> list[Contender]:
    """List them; with more than one direction, fdgpu takes part a second time with that many."""
    more = [Contender(partial(directions, n_directions=n_directions), {f"{OURS}, {n_directions} directions": None})]
    return [
        Contender(directions, {OURS: None}),
        Contender(partial(directions, whiten=False), {f"{OURS}, not whitened": None}),
        *(more if n_directions > 1 else []),
        Contender(confidence, {"confidence": None}),
        Contender(domino, {"Domino, 5 shown": 5, "Domino, all": None}),
        Contender(spotlight, {"Spotlight": None}),
        Contender(random, {"random": None}),
    ]


def warm_up(taking_part: Sequence[Contender]) -> None:
    """Run each once on a small setting, so that what is compiled or loaded once is not timed."""
    small = plant(Setting("rare", 0.05, samples=600))
    for contender in taking_part:
        contender.method(small.validation, small.held_out)


def measure(contender: Contender, setting: Setting, planted: Planted) -> list[Measurement]:
    """Fit and score; seconds are of both, without drawing the setting and without the metric."""
    start = time.perf_counter()
    proposals = contender.method(planted.validation, planted.held_out)
    seconds = time.perf_counter() - start
    rows = []
    for name, count in contender.lines.items():
        shown = proposals[:, :count]
        at_10, at_25 = (precision_at(k, shown, planted.truth) for k in (10, 25))
        rows.append(
            Measurement(
                name,
                setting.family,
                setting.strength,
                setting.separation,
                setting.seed,
                shown.shape[1],
                float(at_10.mean()),
                float(at_25.mean()),
                float(np.mean(at_10 >= FOUND)),
                seconds,
            )
        )
    return rows
