"""Decoded directions (paper 4.1, A.7, figure 8b): the base model on pictures from easy over neutral to hard.

Offline the base model is the demo's, taught to fail in six of ten classes. Directions are fitted with L2 normalisation
only, and rotated into each class's reference caption; at α = 0 both ends are the caption itself, the neutral pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.rankings import OURS
from benchmarks.paper.results import Figure
from fdgpu import Decoder, FailureDirections, decode_directions
from fdgpu.auditing.decoded import DecodedDirections
from fdgpu.captions import Recipe
from fdgpu.demo.base_model import predict, train_base_model
from fdgpu.demo.settings import world_settings
from fdgpu.demo.world import TRAIN, VAL, make_split

ALL, PLANTED = "accuracy on decoded pictures", "accuracy on decoded pictures of planted classes"
NEUTRAL, EASY, HARD = "neutral", "easy", "hard"
STEPS_OF = {ALL: "all classes", PLANTED: "planted classes"}


@dataclass(frozen=True)
class Audited:
    """A base model, the directions of its errors, each class's reference vector, and which class ids are planted."""

    model: nn.Module
    fit: FailureDirections
    references: Tensor
    planted: Sequence[int]


class World(Protocol):
    """What is decoded for one seed."""

    settings: Mapping[str, Any]
    seed: int

    def audited(self) -> Audited:
        """Train and audit a model."""
        ...

    def decoder(self) -> Decoder:
        """Return a decoder of the embedder's space."""
        ...


@dataclass(frozen=True)
class Demo:
    """The bundled world of ``fdgpu demo``."""

    clip: Any
    settings: Mapping[str, Any]
    seed: int

    def audited(self) -> Audited:
        """Train the demo's base model and fit directions on its validation split."""
        train, val = make_split(TRAIN, self.seed), make_split(VAL, self.seed)
        model = train_base_model(train.pictures, train.labels, self.seed)
        predicted, _ = predict(model, val.pictures)
        fit = FailureDirections(whiten=False)
        fit.fit(self.clip.images(val.pictures), val.labels, predicted == val.labels)
        world = world_settings()
        captions = [entry.reference for entry in Recipe.resolve("demo", world.class_names).classes]
        references = self.clip.texts(captions)[[int(k) for k in fit.classes_]]
        return Audited(model, fit, references, [world.class_names.index(plant.class_name) for plant in world.plants])

    def decoder(self) -> Decoder:
        """Return the bundled decoder."""
        return Decoder.bundled()


def offline(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Demo]:
    """Return the demo's worlds."""
    return partial(Demo, clip, settings)


def run(world: World) -> list[Figure]:
    """Measure one seed."""
    settings, audited = world.settings, world.audited()
    decoded = decode_directions(
        audited.fit,
        audited.references,
        world.decoder(),
        alphas=settings["alphas"],
        seeds=range(settings["pictures"]),
        steps=settings["steps"],
    )
    right = _right(audited.model, decoded)
    of_a_plant = torch.tensor([k in audited.planted for k in decoded.classes])
    figures = []
    for column, rotation in enumerate(decoded.grid.rotations):
        ends = (EASY, HARD) if rotation.end == NEUTRAL else (rotation.end,)
        for measure, own in ((ALL, right), (PLANTED, right[of_a_plant])):
            figures += [Figure(measure, end, float(own[:, column].mean()), rotation.alpha) for end in ends]
    return figures


@torch.inference_mode()
def _right(model: nn.Module, decoded: DecodedDirections) -> Tensor:
    """Return (k, p, s): whether the model names the class; it takes pictures of the size in which they are decoded."""
    pictures = decoded.grid.pictures
    said = torch.cat([model(batch).argmax(1) for batch in pictures.flatten(0, 2).cpu().split(1024)])
    labels = torch.tensor(decoded.classes)[:, None, None]
    return (said.view(pictures.shape[:3]) == labels).float()


def conclude(means: Sequence[Figure]) -> list[Figure]:
    """Say by how much the mean accuracy rises at the least, from one rotation to the next easier one."""
    found = []
    for measure, classes in STEPS_OF.items():
        at = {(f.method, f.at or 0.0): f.value for f in means if f.measure == measure}
        hard = [at[key] for key in sorted((key for key in at if key[0] == HARD), reverse=True)]
        easy = [at[key] for key in sorted(key for key in at if key[0] == EASY)]
        ordered = [*hard, *easy[1:]]  # both begin at neutral
        least = min(later - earlier for earlier, later in pairwise(ordered))
        found.append(Figure(f"least rise towards easy, {classes}", OURS, least))
    return found


EXPERIMENT = Experiment(
    "decoding",
    run,
    offline,
    (
        Panel("All ten classes", (ALL,), "rotation α", "accuracy of the base model"),
        Panel("The six with a planted failure", (PLANTED,), "rotation α", "accuracy of the base model"),
    ),
    conclude=conclude,
)
