"""The captions that score lowest and highest along directions that each have a reference of their own.

A caption c scores w·d / ‖d‖ with d = (c - r) / σ, as :mod:`fdgpu.kernels.alignments` has it. Where r differs from
direction to direction the differences cannot be stored. They need not be: with x = (c - m) / σ and ρ = (r - m) / σ, m
the mean of the references,

    w·d = w·x - w·ρ,    ‖d‖² = ‖x‖² - 2 ρ·x + ‖ρ‖²,

so that a block of captions costs two matrix products for all directions, and nothing of (captions, directions, d) is
made. Both lose digits where c is near r. These scores only choose candidates, a few more than were asked for, and
what lies so near a reference that rounding decides its length is looked at on both sides. The candidates are scored by
``caption_differences`` in float64.

All vectors are looked at in lists and graphs of FAISS too. These find captions by their w·x alone, and lengths decide
as much: of a million captions of a grammar, those 100 of the largest w·x hold 0.16 of the ten of the highest scores,
and the 1000 of the largest 0.29 (200 directions, ``python -m benchmarks.index --only audit``).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from fdgpu.arrays import to_device
from fdgpu.device import BatchSize, halving_batches
from fdgpu.index.exact_store import Found, best, better
from fdgpu.index.stores import Store
from fdgpu.kernels.alignments import CHUNK_BYTES, EQUAL, caption_differences

SPARE = 16  # candidates beyond those that were asked for: captions nearer to a reference than rounding tells
NEAR = 64  # roundings of a squared length, below which its score is not told
SCORES = {"cpu": 1 << 22, "cuda": 1 << 27}  # at a time
MOST_VECTORS = 1 << 16  # at a time, however few the directions
PRECISION = {
    "cpu": torch.float32
}  # elsewhere float64, which a choice of TF32 does not reach; a CPU takes twice as long
HALF_EQUAL = 1e-3  # how far rounding to float16 moves a caption that is the reference


@dataclass(frozen=True)
class Asked:
    """``directions`` (q, d) w, ``references`` (q, d) r, ``scale`` (d,) σ: float64, on the device of the vectors."""

    directions: Tensor
    references: Tensor
    scale: Tensor


def extremes(store: Store, asked: Asked, k: int) -> tuple[Tensor, Tensor]:
    """Return scores (q, 2, k) float64 and positions (q, 2, k): the hardest, ascending, and the easiest, descending.

    The score of a caption that equals the reference is NaN; it comes last, where there are not k others.
    """
    return _ranked(store, _candidates(store, asked, k + SPARE), asked, k)


def _candidates(store: Store, asked: Asked, k: int) -> Tensor:
    """Return (q, 2, up to k) positions of captions that score low and high."""
    kind = PRECISION.get(store.device.type, torch.float64)
    slack = 4 * torch.finfo(kind).eps * sqrt(store.dimension)
    q, centre = len(asked.directions), asked.references.mean(dim=0)
    rho = (asked.references - centre) / asked.scale
    along = (rho * asked.directions).sum(dim=1, keepdim=True).to(kind)
    rho_squared = (1 - slack) * rho.square().sum(dim=1, keepdim=True).to(kind)
    both = torch.cat([asked.directions, -2 * rho]).to(kind)
    least = (0.1 * EQUAL / asked.scale.amax().to(kind)).square()
    centre, inverse = centre.to(kind), (1 / asked.scale).to(kind)

    def sides(start: int, stop: int) -> tuple[Found, Found]:
        x = (store.block(start, stop).to(kind) - centre) * inverse
        squared = x.square().sum(dim=1)
        scores, lengths = (both @ x.T).split(q)
        lengths.add_((1 - slack) * squared).add_(rho_squared)
        near = lengths <= NEAR * slack * (squared + rho_squared)
        lengths.copy_(torch.maximum(lengths, torch.maximum(1e-9 * squared, least)))
        scores.sub_(along).mul_(lengths.rsqrt_())
        low = best(scores.masked_fill(near, -torch.inf), k, start, largest=False)
        return low, best(scores.masked_fill_(near, torch.inf), k, start)

    block = min(MOST_VECTORS, max(1, SCORES.get(store.device.type, SCORES["cpu"]) // q))
    blocks = halving_batches(sides, len(store), BatchSize(block))
    _, (low, high) = next(blocks)
    for _, (more_low, more_high) in blocks:
        low, high = better(low, more_low, k, largest=False), better(high, more_high, k)
    return torch.stack([low[1], high[1]], dim=1)


def _ranked(store: Store, candidates: Tensor, asked: Asked, k: int) -> tuple[Tensor, Tensor]:
    """Score candidates (q, 2, m) as they are, and return the scores and positions (q, 2, k) of the best."""
    sign = to_device(np.array([[1.0], [-1.0]]), candidates.device)
    references, equal = asked.references, EQUAL
    if store.half:
        references, equal = references.half(), HALF_EQUAL

    def of_some(start: int, stop: int) -> tuple[Tensor, Tensor]:
        positions = candidates[start:stop]
        reference = references[start:stop, None]
        differences = caption_differences(store.vectors(positions), reference, asked.scale, equal)
        scores = torch.einsum("qsmd,qd->qsm", differences, asked.directions[start:stop])
        signed = sign * scores
        order = torch.where(signed.isnan(), torch.inf, signed).argsort(dim=-1, stable=True)[..., :k]
        return scores.gather(-1, order), positions.gather(-1, order)

    a_direction = 8 * candidates[0].numel() * store.dimension  # bytes
    chunk = CHUNK_BYTES.get(candidates.device.type, CHUNK_BYTES["cpu"])
    found = [some for _, some in halving_batches(of_some, len(candidates), BatchSize(max(1, chunk // a_direction)))]
    scores, positions = zip(*found, strict=True)
    return torch.cat(scores), torch.cat(positions)
