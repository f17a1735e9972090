"""CIFAR-100's superclasses with one subclass cut by 75 % (paper 3.2, B.4); offline, garments as subclasses.

Offline every garment is cut once, one in each superclass at a time: does the ranking find it (figure 5), also where
the pool is part of training (B.4, figure 21), does the hardest of the subclasses' captions name it, and does filtering
help it (figure 6)? How much of it is removed varies as well: what does the CV score say of that (figures 22 to 24)?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.paper.charts import Panel
from benchmarks.paper.cv_study import Degree, conclude, degrees, study
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.files.cifar100_world import on_files
from benchmarks.paper.fitted import Fitted
from benchmarks.paper.offline.rare_garments import garments
from benchmarks.paper.rankings import OURS, all_rankings, cheap_rankings, minority_in_top, ours_and_confidence
from benchmarks.paper.remedies import filtered, outcomes
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from benchmarks.paper.worlds import Evaluated


class World(Evaluated, Protocol):
    """The sets of one seed; ``kinds`` of a set are codes into ``names``."""

    names: Sequence[str]
    groups: Mapping[str, Sequence[str]]  # superclass → its subclasses
    turns: Sequence[Sequence[str]]  # the subclasses that are cut, one of each superclass

    def train(self, kept: Mapping[str, float]) -> Seen:
        """Return a training set with a share of each named subclass, and all of the others."""
        ...

    def whole(self, kept: Mapping[str, float]) -> Seen:
        """Return a training set of the pool's images as well, with a share of each named subclass (80/20, B.4)."""
        ...

    def pool(self) -> Seen:
        """Return further images of all subclasses."""
        ...


@dataclass(frozen=True)
class Turn:
    """One choice of subclasses to cut, and what was trained with little of them; they are the minority of ``test``.

    ``whole`` was trained on the pool's images too, so that there is nothing to add.
    """

    rare: Sequence[str]
    fitted: Fitted
    whole: Fitted
    val: Seen
    test: Seen


def run(world: World) -> list[Figure]:
    """Measure one seed; figures are means over the turns."""
    lab, kept = world.lab, world.settings["kept"]
    val, test, pool = world.val(), world.test(), world.pool()
    parts: list[list[Figure]] = []
    points: list[Degree] = []
    for rare in world.turns:
        few = dict.fromkeys(rare, kept)
        fitted = Fitted.on(lab, world.train(few), val, world.seed)
        whole = Fitted.on(lab, world.whole(few), val, world.seed)
        turn = Turn(rare, fitted, whole, val, with_minority(world, test, rare))
        parts.append(
            [
                *_rankings(world, turn),
                *_captions(world, turn),
                *_whole(world, turn),
                *_filtering(world, turn, with_minority(world, pool, rare)),
            ]
        )
        points += _degrees(world, turn)
    return averaged(parts) + study(points, 1 - kept)


def with_minority(world: World, seen: Seen, rare: Sequence[str]) -> Seen:
    """Return a set in which the subclasses that were cut are the minority."""
    codes = torch.tensor([list(world.names).index(name) for name in rare])
    return seen.with_minority(torch.isin(seen.kinds, codes))


def averaged(parts: list[list[Figure]]) -> list[Figure]:
    """Average figures of the same key, over turns."""
    keys = dict.fromkeys(figure.key for part in parts for figure in part)
    values = {key: [figure.value for part in parts for figure in part if figure.key == key] for key in keys}
    return [Figure(measure, method, float(np.mean(values[measure, method, at])), at) for measure, method, at in keys]


def _rankings(world: World, turn: Turn) -> list[Figure]:
    fitted, top = turn.fitted, world.settings["top"]
    rankings = all_rankings(world.lab, fitted.fits, fitted.train, fitted.val, world.seed)
    judged = world.lab.judge(fitted.model, turn.test)
    return [
        *minority_in_top("minority in top K", rankings, judged, turn.test.minority, top),
        Figure("CV score", OURS, float(np.mean(fitted.directions.cv_score_))),
    ]


def _whole(world: World, turn: Turn) -> list[Figure]:
    """Rank where training has no pool beside it (figure 21)."""
    fitted = turn.whole
    rankings, judged = ours_and_confidence(fitted.fits), world.lab.judge(fitted.model, turn.test)
    name = "minority in top K, without a pool"
    return minority_in_top(name, rankings, judged, turn.test.minority, world.settings["top"])


def _degrees(world: World, turn: Turn) -> list[Degree]:
    """Remove more and less of the minority where there is no pool, as the paper does (B.4).

    At the share of all else nothing has to be trained again.
    """
    minority, found = turn.test.minority.numpy(), []
    for removed in world.settings["removed"]:
        fitted = turn.whole
        if removed != 1 - world.settings["kept"]:
            train = world.whole(dict.fromkeys(turn.rare, 1 - removed))
            fitted = Fitted.on(world.lab, train, turn.val, world.seed)
        found += degrees(removed, fitted.directions, world.lab.judge(fitted.model, turn.test), minority)
    return found


def _captions(world: World, turn: Turn) -> list[Figure]:
    """Whether the hardest caption, or one of the two hardest, names the subclass that was cut.

    The reference is the mean of the subclasses' captions: the bundled CLIP has no word for a superclass.
    """
    ranks: dict[str, list[int]] = {method: [] for method in turn.fitted.fits}
    for label, group in enumerate(world.groups.values()):
        captions = world.lab.clip.texts([f"a photo of a {name}" for name in group]).cpu()
        reference = F.normalize(captions.mean(dim=0), dim=0)
        for method, fit in turn.fitted.fits.items():
            scores = np.asarray(fit.score_captions(captions.numpy(), reference.numpy(), label))
            order = [group[i] for i in np.argsort(scores)]
            ranks[method].append(next(rank for rank, name in enumerate(order) if name in turn.rare))
    return [
        Figure(measure, method, float(np.mean([rank <= last for rank in own])))
        for method, own in ranks.items()
        for last, measure in enumerate(("minority is the hardest caption", "minority is in the two hardest"))
    ]


def _filtering(world: World, turn: Turn, pool: Seen) -> list[Figure]:
    settings, fitted, seed = world.settings, turn.fitted, world.seed
    rankings = cheap_rankings(fitted.fits, seed)
    sets = filtered(fitted.train, pool, world.lab.judge(fitted.model, pool), rankings, settings["added"], seed)
    # one training of the base set is the turn's own model
    base = world.lab.accuracies(fitted.model, turn.test) if settings["trainings"] == 1 else None
    return outcomes(world.lab, "filtering", sets, turn.test, seed, settings["trainings"], base)


EXPERIMENT = Experiment(
    "cifar100",
    run,
    garments,
    (
        Panel("The rare subclass among the hardest", ("minority in top K",), "K", "share of the subclass", (0, 1.02)),
        Panel("Without a pool", ("minority in top K, without a pool",), "K", "", (0, 1.02)),
        Panel("Is it named?", ("minority is the hardest caption", "minority is in the two hardest")),
        Panel("Accuracy after filtering", ("filtering: minority", "filtering: overall")),
        Panel("The more is removed", ("CV score by share removed", "minority accuracy by share removed"), "removed"),
        Panel(
            "The minority's share of errors",
            ("minority of predicted errors", "minority of actual errors"),
            "removed",
            "",
            (0, 1.02),
        ),
    ),
    on_files,
    conclude,
)
