"""Whole audits of random answers: how often does one call any class significant?

Pictures are embedded once. A run draws right and wrong at random, object by object, and fits and tests as an audit does
by default: with near-duplicates for groups, and permutations that are drawn on where they do not decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu import ClipEmbedder, FailureDirections
from fdgpu.demo.world import RenderedSplit, make_split
from fdgpu.directions import SolverSettings, near_duplicates
from fdgpu.directions.parameters import AUDIT
from fdgpu.findings import Split

NOISE = 4.0  # deviation of a frame's pixels, of 255


@dataclass(frozen=True)
class Pictures:
    """n pictures of the bundled world: ``pixels`` (n, 3, h, w) uint8, ``labels`` (n,), and ``objects`` (n,) shown."""

    pixels: torch.Tensor
    labels: NDArray[np.int64]
    objects: NDArray[np.int64]

    def answers(self, rate: float, seed: int) -> NDArray[np.bool_]:
        """Draw (n,) which answers are right: of each class's objects a share ``rate`` is wrong, at random."""
        rng, right = np.random.default_rng(seed), np.ones(int(self.objects.max()) + 1, bool)
        for k in np.unique(self.labels):
            own = rng.permutation(np.unique(self.objects[self.labels == k]))
            right[own[: round(rate * len(own))]] = False
        return right[self.objects]


@cache
def _world(seed: int) -> RenderedSplit:
    return make_split(Split.VAL, seed)


def seen_pictures(objects: int, frames: int, seed: int = 0) -> Pictures:
    """Take ``objects`` pictures of each class, each as ``frames`` that differ by the noise of a camera."""
    split = _world(seed)
    chosen = torch.cat([(split.labels == k).nonzero()[:objects, 0] for k in split.labels.unique()])
    shown = chosen.repeat_interleave(frames)
    pixels = split.pictures[shown]
    if frames > 1:
        noise = NOISE * torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed))
        pixels = (pixels + noise).round().clamp(0, 255).to(torch.uint8)
    return Pictures(pixels, split.labels[shown].numpy(), np.repeat(np.arange(len(chosen)), frames))


def fit_as_audited(
    vectors: torch.Tensor,
    labels: NDArray[np.int64],
    right: NDArray[np.bool_],
    groups: NDArray[np.int64] | None,
    seed: int,
) -> FailureDirections:
    """Fit and test cached vectors with the settings of an audit, but for the resamples, which captions alone need."""
    search = replace(AUDIT, n_resamples=0, random_state=seed)
    return FailureDirections.from_settings(SolverSettings(), search).fit(vectors, labels, right, groups=groups)


def any_significant(pictures: Pictures, rate: float, runs: int, *, grouped: bool) -> NDArray[np.int64]:
    """Return (runs,) how many classes each audit calls significant.

    Args:
        pictures: of the audits.
        rate: share of wrong answers.
        runs: number of audits.
        grouped: whether near-duplicates are looked for, as by default.
    """
    vectors = ClipEmbedder.bundled().images(pictures.pixels)
    groups = near_duplicates(vectors, pictures.labels) if grouped else None
    fits = (
        fit_as_audited(vectors, pictures.labels, pictures.answers(rate, seed), groups, seed) for seed in range(runs)
    )
    return np.array([int(fit.fitted.significant.sum()) for fit in fits])
