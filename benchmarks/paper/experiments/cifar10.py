"""CIFAR-10 with a weak base model and nothing planted (paper 4.1, C.1); offline, ten garments, their attributes free.

Nobody has marked a minority here. The K test images nearest to a class's hardest caption stand for it: is the model
worse on them than on those nearest to the easiest caption (figure 7b, and 30 with the larger training set)? Does it
get better on them by filtering from a pool (figure 28), and by pictures of the captions (figure 9)?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import numpy as np
from rich.console import Console
from torch import nn

from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment, recipe_of
from benchmarks.paper.files.cifar import CIFAR10_NAMES, cifar10
from benchmarks.paper.files.divided import Shares
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.free import FreeGarments
from benchmarks.paper.painting import paint, with_pictures
from benchmarks.paper.rankings import BASE, OURS, cheap_rankings
from benchmarks.paper.remedies import APART, filtered
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen, both
from benchmarks.paper.subpopulations import (
    EASY,
    FULL,
    HARD,
    NEAR,
    NEAR_FULL,
    SIDES,
    Captioned,
    Extremes,
    Splits,
    accuracies_near,
    is_right,
    near_both_sides,
    over_k,
)
from fdgpu import Decoder
from fdgpu.captions import CaptionRecipe
from fdgpu.device import choose_device
from fdgpu.errors import ModelError


class World(Splits, Protocol):
    """The sets of one seed, and what paints captions."""

    def painter(self) -> Any | None:
        """Return a decoder or a text-to-image pipeline; None where there is none, and say so."""
        ...


@dataclass(frozen=True)
class Garments(FreeGarments):
    """Garments, and the bundled decoder."""

    def painter(self) -> Decoder | None:
        """Load the bundled decoder."""
        try:
            return Decoder.bundled("cpu")
        except ModelError as error:
            Console().print(f"pictures of captions are left out: {error}")
            return None


def offline(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Garments]:
    """Return the worlds of garments."""
    return partial(Garments, Lab.offline(clip, recipe_of(settings)), settings)


@dataclass(frozen=True)
class Cifar10(Shares):
    """CIFAR-10's files, and a text-to-image pipeline of diffusers."""

    def painter(self) -> Any | None:
        """Load the pipeline that the settings name, from a folder or a hub."""
        from diffusers import DiffusionPipeline  # takes seconds

        name = self.settings["text_to_image"]
        try:
            return DiffusionPipeline.from_pretrained(name).to(choose_device("auto").device)
        except OSError as error:
            Console().print(f"pictures of captions are left out: {name} cannot be loaded ({error})")
            return None


def on_files(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], Cifar10]:
    """Return the worlds of CIFAR-10's files."""
    captions = CaptionRecipe.resolve("cifar10", CIFAR10_NAMES)
    lab = Lab.on_files(clip, recipe_of(settings), workers=settings.get("workers"))
    seen = SeenOnce(lab, cifar10(folder))
    return lambda seed: Cifar10(lab, settings, seed, captions, seen)


def run(world: World) -> list[Figure]:
    """Measure one seed."""
    lab, seed, ks = world.lab, world.seed, world.settings["top"]
    train, val, test, pool = world.train(), world.val(), world.test(), world.pool()
    base = Captioned.of(world, lab.train(train.inputs, train.labels, seed), train, val)
    right = is_right(lab, base.model, test)
    figures = [
        *near_both_sides(right, base.extremes, test, ks, OURS),
        Figure("CV score", OURS, float(np.nanmean(base.directions.cv_score_))),
        Figure("base accuracy", BASE, float(right.mean())),
    ]
    figures += _filtering(world, base, train, pool, test)
    figures += _pictures(world, base, train, test)
    return figures + _full(world, both(train, pool), val, test)


def _filtering(world: World, base: Captioned, train: Seen, pool: Seen, test: Seen) -> list[Figure]:
    """Train anew with the hardest of a pool; the model without them too has new starts, not the base model's own."""
    lab, settings, seed = world.lab, world.settings, world.seed
    rankings = cheap_rankings(base.fits, seed)
    sets = filtered(train, pool, lab.judge(base.model, pool), rankings, settings["added"], seed)
    figures = []
    for name, own in sets.items():
        starts = [seed + APART * (1 + number) for number in range(settings["trainings"])]
        models = [lab.train(own.inputs, own.labels, start) for start in starts]
        figures += _outcome(lab, "filtering", name, models, base.extremes, test, settings["top"], (HARD,))
    return figures


def _pictures(world: World, base: Captioned, train: Seen, test: Seen) -> list[Figure]:
    """Fine-tune the last layer with pictures of one kind of caption each (A.8)."""
    painter, settings, lab = world.painter(), world.settings, world.lab
    if painter is None:
        return []
    captions = base.extremes.named(world.captions)
    painted = paint(
        captions, painter, lab.clip, world.captions, settings["pictures"], world.seed, **settings["painting"]
    )
    recipe = recipe_of(settings, "last_layer")
    models = {BASE: base.model}
    for kind, (pictures, labels) in painted.items():
        own = with_pictures(train, pictures, labels, lab.recipe.resolution)
        models[f"{kind} pictures"] = lab.fine_tune(base.model, own.inputs, own.labels, recipe, world.seed)
    return [
        figure
        for name, model in models.items()
        for figure in _outcome(lab, "pictures", name, [model], base.extremes, test, settings["top"], SIDES)
    ]


def _full(world: World, train: Seen, val: Seen, test: Seen) -> list[Figure]:
    """Train on the pool too, and find this stronger model's own captions (C.1.5)."""
    lab = world.lab
    model = lab.train(train.inputs, train.labels, world.seed)
    found = Captioned.of(world, model, train, val)
    right = is_right(lab, model, test)
    return near_both_sides(right, found.extremes, test, world.settings["top"], OURS, FULL)


def _outcome(
    lab: Lab, trial: str, name: str, models: list[nn.Module], extremes: Extremes, test: Seen, ks: list[int], sides: Any
) -> list[Figure]:
    """Average over models the accuracies near the base model's captions, and on all images."""
    rights = [is_right(lab, model, test) for model in models]
    figures = [Figure(f"{trial}: overall", name, fmean(float(right.mean()) for right in rights))]
    for side in sides:
        near = [accuracies_near(right, extremes.nearest(test, side), ks) for right in rights]
        figures += [Figure(f"{trial}: near the {side} caption", name, fmean(own[k] for own in near), k) for k in ks]
    return figures


EXPERIMENT = Experiment(
    "cifar10",
    run,
    offline,
    (
        NEAR,
        over_k("Filtering, near the hard caption", "filtering: near the hard caption"),
        over_k("Pictures, near the hard caption", f"pictures: near the {HARD} caption"),
        over_k("Pictures, near the easy caption", f"pictures: near the {EASY} caption"),
        Panel("Overall accuracy, after", ("filtering: overall", "pictures: overall")),
        NEAR_FULL,
    ),
    on_files,
)
