"""Classes x {easy, neutral, hard} x α x seeds, decoded together (paper, 2.2, A.7 and figure 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fdgpu.arrays import restorer, to_numpy, to_torch
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.seeds import listed_seeds
from fdgpu.decoding.slerp import slerp
from fdgpu.errors import InputError

ALPHAS = (0.1, 0.2, 0.3)  # the paper decodes with 0.1 and chooses in [0, 0.3]
EASY, NEUTRAL, HARD = "easy", "neutral", "hard"
SAME = 1e-6  # relative: 0.1 in float32, and 0.1 + 0.2, are the numbers that they were meant to be


@dataclass(frozen=True)
class Rotation:
    """One column of the grid: ``end`` is easy, neutral or hard, ``alpha`` the share of the angle towards that end."""

    end: str
    alpha: float


@dataclass(frozen=True)
class DecodedGrid:
    """Pictures of k classes from easy over neutral to hard.

    Attributes:
        pictures: (k, p, s, 3, h, w) in [0, 1], for p rotations and s seeds. A seed is the same noise in every class
            and rotation, so that what changes along a row is the vector alone.
        vectors: (k, p, d) what was decoded.
        rotations: p, the easiest first.
        seeds: s.
    """

    pictures: Any
    vectors: Any
    rotations: tuple[Rotation, ...]
    seeds: tuple[int, ...]

    def at(self, end: str, alpha: float = 0.0) -> Any:
        """Return the pictures (k, s, 3, h, w) of one column.

        Raises:
            InputError: if it was not decoded; says which were.
        """
        for column, rotation in enumerate(self.rotations):
            if rotation.end == end and math.isclose(rotation.alpha, alpha, rel_tol=SAME):
                return self.pictures[:, column]
        there = ", ".join(f"{rotation.end} {rotation.alpha:g}" for rotation in self.rotations)
        raise InputError(f"{end} {alpha:g} was not decoded: there are {there}")


def decode_grid(
    decoder: Decoder,
    references: Any,
    directions: Any,
    *,
    alphas: float | Sequence[float] = ALPHAS,
    seeds: Sequence[int] = (0, 1, 2, 3),
    **sampling: Any,
) -> DecodedGrid:
    """Rotate every class's reference towards its direction and away from it, and decode all of it in one batch.

    Args:
        decoder: of the CLIP space in which the directions were fitted, with L2 normalisation only.
        references: (k, d) vector of each class's reference caption.
        directions: (k, d) w of each class, pointing from hard to easy; its length does not matter.
        alphas: shares of the angle, in (0, 1]; neutral, which is α = 0, is always decoded, and once.
        seeds: noises to decode each vector with.
        sampling: steps, guidance and progress, see :meth:`Decoder.sample`.

    Returns:
        Pictures and vectors, of ``references``' kind.

    Raises:
        InputError: for an α outside (0, 1], no or repeated seeds, no class, and vectors that cannot be rotated.
    """
    rotations = rotations_of(alphas)
    chosen = _checked_seeds(seeds)
    r, w = to_torch(references, "references"), to_torch(directions, "directions")
    if r.ndim != 2 or r.shape != w.shape or not len(r):
        raise InputError(
            f"references {tuple(r.shape)} and directions {tuple(w.shape)}: pass (k, d) of each, one row a class and "
            "at least one"
        )
    vectors = torch.stack([_rotated(r, w.to(r.device), rotation) for rotation in rotations], dim=1)
    k, p, s = len(vectors), len(rotations), len(chosen)
    every = vectors[:, :, None].expand(k, p, s, -1).reshape(k * p * s, -1)
    pictures = decoder.sample(every, seed=chosen * (k * p), **sampling)
    restore = restorer(references)
    return DecodedGrid(restore(pictures.view(k, p, s, *pictures.shape[1:])), restore(vectors), rotations, tuple(chosen))


def rotations_of(alphas: float | Sequence[float]) -> tuple[Rotation, ...]:
    """Return the columns, the easiest first.

    Raises:
        InputError: for an α outside (0, 1], or that is no number.
    """
    given = to_numpy(alphas, "alphas").reshape(-1)
    if given.dtype.kind not in "fiu":
        raise InputError(f"alphas is {alphas!r}: pass numbers, shares of the angle in (0, 1]")
    shares = sorted(set(given.astype(float).tolist()))
    outside = [alpha for alpha in shares if not 0 < alpha <= 1]
    if outside:
        raise InputError(f"alphas holds {outside[0]:g}: pass shares of the angle in (0, 1]; neutral comes by itself")
    easy = [Rotation(EASY, alpha) for alpha in reversed(shares)]
    return (*easy, Rotation(NEUTRAL, 0.0), *(Rotation(HARD, alpha) for alpha in shares))


def _rotated(references: Tensor, directions: Tensor, rotation: Rotation) -> Tensor:
    turned = slerp(references, -directions if rotation.end == HARD else directions, rotation.alpha)
    return torch.as_tensor(turned)


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    chosen = listed_seeds(seeds, "seeds")
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"seeds is {chosen}: pass at least one, each once")
    return chosen
