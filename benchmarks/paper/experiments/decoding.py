"""Decoded directions (paper 4.1, A.7, figure 8b): the base model on pictures from easy over neutral to hard.

Offline there are two base models: the one of CIFAR-10's form, weak and with nothing planted, which is the paper's own
setting, and the demo's, taught to fail in six of ten classes. On CIFAR-10's files there is the first alone. Directions
are fitted with L2 normalisation only, and rotated into each class's reference caption; at α = 0 both sides are the
caption itself, the neutral pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmarks.paper.audited import Audited, reference_vectors
from benchmarks.paper.charts import Panel
from benchmarks.paper.experiment import Experiment, recipe_of
from benchmarks.paper.experiments import cifar10
from benchmarks.paper.files.decoded_world import on_files
from benchmarks.paper.files.images import at_resolution
from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.free import FreeGarments
from benchmarks.paper.rankings import OURS
from benchmarks.paper.results import Figure
from fdgpu import Decoder, FailureDirections, decode_directions
from fdgpu.arrays import to_host
from fdgpu.auditing.drawing import DecodedDirections
from fdgpu.captions import CaptionRecipe
from fdgpu.decoding.grid import Rotation
from fdgpu.demo.base_model import predict, train_base_model
from fdgpu.demo.world import Plant, make_split, world_settings
from fdgpu.findings import Split
from fdgpu.networks import class_scores
from tools.world_captions import read_codes

FREE = "accuracy on decoded pictures"
DEMO = "accuracy on decoded pictures of the demo's classes"
PLANTED = "accuracy on decoded pictures of planted classes"
SHOWS = {side: f"decoded pictures of planted classes that show the {side} value" for side in ("easy", "hard")}
NEUTRAL, EASY, HARD = "neutral", "easy", "hard"
CLASSES_OF = {FREE: "nothing planted", DEMO: "the demo's classes", PLANTED: "planted classes"}


class World(Protocol):
    """What is decoded for one seed."""

    clip: Any
    settings: Mapping[str, Any]
    seed: int

    def free(self) -> Audited:
        """Train and audit a weak model, of data in which nothing is planted."""
        ...

    def planted(self) -> Audited | None:
        """Train and audit a model that was taught to fail; None where there is none."""
        ...

    def decoder(self) -> Decoder:
        """Return a decoder of the embedder's space."""
        ...


@dataclass(frozen=True)
class Bundled:
    """The bundled world: CIFAR-10's form, and the one of ``fdgpu demo``."""

    clip: Any
    settings: Mapping[str, Any]
    seed: int

    def free(self) -> Audited:
        """Take the sets, the training and the first model of the experiment ``cifar10``."""
        settings = cifar10.EXPERIMENT.document["offline"]
        return Audited.of(FreeGarments(Lab.offline(self.clip, recipe_of(settings)), settings, self.seed))

    def planted(self) -> Audited:
        """Train the demo's base model and fit directions on its validation split."""
        train, val = make_split(Split.TRAIN, self.seed), make_split(Split.VAL, self.seed)
        model = train_base_model(train.pictures, train.labels, self.seed)
        predicted = torch.from_numpy(predict(model, val.pictures, val.labels).prediction)
        fit = FailureDirections(whiten=False)
        fit.fit(self.clip.images(val.pictures), val.labels, predicted == val.labels)
        world = world_settings()
        plants = {world.class_names.index(plant.class_name): plant for plant in world.plants}
        references = reference_vectors(self.clip, fit, CaptionRecipe.resolve("demo", world.class_names))
        return Audited(model, fit, references, plants)

    def decoder(self) -> Decoder:
        """Return the bundled decoder."""
        return Decoder.bundled()


def offline(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], Bundled]:
    """Return the bundled worlds."""
    return partial(Bundled, clip, settings)


def run(world: World) -> list[Figure]:
    """Measure one seed; the decoder comes first, since nothing has to be trained where there is none."""
    decoder = world.decoder()
    free, planted = world.free(), world.planted()
    decoded = _decoded(world.settings, decoder, free)
    figures = _by_rotation(FREE, _right(free.model, decoded), decoded)
    return figures if planted is None else figures + _of_planted(world, decoder, planted)


def _of_planted(world: World, decoder: Decoder, planted: Audited) -> list[Figure]:
    decoded = _decoded(world.settings, decoder, planted)
    right = _right(planted.model, decoded)
    of_a_plant = torch.tensor([k in planted.plants for k in decoded.classes])
    figures = _by_rotation(DEMO, right, decoded) + _by_rotation(PLANTED, right[of_a_plant], decoded)
    for side, measure in SHOWS.items():
        figures += _by_rotation(measure, _shows(side, planted.plants, decoded, world.clip), decoded)
    return figures


