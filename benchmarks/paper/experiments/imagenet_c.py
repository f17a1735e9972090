"""ImageNet-C: Gaussian noise on a tenth of training and half of what is judged (paper, B.3, figure 19).

Offline the classes are garments. Noise makes images harder, and is one of many things that do: which ranking has more
of the noisy images among the hardest? The bundled CLIP has seen no noise while it was trained, unlike the paper's.
"""

from __future__ import annotations

import numpy as np

from benchmarks.baselines import Examples
from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.files.imagenet_c_world import imagenet_c
from benchmarks.paper.fitted import Fitted
from benchmarks.paper.lab import correct
from benchmarks.paper.offline.corrupted import corrupted_garments
from benchmarks.paper.rankings import BASE, OURS, cheap_rankings, minority_in_top
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from benchmarks.paper.worlds import ThreeSets


def run(world: ThreeSets) -> list[Figure]:
    """Measure one seed."""
    lab, train, val, test = world.lab, world.train(), world.val(), world.test()
    fitted = Fitted.on(lab, train, val, world.seed)
    judged, rankings = lab.judge(fitted.model, test), cheap_rankings(fitted.fits, world.seed)
    figures = [
        Figure("CV score", OURS, float(np.nanmean(fitted.directions.cv_score_))),
        *_accuracies("validation", fitted.val, val),
        *_accuracies("test", judged, test),
        *minority_in_top("noisy in top K", rankings, judged, test.minority, world.settings["top"]),
    ]
    flagged = rankings[OURS].hardness(judged) < 0
    if flagged.any():
        figures.append(Figure("noisy among flagged", OURS, float(test.minority.numpy()[flagged].mean())))
    return figures


def _accuracies(name: str, examples: Examples, seen: Seen) -> list[Figure]:
    right, noisy = correct(examples), seen.minority.numpy()
    return [
        Figure(f"accuracy, {name}", BASE, float(right.mean())),
        Figure(f"accuracy, {name}, noisy", BASE, float(right[noisy].mean())),
        Figure(f"accuracy, {name}, clean", BASE, float(right[~noisy].mean())),
    ]


EXPERIMENT = Experiment(
    "imagenet_c",
    run,
    corrupted_garments,
    (
        Panel("Noisy images among the hardest", ("noisy in top K",), "K", "share of noisy images", (0, 1.02)),
        Panel("Noise is hard", ("accuracy, test", "accuracy, test, noisy", "accuracy, test, clean")),
    ),
    on_files=imagenet_c,
)
