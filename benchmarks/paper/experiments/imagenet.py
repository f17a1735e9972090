"""ImageNet, and whether its failures are other models' too (paper 4.2, C.2); offline, ten garments.

Is the model worse on the images nearest to a class's hardest caption than on those nearest to its easiest (figure 10b,
and 36 with the larger training set)? Does the same hold for another run and for other architectures with captions of
their own (figure 33), and with those of the first run, which has seen none of them (figure 35)?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.error import URLError

import torch
from rich.console import Console
from torch import nn
from torchvision.models import get_model
from torchvision.transforms.v2 import Normalize

from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment, recipe_of
from benchmarks.paper.files.divided import Shares
from benchmarks.paper.files.imagenet import imagenet, wnids
from benchmarks.paper.files.seen_once import SeenOnce
from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.free import FreeGarments
from benchmarks.paper.offline.networks import residual_net, small_transformer
from benchmarks.paper.rankings import OURS
from benchmarks.paper.remedies import APART
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen, both
from benchmarks.paper.subpopulations import (
    FULL,
    NEAR,
    NEAR_FULL,
    SIDES,
    Captioned,
    Splits,
    accuracies_near,
    is_right,
    near_both_sides,
)
from fdgpu.captions import CaptionRecipe
from fdgpu.device import choose_device
from fdgpu.repair import TrainingRecipe

FIRST, SECOND = "first run", "second run"
CLASSES = 1000  # of a pre-trained network
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # that torchvision's weights were trained with


class World(Splits, Protocol):
    """The sets of one seed, and further models."""

    def others(self, train: Seen) -> dict[str, nn.Module]:
        """Return models of the same task beside the first: by name, a second run and other architectures."""
        ...


@dataclass(frozen=True)
class Garments(FreeGarments):
    """Garments, and small networks of three kinds."""

    def others(self, train: Seen) -> dict[str, nn.Module]:
        """Train them."""
        slower = replace(self.lab, recipe=recipe_of(self.settings, "transformer"))
        again = self.seed + APART
        return {
            SECOND: self.lab.train(train.inputs, train.labels, again),
            "residual net": self.lab.train(train.inputs, train.labels, self.seed, network=residual_net),
            "transformer": slower.train(train.inputs, train.labels, self.seed, network=small_transformer),
        }


def offline(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Garments]:
    """Return the worlds of garments."""
    return partial(Garments, Lab.offline(clip, recipe_of(settings)), settings)


@dataclass(frozen=True)
class ImageNet(Shares):
    """ImageNet's files, and torchvision's architectures."""

    def others(self, train: Seen) -> dict[str, nn.Module]:
        """Train a second ResNet-18 and what the settings name, and load what they name as pre-trained."""
        fit = partial(self.lab.train, train.inputs, train.labels)
        models = {SECOND: fit(self.seed + APART)}
        for name, architecture in self.settings["networks"].items():
            models[name] = fit(self.seed, network=partial(_untrained, architecture, self.lab.recipe))
        for name, architecture in self.settings["pretrained"].items():
            if (model := self.pretrained(name, architecture)) is not None:
                models[name] = model
        return models

    def pretrained(self, name: str, architecture: str) -> nn.Module | None:
        """Load a network with its weights; None where they do not fit or are not to be had, and say so."""
        classes = len(self.captions.classes)
        if classes != CLASSES:
            Console().print(f"{name} is left out: its weights know {CLASSES} classes, the folder holds {classes}")
            return None
        try:
            network = get_model(architecture, weights="DEFAULT")
        except (URLError, OSError) as error:
            Console().print(f"{name} is left out: its weights cannot be loaded ({error})")
            return None
        return nn.Sequential(Normalize(MEAN, DEVIATION), network).to(choose_device("auto").device).eval()


def on_files(clip: Any, settings: Mapping[str, Any], folder: Path) -> Callable[[int], ImageNet]:
    """Return the worlds of ImageNet's files: train divided by lot, and val as test."""
    sets, captions = imagenet(folder), CaptionRecipe.resolve("imagenet", wnids(folder))
    lab = Lab.on_files(clip, recipe_of(settings), workers=settings.get("workers"))
    seen = SeenOnce(lab, {"train": sets["train"], "test": sets["val"]})
    return lambda seed: ImageNet(lab, settings, seed, captions, seen)


def _untrained(architecture: str, recipe: TrainingRecipe, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = get_model(architecture, weights=None, num_classes=classes)
        return recipe.normalised(network)


def run(world: World) -> list[Figure]:
    """Measure one seed."""
    lab, seed, ks = world.lab, world.seed, world.settings["top"]
    train, val, test, pool = world.train(), world.val(), world.test(), world.pool()
    first = Captioned.of(world, lab.train(train.inputs, train.labels, seed), train, val)
    figures = near_both_sides(is_right(lab, first.model, test), first.extremes, test, ks, OURS)
    figures += _transfer(world, first, FIRST, first, test)
    for name, model in world.others(train).items():
        figures += _transfer(world, first, name, Captioned.of(world, model, train, val), test)
    larger = both(train, pool)
    full = Captioned.of(world, lab.train(larger.inputs, larger.labels, seed), larger, val)
    return figures + near_both_sides(is_right(lab, full.model, test), full.extremes, test, ks, OURS, FULL)


def _transfer(world: World, first: Captioned, name: str, own: Captioned, test: Seen) -> list[Figure]:
    """Return a model's accuracy near the first run's captions and near its own, over K and at one K of the settings."""
    right, at = is_right(world.lab, own.model, test), world.settings["bars_at"]
    figures = [Figure("all", name, float(right.mean()))]
    for whose, extremes in (("first run's", first.extremes), ("own", own.extremes)):
        for side in SIDES:
            near = accuracies_near(right, extremes.nearest(test, side), [*world.settings["top"], at])
            figures.append(Figure(f"{whose} {side}", name, near[at]))
            figures += [Figure(f"{whose} {side}, over K", name, near[k], k) for k in world.settings["top"]]
    return figures


EXPERIMENT = Experiment(
    "imagenet",
    run,
    offline,
    (
        NEAR,
        Panel("Captions of the first run", ("first run's hard", "all", "first run's easy"), y_label="accuracy"),
        Panel("Each model's own captions", ("own hard", "all", "own easy"), y_label="accuracy"),
        NEAR_FULL,
    ),
    on_files,
)
