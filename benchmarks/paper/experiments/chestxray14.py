"""ChestX-ray14: several conditions an image, and a view that goes with being ill (paper, C.3, figure 39, table 38).

Each condition is a binary problem of its own: cut at the threshold of the best F1 on validation, and one direction
for the images that have it and one for those that have not. Of the images, a little over a third were taken lying
(AP), mostly of patients who are ill: are these the hardest of those without the condition, and easy with it?
Offline the conditions are garments among three in a picture, and AP is a picture that is blurred and dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Examples
from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.files.chestxray14_world import chestxray14
from benchmarks.paper.lab import LATENT
from benchmarks.paper.offline.composed import garments_together
from benchmarks.paper.rankings import BASE, OUR_LATENT, OURS, Fits, cheap_rankings
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from benchmarks.paper.worlds import ThreeSets
from fdgpu import FailureDirections
from fdgpu.arrays import to_host
from fdgpu.auditing.columns.conditions import best_f1_threshold, f1_score
from fdgpu.networks import class_scores
from fdgpu.repair import hardest

WITHOUT, WITH = 0, 1  # the classes of a condition
MEAN = "condition"  # in the names of means over conditions


class World(ThreeSets, Protocol):
    """The sets of one seed: labels (n, k) of 0 and 1, one a condition; the minority was taken lying (AP)."""

    conditions: Sequence[str]


@dataclass(frozen=True)
class Judged:
    """One condition on one set: the examples as a binary problem, and who is right at the threshold."""

    examples: Examples
    correct: NDArray[np.bool_]
    lying: NDArray[np.bool_]

    @classmethod
    def of(cls, seen: Seen, column: int, probabilities: NDArray[np.float64], threshold: float) -> Judged:
        """Return it from the probabilities (n,) that the condition is there."""
        labels = seen.labels[:, column].long().numpy()
        both = np.stack([1 - probabilities, probabilities], axis=1)
        examples = Examples(labels, seen.inputs, seen.embeddings, both)
        return cls(examples, (probabilities >= threshold) == labels, seen.minority.numpy())

    @property
    def f1(self) -> float:
        """Of the answers at the threshold."""
        there = self.examples.labels == WITH
        return f1_score(there == self.correct, there)


def run(world: World) -> list[Figure]:
    """Measure one seed."""
    lab, train, val, test = world.lab, world.train(), world.val(), world.test()
    model = lab.train(train.inputs, train.labels, world.seed)
    on_val, on_test = (
        to_host(class_scores(model, seen.inputs, workers=lab.workers).double().sigmoid(), "a model's probabilities")
        for seen in (val, test)
    )
    parts: list[list[Figure]] = []
    for column, name in enumerate(world.conditions):
        if not bool(val.labels[:, column].any()):
            continue  # nothing to find a threshold on
        threshold = best_f1_threshold(on_val[:, column], val.labels[:, column].bool().numpy())
        seen = Judged.of(val, column, on_val[:, column], threshold)
        given = (val.embeddings, seen.examples.labels, seen.correct)
        fits = {
            OURS: FailureDirections().fit(*given, reference=train.embeddings),
            OUR_LATENT: FailureDirections(method=LATENT).fit(
                *given, reference=train.embeddings, loss=seen.examples.loss("the latent method")
            ),
        }
        judged = Judged.of(test, column, on_test[:, column], threshold)
        parts.append([Figure(_of("F1", name), BASE, judged.f1), *_rankings(world, fits, judged, name)])
    return _means(parts) + [figure for part in parts for figure in part if figure.method != "random"]


def _of(measure: str, name: str) -> str:
    return f"{measure}, {name}"


def _rankings(world: World, fits: Fits, judged: Judged, name: str) -> list[Figure]:
    """Where AP stands in the order of each of the condition's two classes, and its share of all and of the flagged."""
    figures = []
    ways, directions = cheap_rankings(fits, world.seed), fits[OURS]
    values = {method: ranking.hardness(judged.examples) for method, ranking in ways.items()}
    for label, who in ((WITHOUT, f"no {name}"), (WITH, name)):
        own = judged.examples.labels == label
        if list(directions.status_)[list(directions.classes_).index(label)] != "ok" or not own.any():
            continue  # a condition that is too rare, or that the model never errs on, has no direction
        figures.append(Figure(_of("share of AP", who), BASE, float(judged.lying[own].mean())))
        flagged = own & (values[OURS] < 0)
        if flagged.any():
            figures.append(Figure(_of("share of AP", who), OURS, float(judged.lying[flagged].mean())))
        for k in (k for k in world.settings["top"] if k <= own.sum()):
            for method, column in values.items():
                for side, sign in (("hardest", 1), ("easiest", -1)):
                    rows = hardest(sign * column, judged.examples.labels, k, classes=[label])
                    figures.append(Figure(_of(f"AP among {side}", who), method, float(judged.lying[rows].mean()), k))
    return figures


def _means(parts: Sequence[Sequence[Figure]]) -> list[Figure]:
    """Average over conditions, each under the name "condition"."""
    groups: dict[tuple[str, str, float | None], list[float]] = {}
    for part in parts:
        for figure in part:
            measure, who = figure.measure.split(", ", 1)
            mean = f"no {MEAN}" if who.startswith("no ") else MEAN
            groups.setdefault((_of(measure, mean), figure.method, figure.at), []).append(figure.value)
    return [Figure(measure, method, fmean(values), at) for (measure, method, at), values in groups.items()]


EXPERIMENT = Experiment(
    "chestxray14",
    run,
    garments_together,
    (
        Panel("Without the condition, the hardest", ("AP among hardest, no condition",), "K", "share of AP", (0, 1.02)),
        Panel("With the condition, the hardest", ("AP among hardest, condition",), "K", "share of AP", (0, 1.02)),
        Panel("With the condition, the easiest", ("AP among easiest, condition",), "K", "share of AP", (0, 1.02)),
    ),
    on_files=chestxray14,
)