def _decoded(settings: Mapping[str, Any], decoder: Decoder, audited: Audited) -> DecodedDirections:
    """Decode some noises of every class and rotation at a time, and keep the pictures as the model takes them.

    As a large decoder makes them they would not fit into memory: ten classes, seven rotations and a hundred noises of
    768 pixels a side are 50 GB.
    """
    noises, small = list(range(settings["pictures"])), []
    at_once = settings.get("at_once", len(noises))
    for start in range(0, len(noises), at_once):
        part = decode_directions(
            audited.fit,
            audited.references,
            decoder,
            alphas=settings["alphas"],
            seeds=noises[start : start + at_once],
            steps=settings.get("steps"),
        )
        pictures = part.grid.pictures
        small.append(pictures if audited.resolution is None else at_resolution(pictures, audited.resolution))
    return replace(part, grid=replace(part.grid, pictures=torch.cat(small, dim=2), seeds=tuple(noises)))


def _by_rotation(measure: str, shares: Tensor, decoded: DecodedDirections) -> list[Figure]:
    """Average (k, p, s) over classes and seeds; neutral pictures are where both ends begin."""

    def ends(rotation: Rotation) -> tuple[str, ...]:
        return (EASY, HARD) if rotation.side == NEUTRAL else (rotation.side,)

    return [
        Figure(measure, end, float(shares[:, column].mean()), rotation.alpha)
        for column, rotation in enumerate(decoded.grid.rotations)
        for end in ends(rotation)
    ]


def _right(model: nn.Module, decoded: DecodedDirections) -> Tensor:
    """Return (k, p, s): whether the model names the class."""
    pictures = decoded.grid.pictures
    predicted = to_host(class_scores(model, pictures.flatten(0, 2)).argmax(1), "what a model says of pictures")
    labels = torch.tensor(decoded.classes)[:, None, None]
    return (torch.from_numpy(predicted).view(pictures.shape[:3]) == labels).float()


def _shows(side: str, plants: Mapping[int, Plant], decoded: DecodedDirections, clip: Any) -> Tensor:
    """Return (planted k, p, s): whether CLIP reads the planted attribute's easy or hard value, of all that it has."""
    rows = []
    for k, pictures in zip(decoded.classes, decoded.grid.pictures, strict=True):
        if k in plants:
            plant, flat = plants[k], pictures.flatten(0, 1)
            vectors = clip.images(flat.mul(255).round().to(torch.uint8)).cpu()
            read = read_codes(
                vectors, lambda texts: clip.texts(texts).cpu(), plant.attribute, torch.full((len(flat),), k)
            )
            asked = world_settings().code(plant.attribute, getattr(plant, side))
            rows.append((read == asked).float().view(pictures.shape[:2]))
    return torch.stack(rows)


def conclude(means: Sequence[Figure]) -> list[Figure]:
    """Say how far hard, neutral and easy pictures are apart at the least, and by how much accuracy rises at the least.

    The gap is over every α: of hard below neutral pictures, and of easy above neutral ones. The rise is from one
    rotation to the next easier one.
    """
    found = []
    for measure, classes in CLASSES_OF.items():
        at = {(f.method, f.at or 0.0): f.value for f in means if f.measure == measure}
        if not at:
            continue  # of files, where nothing is planted
        hard = [at[key] for key in sorted((key for key in at if key[0] == HARD), reverse=True)]
        easy = [at[key] for key in sorted(key for key in at if key[0] == EASY)]
        neutral = easy[0]
        gap = min(neutral - max(hard[:-1]), min(easy[1:]) - neutral)
        rise = min(later - earlier for earlier, later in pairwise([*hard, *easy[1:]]))  # both begin at neutral
        found += [Figure(f"least gap, {classes}", OURS, gap), Figure(f"least rise towards easy, {classes}", OURS, rise)]
    return found


def _panel(title: str, measure: str, y_label: str = "accuracy of the base model") -> Panel:
    return Panel(title, (measure,), "rotation α", y_label)


EXPERIMENT = Experiment(
    "decoding",
    run,
    offline,
    (
        _panel("Nothing planted", FREE),
        _panel("The demo's ten classes", DEMO),
        _panel("The six with a planted failure", PLANTED),
        _panel("… show the value it gets right", SHOWS[EASY], "share of the pictures"),
        _panel("… show the value it fails on", SHOWS[HARD], "share of the pictures"),
    ),
    on_files,
    conclude,
)
