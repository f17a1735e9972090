"""Superclasses with one subclass cut by 75 %: CIFAR-100's (paper 3.2, B.4), as garments.

Every garment is cut once, one in each superclass at a time: does the ranking find it (figure 5), does the hardest of
the subclasses' captions name it, and does filtering help it (figure 6)?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment, recipe_of
from benchmarks.paper.garments import Part, superclasses
from benchmarks.paper.models import Seen, find_directions, judge, see, train_on
from benchmarks.paper.rankings import OURS, cheap_rankings, share_in_top
from benchmarks.paper.remedies import filtered, outcomes
from benchmarks.paper.results import Figure
from fdgpu import ClipEmbedder, FailureDirections
from fdgpu.demo.settings import world_settings

TRAIN, VAL, TEST, POOL = range(4)  # streams of random numbers of a seed


@dataclass(frozen=True)
class World:
    """What is rendered for one seed."""

    clip: ClipEmbedder
    settings: Mapping[str, Any]
    seed: int

    def set_of(self, stream: int, name: str, rare: Mapping[str, float]) -> Seen:
        """Render and embed one of the sets that the settings describe."""
        part, seed = Part(**self.settings[name]), 4 * self.seed + stream
        return see(self.clip, superclasses(self.settings["groups"], part, rare, seed, self.settings["held"]))

    def rare(self, turn: int) -> dict[str, float]:
        """Return the garments that are cut at a turn, one of each superclass."""
        return {group[turn % len(group)]: self.settings["kept"] for group in self.settings["groups"].values()}


@dataclass(frozen=True)
class Turn:
    """One choice of garments to cut, and the model that was trained without them."""

    rare: Mapping[str, float]
    train: Seen
    model: nn.Module
    directions: FailureDirections


def run(clip: ClipEmbedder, settings: Mapping[str, Any], seed: int) -> list[Figure]:
    """Measure one seed; figures are means over the turns."""
    world, recipe = World(clip, settings, seed), recipe_of(settings)
    val, test = (world.set_of(stream, name, {}) for stream, name in ((VAL, "val"), (TEST, "test")))
    turns = max(len(group) for group in settings["groups"].values())
    every_pool = world.set_of(POOL, "pool", {})
    parts: list[list[Figure]] = []
    for number in range(turns):
        rare = world.rare(number)
        train = world.set_of(TRAIN, "train", rare)
        model = train_on(train.inputs, train.garments.labels, recipe, seed)
        turn = Turn(rare, train, model, find_directions(judge(model, val), train.embeddings))
        cut_test, cut_pool = with_minority(test, rare), with_minority(every_pool, rare)
        parts.append(
            _rankings(turn, cut_test, settings, seed)
            + _captions(turn, clip, settings)
            + _filtering(turn, cut_pool, cut_test, settings, seed)
        )
    return averaged(parts)


def with_minority(seen: Seen, rare: Mapping[str, float]) -> Seen:
    """Return a set in which the garments that were cut are the minority."""
    codes = torch.tensor([world_settings().class_names.index(name) for name in rare])
    return replace(seen, garments=replace(seen.garments, minority=torch.isin(seen.garments.kinds, codes)))


def averaged(parts: list[list[Figure]]) -> list[Figure]:
    """Average figures of the same key, over turns."""
    keys = dict.fromkeys(figure.key for part in parts for figure in part)
    values = {key: [figure.value for part in parts for figure in part if figure.key == key] for key in keys}
    return [Figure(measure, method, float(np.mean(values[measure, method, at])), at) for measure, method, at in keys]


def _rankings(turn: Turn, test: Seen, settings: Mapping[str, Any], seed: int) -> list[Figure]:
    judged, minority = judge(turn.model, test), test.garments.minority.numpy()
    figures = []
    for name, ranking in cheap_rankings(turn.directions, seed).items():
        shares = share_in_top(ranking.hardness(judged), judged.labels, minority, settings["top"])
        figures += [Figure("minority in top K", name, share, k) for k, share in shares.items()]
    return [*figures, Figure("CV score", OURS, float(np.mean(turn.directions.cv_score_)))]


def _captions(turn: Turn, clip: ClipEmbedder, settings: Mapping[str, Any]) -> list[Figure]:
    """Whether the hardest caption, or one of the two hardest, names the garment that was cut.

    The bundled CLIP has no word for a superclass: the mean of its subclasses' captions is the reference.
    """
    places = []
    for label, group in enumerate(settings["groups"].values()):
        captions = clip.texts([f"a photo of a {name}" for name in group]).cpu()
        reference = F.normalize(captions.mean(dim=0), dim=0)
        scores = np.asarray(turn.directions.score_captions(captions.numpy(), reference.numpy(), label))
        order = [group[i] for i in np.argsort(scores)]
        places.append(next(place for place, name in enumerate(order) if name in turn.rare))
    return [
        Figure("minority is the hardest caption", OURS, float(np.mean([place == 0 for place in places]))),
        Figure("minority is in the two hardest", OURS, float(np.mean([place <= 1 for place in places]))),
    ]


def _filtering(turn: Turn, pool: Seen, test: Seen, settings: Mapping[str, Any], seed: int) -> list[Figure]:
    rankings = cheap_rankings(turn.directions, seed)
    sets = filtered(turn.train, pool, judge(turn.model, pool), rankings, settings["added"], seed)
    return outcomes("filtering", sets, test, recipe_of(settings), seed, settings["trainings"])


EXPERIMENT = Experiment(
    "superclasses",
    run,
    (
        Panel("The rare subclass among the hardest", ("minority in top K",), "K", "share of the subclass", (0, 1.02)),
        Panel("Is it named?", ("minority is the hardest caption", "minority is in the two hardest")),
        Panel("Accuracy after filtering", ("filtering: minority", "filtering: overall")),
    ),
)
