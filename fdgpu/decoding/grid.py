"""Classes x {easy, neutral, hard} x α x seeds, decoded together (paper, 2.2, A.7 and figure 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fdgpu.arrays import Array, restorer, to_device, to_numpy, to_torch
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.sampling import listed_seeds
from fdgpu.decoding.slerp import slerp
from fdgpu.described import Described
from fdgpu.errors import InputError
from fdgpu.findings import Side
from fdgpu.progress import Reporter

ALPHAS = (0.1, 0.2, 0.3)  # the paper decodes with 0.1 and chooses in [0, 0.3]
SAME = 1e-6  # relative: 0.1 in float32, and 0.1 + 0.2, are the numbers that they were meant to be


@dataclass(frozen=True)
class Rotation:
    """One column of the grid: ``alpha`` is the share of the angle from the reference towards that side."""

    side: Side
    alpha: float


@dataclass(frozen=True, repr=False)
class DecodedGrid(Described):
    """Pictures of k classes from easy over neutral to hard.

    Attributes:
        pictures: (k, p, s, 3, h, w) in [0, 1], for p rotations and s seeds. A seed is the same noise in every class
            and rotation: along a row, the vector alone changes.
        vectors: (k, p, d) the unit vectors that were decoded.
        rotations: p, the easiest first.
        seeds: s.
    """

    pictures: Array
    vectors: Array
    rotations: tuple[Rotation, ...]
    seeds: tuple[int, ...]

    def _described(self) -> dict[str, object]:
        return {"classes": len(self.vectors), "rotations": len(self.rotations), "seeds": len(self.seeds)}

    def at(self, side: Side | str, alpha: float = 0.0) -> Array:
        """Return the pictures (k, s, 3, h, w) of one column.

        Raises:
            InputError: if it was not decoded; says which were.
        """
        for column, rotation in enumerate(self.rotations):
            if rotation.side == side and math.isclose(rotation.alpha, alpha, rel_tol=SAME):
                return self.pictures[:, column]
        there = ", ".join(f"{rotation.side} {rotation.alpha:g}" for rotation in self.rotations)
        raise InputError(f"{side} {alpha:g} was not decoded: there are {there}")


def decode_grid(
    decoder: Decoder,
    references: Array,
    directions: Array,
    *,
    alphas: float | Sequence[float] = ALPHAS,
    seeds: Sequence[int] = (0, 1, 2, 3),
    steps: int | None = None,
    guidance: float | None = None,
    progress: Reporter | None = None,
) -> DecodedGrid:
    """Rotate every class's reference towards its direction and away from it, and decode all of it in one batch.

    Args:
        decoder: of the CLIP space in which the directions were fitted, with L2 normalisation only.
        references: (k, d) vector of each class's reference caption.
        directions: (k, d) w of each class, pointing from hard to easy; its length does not matter.
        alphas: shares of the angle, in (0, 1]; neutral, which is α = 0, is always decoded, and once.
        seeds: noises to decode each vector with.
        steps: of the scheduler, as :meth:`Decoder.sample` takes them.
        guidance: how strongly the vector rules, likewise.
        progress: a reporter, likewise.

    Returns:
        Pictures and vectors, of ``references``' kind.

    Raises:
        InputError: for an α outside (0, 1], no or repeated seeds, no class, and vectors that cannot be rotated.

    Example:
        >>> references, directions = torch.randn(2, 128), torch.randn(2, 128)
        >>> grid = decode_grid(fdgpu.Decoder.bundled("cpu"), references, directions, alphas=0.2, seeds=(0,), steps=2)
        >>> grid.pictures.shape, [str(one.side) for one in grid.rotations]
        (torch.Size([2, 3, 1, 3, 32, 32]), ['easy', 'neutral', 'hard'])
    """
    rotations = rotations_of(alphas)
    chosen = _checked_seeds(seeds)
    r, w = to_torch(references, "references"), to_torch(directions, "directions")
    if r.ndim != 2 or r.shape != w.shape or not len(r):
        raise InputError(
            f"references {tuple(r.shape)} and directions {tuple(w.shape)}: pass (k, d) of each, one row a class and "
            "at least one"
        )
    vectors = _rotated(r, to_device(w, r.device), rotations)
    k, p, s = len(vectors), len(rotations), len(chosen)
    # (k, p, d) → (k·p·s, d): every vector s times in a row, so that the seeds s repeat k·p times beside them
    every = vectors[:, :, None].expand(k, p, s, -1).reshape(k * p * s, -1)
    pictures = decoder.sample(every, seed=chosen * (k * p), steps=steps, guidance=guidance, progress=progress)
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
    easy = [Rotation(Side.EASY, alpha) for alpha in reversed(shares)]
    return (*easy, Rotation(Side.NEUTRAL, 0.0), *(Rotation(Side.HARD, alpha) for alpha in shares))


def _rotated(references: Tensor, directions: Tensor, rotations: Sequence[Rotation]) -> Tensor:
    """Return (k, p, d): all rotations at once, so that vectors are checked once."""
    signs = [-1.0 if rotation.side == Side.HARD else 1.0 for rotation in rotations]
    towards = directions[:, None] * to_device(torch.tensor(signs), directions.device)[:, None]
    return torch.as_tensor(slerp(references[:, None], towards, [rotation.alpha for rotation in rotations]))


def _checked_seeds(seeds: Sequence[int]) -> list[int]:
    chosen = listed_seeds(seeds, "seeds")
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(f"seeds is {chosen}: pass at least one, each once")
    return chosen
