"""Rendered garments of two groups with a red or a green tint, a part of training with the wrong label (paper, B.2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from benchmarks.paper.experiment import recipe_of
from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.garments import Part, hold, photographs
from benchmarks.paper.offline.rendered import TRAIN, Rendered
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.shares import outside
from benchmarks.paper.tints import flipped, tints
from fdgpu.demo.world import draw_attributes, draw_scene, render, world_settings

BALANCED = 0.5
TINTS = ("red", "green")


@dataclass(frozen=True)
class Groups:
    """Two groups of garments, which are the classes, and what of their pictures is fixed.

    Attributes:
        garments: of each group.
        wrong: probability with which a label is the other group's.
        strength: of the tint; 0 is white cloth and 1 the full colour.
        held: attributes that all pictures share.
    """

    garments: Sequence[Sequence[str]]
    wrong: float
    strength: float
    held: Mapping[str, str]


def tinted(groups: Groups, part: Part, share: float, seed: int) -> Marked:
    """Render the garments of two groups, with the groups' numbers as labels but for those that are wrong.

    Args:
        groups: the classes.
        part: photographs of every garment.
        share: of each label, the pictures with its own tint; the others have the other one's, and are the minority.
        seed: of everything drawn; at another share only the tints of those that change sides are different.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels, kinds = photographs([name for group in groups.garments for name in group], part)
    second = torch.tensor([world_settings().class_names.index(name) for name in groups.garments[1]])
    labels = flipped(torch.isin(kinds, second).long(), groups.wrong, generator)
    disagree = outside(labels, share, generator)
    attributes = hold(draw_attributes(len(labels), generator), {**groups.held, "colour": "white"})
    white = draw_scene(attributes, kinds, generator)
    colours = torch.tensor([world_settings().code("colour", name) for name in TINTS])[tints(labels, disagree)]
    full = render(pixels, replace(white, attributes=replace(attributes, colour=colours)))
    images = torch.lerp(render(pixels, white).float(), full.float(), groups.strength).round().to(torch.uint8)
    return Marked(images, labels, kinds, disagree)


class TintedGarments(Rendered):
    """The sets of one seed; in validation and test the tint says nothing."""

    def train(self, share: float) -> Seen:
        """Render a training set."""
        return self._set(TRAIN, "train", share)

    def _set(self, stream: int, name: str, share: float = BALANCED) -> Seen:
        settings = self.settings
        wrong = settings["wrong"] if stream == TRAIN else 0.0  # validation and test have clean labels
        groups = Groups(settings["groups"], wrong, settings["strength"], settings["held"])
        part = Part(**settings[name], seed=self.seed)
        return self.lab.see(tinted(groups, part, share, 3 * self.seed + stream))


def tinted_garments(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], TintedGarments]:
    """Return the worlds of any seed."""
    return partial(TintedGarments, Lab.offline(clip, recipe_of(settings)), settings)
