"""Coloured MNIST: a tint that goes with the label in a growing share of training (paper, B.2, figures 17 and 18).

The label is whether a digit is five or more. In training it is wrong for a quarter of the images; in validation and
test it is right, as the published configurations have it. In a share x of the training set the tint is the label's own,
red for 0 and green for 1; the others have the other label's tint. So is the paper's "to 90 % of the training set, but
only 50 % of the validation and test sets" understood, and so does the published code draw it. Offline garments of two
groups are the digits.

Over x: does the CV score rise (figure 17), and what does up-weighting the flagged do for accuracy (figure 18)? Below
x = 0.75 the tint is the worse guide in training, too; so it is asked of the shares alone on which it is relied as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from benchmarks.baselines import Examples, Ranking
from benchmarks.paper.charts import Panel
from benchmarks.paper.correlations import of_means, pearson
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.files.coloured_mnist_world import coloured_mnist
from benchmarks.paper.fitted import Fitted
from benchmarks.paper.offline.tinted import tinted_garments
from benchmarks.paper.rankings import BASE, OURS, cheap_rankings, minority_in_top
from benchmarks.paper.remedies import outcomes, up_weighted
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from benchmarks.paper.worlds import Evaluated

# With a quarter of the labels of training wrong, a tint that is right this often is as good a guide as the digit.
RELIED = 0.75
AFTER, MINORITY = "up-weighting: overall", "up-weighting: minority"


class World(Evaluated, Protocol):
    """The sets of one seed; the minority has the other label's tint, in validation and test half of the images."""

    def train(self, share: float) -> Seen:
        """Return a training set in which ``share`` of each label has its own tint."""
        ...


def run(world: World) -> list[Figure]:
    """Measure one seed."""
    lab, settings = world.lab, world.settings
    val, test = world.val(), world.test()
    figures: list[Figure] = []
    for share in settings["shares"]:
        fitted = Fitted.on(lab, world.train(share), val, world.seed)
        train, model = fitted.train, fitted.model
        figures.append(Figure("CV score", OURS, float(np.mean(fitted.directions.cv_score_)), share))
        rankings = cheap_rankings(fitted.fits, world.seed)
        if share == settings["share"]:
            figures += _rankings(lab.judge(model, test), test, rankings, settings["top"])
        sets = up_weighted(train, lab.judge(model, train), rankings, settings["factor"])
        del sets[BASE]  # it is there
        before = lab.accuracies(model, test)
        figures += [Figure(AFTER, BASE, before.overall, share), Figure(MINORITY, BASE, before.minority, share)]
        after = outcomes(lab, "up-weighting", sets, test, world.seed, trainings=1)
        figures += [replace(figure, at=share) for figure in after]
    return figures + _correlations(figures)


def _rankings(judged: Examples, test: Seen, rankings: Mapping[str, Ranking], top: Sequence[int]) -> list[Figure]:
    """Who has the other tint among the hardest of each label?"""
    minority, flagged = test.minority.numpy(), rankings[OURS].hardness(judged) < 0
    figures = minority_in_top("minority in top K", rankings, judged, test.minority, top)
    return [*figures, Figure("minority among flagged", OURS, float(minority[flagged].mean()) if flagged.any() else 0.0)]


def _correlations(figures: Sequence[Figure]) -> list[Figure]:
    """Pearson's r over the share: of the CV score and the gain, all and where the tint is relied on, and accuracy."""
    at = {(f.measure, f.method): {g.at: g.value for g in figures if g.key[:2] == f.key[:2]} for f in figures}
    shares, scores = (np.array(list(pair)) for pair in (at["CV score", OURS], at["CV score", OURS].values()))
    base, ours = (np.array(list(at[AFTER, method].values())) for method in (BASE, OURS))
    relied = shares >= RELIED
    found = {
        ("Pearson r, CV score and share", OURS): (shares, scores),
        ("Pearson r, CV score and share relied on", OURS): (shares[relied], scores[relied]),
        ("Pearson r, accuracy and share", BASE): (shares, base),
        ("Pearson r, gain and share", OURS): (shares, ours - base),
        ("Pearson r, gain and share relied on", OURS): (shares[relied], (ours - base)[relied]),
    }
    return [Figure(*key, pearson(*pair)) for key, pair in found.items()]


def conclude(means: Sequence[Figure]) -> list[Figure]:
    """Correlate the means over seeds, as the paper's figures plot them."""
    return of_means(_correlations(means))


EXPERIMENT = Experiment(
    "coloured_mnist",
    run,
    tinted_garments,
    (
        Panel("How surely it is seen", ("CV score",), "share of training whose tint is the label's", "CV score"),
        Panel("Accuracy, up-weighted", (AFTER,), "share of training whose tint is the label's", "accuracy on test"),
        Panel("The other tint among the hardest", ("minority in top K",), "K", "share of the other tint", (0, 1.02)),
    ),
    on_files=coloured_mnist,
    conclude=conclude,
)
