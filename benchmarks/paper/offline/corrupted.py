"""Garments, a share of them with Gaussian noise (paper, B.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from benchmarks.paper.experiment import recipe_of
from benchmarks.paper.lab import Lab
from benchmarks.paper.noise import corrupted
from benchmarks.paper.offline.garments import Part, superclasses
from benchmarks.paper.offline.rendered import TRAIN, ThreeRendered
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.shares import outside


@dataclass(frozen=True)
class Noise:
    """In which share of each class, and of what standard deviation, of the range [0, 1]."""

    share: float
    deviation: float


def noisy_garments(names: Sequence[str], part: Part, noise: Noise, seed: int, held: Mapping[str, str]) -> Marked:
    """Render garments, each a class; those with noise are the minority."""
    clean = superclasses({name: [name] for name in names}, part, {}, seed, held)
    rows = outside(clean.labels, 1 - noise.share, torch.Generator().manual_seed(seed))
    return replace(clean, images=corrupted(clean.pixels, rows, noise.deviation, seed), minority=rows)


class CorruptedGarments(ThreeRendered):
    """Garments, each a class; less of training is noisy than of the rest."""

    def _set(self, stream: int, name: str) -> Seen:
        share = self.settings["noisy_in_training" if stream == TRAIN else "noisy"]
        noise = Noise(share, self.settings["deviation"])
        part, seed = Part(**self.settings[name], seed=self.seed), 3 * self.seed + stream
        return self.lab.see(noisy_garments(self.settings["garments"], part, noise, seed, self.settings["held"]))


def corrupted_garments(clip: Any, settings: Mapping[str, Any]) -> Callable[[int], CorruptedGarments]:
    """Return the worlds of any seed."""
    return partial(CorruptedGarments, Lab.offline(clip, recipe_of(settings)), settings)
