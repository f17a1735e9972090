"""Directions to search along, in the bundled CLIP's space: one fitted to planted failures, and random ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu import ClipEmbedder, FailureDirections
from fdgpu.demo.world import draw_attributes, draw_scene, load_photographs, render, world_settings
from fdgpu.kernels.alignments import alignments

CLASS = "coat"
REFERENCE = f"a photo of a {CLASS}"
WRONG = 0.9  # of the planted pictures, and one minus it of the others


@dataclass(frozen=True)
class Direction:
    """A unit direction in whitened space: ``align`` takes (m, d) unit text vectors, gives (m,) alignments."""

    name: str
    align: Callable[[Tensor], NDArray[np.float64]]


def directions(clip: ClipEmbedder, random: int, seed: int = 0) -> list[Direction]:
    """Return the planted direction and so many random ones, whitened alike."""
    fit = planted(clip, seed)
    base, scale = clip.texts(REFERENCE)[0], torch.from_numpy(fit.scale_)
    rng = np.random.default_rng(seed)
    vectors = {"planted": fit.directions_[0, 0]}
    vectors |= {f"random {i + 1}": _unit(rng.normal(size=clip.dimension)) for i in range(random)}

    def aligner(w: NDArray[np.float32]) -> Callable[[Tensor], NDArray[np.float64]]:
        return lambda texts: alignments(texts, base, torch.from_numpy(w), scale).numpy()

    return [Direction(name, aligner(w)) for name, w in vectors.items()]


def planted(clip: ClipEmbedder, seed: int) -> FailureDirections:
    """Fit a model that fails on blue coats on a white background, where two colours and two backgrounds are."""
    settings = world_settings()
    pixels, labels = load_photographs("val")
    own = labels == settings.class_names.index(CLASS)
    pixels, labels = pixels[own], labels[own]
    generator = torch.Generator().manual_seed(seed)
    attributes = draw_attributes(len(labels), generator)
    index = torch.arange(len(labels))
    blue, white = index % 2 == 0, index // 2 % 2 == 0
    for drawn, attribute, chosen, names in (
        (attributes.colour, "colour", blue, ("blue", "red")),
        (attributes.background, "background", white, ("white", "black")),
    ):
        codes = [settings.code(attribute, name) for name in names]
        drawn[:] = torch.where(chosen, torch.tensor(codes[0]), torch.tensor(codes[1]))
    pictures = render(pixels, draw_scene(attributes, labels, generator))
    chance = torch.where(blue & white, WRONG, 1 - WRONG)
    right = torch.rand(len(index), generator=generator) >= chance
    return FailureDirections().fit(clip.images(pictures).numpy(), np.zeros(len(index), int), right.numpy())


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vector / np.linalg.norm(vector)).astype(np.float32)
