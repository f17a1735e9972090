"""CIFAR-100's superclasses with one subclass cut by 75 % (paper 3.2, B.4); offline, garments as subclasses.

Offline every garment is cut once, one in each superclass at a time: does the ranking find it (figure 5), does the
hardest of the subclasses' captions name it, and does filtering help it (figure 6)?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment, recipe_of
from benchmarks.paper.files.cifar100_world import on_files
from benchmarks.paper.lab import Lab, find_directions
from benchmarks.paper.offline.garments import Part, superclasses
from benchmarks.paper.rankings import OURS, cheap_rankings, share_in_top
from benchmarks.paper.remedies import filtered, outcomes
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from fdgpu import FailureDirections
from fdgpu.demo.settings import world_settings

TRAIN, VAL, TEST, POOL = range(4)  # streams of random numbers of a seed


class World(Protocol):
    """The sets of one seed; ``kinds`` of a set are codes into ``names``."""

    lab: Lab
    settings: Mapping[str, Any]
    seed: int
    names: Sequence[str]
    groups: Mapping[str, Sequence[str]]  # superclass → its subclasses
    turns: Sequence[Sequence[str]]  # the subclasses that are cut, one of each superclass

    def train(self, kept: Mapping[str, float]) -> Seen:
        """Return a training set with a share of each named subclass, and all of the others."""
        ...

    def val(self) -> Seen:
        """Return validation."""
        ...

    def test(self) -> Seen:
        """Return test."""
        ...

    def pool(self) -> Seen:
        """Return further images of all subclasses."""
        ...


@dataclass(frozen=True)
class Garments:
    """Garments as subclasses."""

    lab: Lab
    settings: Mapping[str, Any]
    seed: int

    @property
    def names(self) -> Sequence[str]:
        """Garments."""
        return world_settings().class_names

    @property
    def groups(self) -> Mapping[str, Sequence[str]]:
        """Two superclasses."""
        return dict(self.settings["groups"])

    @property
    def turns(self) -> list[list[str]]:
        """Every garment once."""
        groups = self.groups.values()
        return [[group[turn % len(group)] for group in groups] for turn in range(max(map(len, groups)))]

    def train(self, kept: Mapping[str, float]) -> Seen:
        """Render a training set."""
        return self._set(TRAIN, "train", kept)

    def val(self) -> Seen:
        """Render validation."""
        return self._set(VAL, "val")

    def test(self) -> Seen:
        """Render test."""
        return self._set(TEST, "test")

    def pool(self) -> Seen:
        """Render further photographs."""
        return self._set(POOL, "pool")

    def _set(self, stream: int, name: str, kept: Mapping[str, float] | None = None) -> Seen:
        part, seed = Part(**self.settings[name]), 4 * self.seed + stream
        return self.lab.see(superclasses(self.groups, part, kept or {}, seed, self.settings["held"]))


def offline(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Garments]:
    """Return the worlds of garments."""
    return partial(Garments, Lab.offline(clip, recipe_of(settings)), settings)


@dataclass(frozen=True)
class Turn:
    """One choice of subclasses to cut, and the model that was trained with little of them."""

    rare: Sequence[str]
    train: Seen
    model: nn.Module
    directions: FailureDirections


def run(world: World) -> list[Figure]:
    """Measure one seed; figures are means over the turns."""
    lab, kept = world.lab, world.settings["kept"]
    val, test, pool = world.val(), world.test(), world.pool()
    parts: list[list[Figure]] = []
    for rare in world.turns:
        train = world.train(dict.fromkeys(rare, kept))
        model = lab.train(train.inputs, train.labels, world.seed)
        turn = Turn(rare, train, model, find_directions(lab.judge(model, val), train.embeddings))
        cut_test, cut_pool = (with_minority(world, seen, rare) for seen in (test, pool))
        parts.append(
            _rankings(world, turn, cut_test) + _captions(world, turn) + _filtering(world, turn, cut_pool, cut_test)
        )
    return averaged(parts)


def with_minority(world: World, seen: Seen, rare: Sequence[str]) -> Seen:
    """Return a set in which the subclasses that were cut are the minority."""
    codes = torch.tensor([list(world.names).index(name) for name in rare])
    return seen.with_minority(torch.isin(seen.kinds, codes))


def averaged(parts: list[list[Figure]]) -> list[Figure]:
    """Average figures of the same key, over turns."""
    keys = dict.fromkeys(figure.key for part in parts for figure in part)
    values = {key: [figure.value for part in parts for figure in part if figure.key == key] for key in keys}
    return [Figure(measure, method, float(np.mean(values[measure, method, at])), at) for measure, method, at in keys]


def _rankings(world: World, turn: Turn, test: Seen) -> list[Figure]:
    judged, minority = world.lab.judge(turn.model, test), test.minority.numpy()
    figures = []
    for name, ranking in cheap_rankings(turn.directions, world.seed).items():
        shares = share_in_top(ranking.hardness(judged), judged.labels, minority, world.settings["top"])
        figures += [Figure("minority in top K", name, share, k) for k, share in shares.items()]
    return [*figures, Figure("CV score", OURS, float(np.mean(turn.directions.cv_score_)))]


def _captions(world: World, turn: Turn) -> list[Figure]:
    """Whether the hardest caption, or one of the two hardest, names the subclass that was cut.

    The reference is the mean of the subclasses' captions: the bundled CLIP has no word for a superclass.
    """
    places = []
    for label, group in enumerate(world.groups.values()):
        captions = world.lab.clip.texts([f"a photo of a {name}" for name in group]).cpu()
        reference = F.normalize(captions.mean(dim=0), dim=0)
        scores = np.asarray(turn.directions.score_captions(captions.numpy(), reference.numpy(), label))
        order = [group[i] for i in np.argsort(scores)]
        places.append(next(place for place, name in enumerate(order) if name in turn.rare))
    return [
        Figure("minority is the hardest caption", OURS, float(np.mean([place == 0 for place in places]))),
        Figure("minority is in the two hardest", OURS, float(np.mean([place <= 1 for place in places]))),
    ]


def _filtering(world: World, turn: Turn, pool: Seen, test: Seen) -> list[Figure]:
    settings, judged = world.settings, world.lab.judge(turn.model, pool)
    rankings = cheap_rankings(turn.directions, world.seed)
    sets = filtered(turn.train, pool, judged, rankings, settings["added"], world.seed)
    return outcomes(world.lab, "filtering", sets, test, world.seed, settings["trainings"])


EXPERIMENT = Experiment(
    "cifar100",
    run,
    offline,
    (
        Panel("The rare subclass among the hardest", ("minority in top K",), "K", "share of the subclass", (0, 1.02)),
        Panel("Is it named?", ("minority is the hardest caption", "minority is in the two hardest")),
        Panel("Accuracy after filtering", ("filtering: minority", "filtering: overall")),
    ),
    on_files,
)
