"""Three garments in one picture, some of them "conditions", more often where the picture is blurred (paper, C.3).

A blurred, dark picture stands for an X-ray taken lying (AP): it shows worse, and the patient is more often ill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.paper.experiment import recipe_of
from benchmarks.paper.lab import Lab
from benchmarks.paper.offline.garments import Part, hold, photographs
from benchmarks.paper.offline.rendered import ThreeRendered
from benchmarks.paper.sets import Marked, Seen
from fdgpu.demo.world import MOST_GARMENTS, draw_attributes, draw_scene, render, world_settings
from fdgpu.repair import binary_cross_entropy


@dataclass(frozen=True)
class Ward:
    """What is in the pictures, and how often.

    Attributes:
        conditions: garments that are labels.
        others: garments that fill a picture.
        lying: share of the pictures that are blurred.
        chances: of each condition, in sharp and in blurred pictures.
    """

    conditions: Sequence[str]
    others: Sequence[str]
    lying: float
    chances: tuple[float, float]


def composed(ward: Ward, part: Part, n: int, seed: int) -> Marked:
    """Render ``n`` pictures; labels (n, conditions) of 0 and 1, kinds 1 and minority where it is blurred."""
    generator = torch.Generator().manual_seed(seed)
    lying = (torch.rand(n, generator=generator) < ward.lying).long()
    priority = torch.rand(n, len(ward.conditions), generator=generator)
    present = torch.rand(n, len(ward.conditions), generator=generator) < torch.tensor(ward.chances)[lying][:, None]
    # a picture has no room for more than three: of more, those of the lowest priority are left out
    rank = (priority + ~present).argsort(dim=1).argsort(dim=1)
    labels = (present & (rank < MOST_GARMENTS)).long()
    garments, pixels = _garments(ward, part, labels, generator)
    held = {"framing": "group of", "background": "none"}
    attributes = replace(hold(draw_attributes(n, generator), held), blurry=lying)
    drawn = draw_scene(attributes, torch.zeros(n, dtype=torch.long), generator)
    light = torch.cat([drawn.light[:, :3], drawn.light[:, 3:] * (1 - lying)[:, None]], dim=1)
    scene = replace(drawn, garments=garments, count=torch.full((n,), MOST_GARMENTS), light=light)
    return Marked(render(pixels, scene), labels, lying, lying.bool())


def _garments(ward: Ward, part: Part, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose photographs (n, 3) of the conditions that are present and, for the rest, of others, in any order."""
    pixels, kinds = photographs([*ward.conditions, *ward.others], part)
    codes = torch.tensor([world_settings().class_names.index(name) for name in (*ward.conditions, *ward.others)])
    n, k = labels.shape
    fillers = k + torch.randint(len(ward.others), (n, MOST_GARMENTS), generator=generator)
    shown = torch.cat([torch.where(labels.bool(), torch.arange(k), -1), fillers], dim=1)
    first = torch.cat([labels, torch.zeros_like(fillers)], dim=1).argsort(dim=1, descending=True, stable=True)
    wanted = shown.gather(1, first[:, :MOST_GARMENTS])
    order = torch.rand(n, MOST_GARMENTS, generator=generator).argsort(dim=1)
    wanted = codes[wanted.gather(1, order)]
    chosen = torch.zeros(n, MOST_GARMENTS, dtype=torch.long)
    for code in codes:
        members, asked = (kinds == code).nonzero()[:, 0], wanted == code
        chosen[asked] = members[torch.randint(len(members), (int(asked.sum()),), generator=generator)]
    return chosen, pixels


class GarmentsTogether(ThreeRendered):
    """Three garments a picture."""

    @property
    def conditions(self) -> Sequence[str]:
        """Garments that are conditions."""
        return list(self.settings["conditions"])

    def _set(self, stream: int, name: str) -> Seen:
        settings, own = self.settings, dict(self.settings[name])
        ward = Ward(self.conditions, settings["others"], settings["lying"], tuple(settings["chances"]))
        part = Part(**own["part"], seed=self.seed)
        return self.lab.see(composed(ward, part, own["pictures"], 3 * self.seed + stream))


def garments_together(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], GarmentsTogether]:
    """Return the worlds of any seed."""
    lab = replace(Lab.offline(clip, recipe_of(settings)), loss=binary_cross_entropy)
    return partial(GarmentsTogether, lab, settings)
