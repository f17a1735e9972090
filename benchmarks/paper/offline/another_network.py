"""A network that was trained on other data for another purpose, whose features are a further latent space (B.1.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Seen
from fdgpu.arrays import to_host
from fdgpu.demo.world import draw_attributes, draw_scene, load_photographs, render, world_settings
from fdgpu.networks import penultimate
from tools.make_photographs import PHOTOGRAPHS

SPLIT = "clip"  # the photographs that no set of the experiments has


@dataclass(frozen=True)
class AnotherNetwork:
    """Names garment and background of photographs that no experiment uses; stands for Inception, trained on ImageNet.

    It was not trained on colour, the attribute that is planted, as Inception was not on gender.

    ``settings`` are ``photographs`` of each garment and ``seed``: as Inception, it is the same for all seeds.
    """

    lab: Lab
    settings: Mapping[str, Any]

    def __call__(self, seen: Seen) -> NDArray[np.float32]:
        """Return (n, d) features."""
        return to_host(penultimate(self.model, seen.inputs), "another network's features")

    @cached_property
    def model(self) -> nn.Module:
        """The network, trained when it is first asked."""
        generator = torch.Generator().manual_seed(self.settings["seed"])
        pixels, garment_of = load_photographs(SPLIT, PHOTOGRAPHS)
        garments = range(len(world_settings().class_names))
        each = self.settings["photographs"]
        rows = torch.cat([(garment_of == garment).nonzero()[:each, 0] for garment in garments])
        kinds = garment_of[rows]
        attributes = draw_attributes(len(rows), generator)
        images = render(pixels[rows], draw_scene(attributes, kinds, generator))
        labels = kinds * len(world_settings().names("background")) + attributes.background
        return self.lab.train(self.lab.prepare(images, labels), labels, self.settings["seed"])
