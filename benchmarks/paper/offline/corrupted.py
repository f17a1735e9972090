"""Garments, a share of them with Gaussian noise (paper, B.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.paper.noise import corrupted
from benchmarks.paper.offline.garments import Part, superclasses
from benchmarks.paper.sets import Marked
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
    return replace(clean, images=corrupted(clean.images, rows, noise.deviation, seed), minority=rows)
