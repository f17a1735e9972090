"""Rotate references towards directions, and decode classes x {easy, neutral, hard} x α x seeds (2.2, A.7, figure 8)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import Array, restorer, to_device, to_host, to_numpy, to_torch
from fdgpu.decoding.decoder import Decoder
from fdgpu.decoding.sampling import listed_seeds
from fdgpu.described import Described
from fdgpu.errors import InputError
from fdgpu.findings import Side
from fdgpu.progress import Reporter

ALPHAS = (0.1, 0.2, 0.3)  # the paper decodes with 0.1 and chooses in [0, 0.3]
NEAR = 1e-3  # radians from 0 where the chord is the arc to 1e-7, and from π where rounding would choose the plane
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


# --- spherical interpolation ------------------------------------------------------------------------------------------


def slerp(a: Array, b: Array, alpha: float | Array) -> Array:
    """Rotate ``a`` towards ``b`` by the share ``alpha`` of the angle θ between them.

    sin((1 − α)θ)/sin θ · a + sin(αθ)/sin θ · b, of unit vectors; where the angle is next to nothing, the straight line
    between them, made a unit vector again. To decode a failure, ``a`` is the reference caption and ``b`` is −w for
    harder and w for easier pictures, with α in [0, 0.3] (A.7).

    Args:
        a: (…, d) vectors, as a torch tensor, NumPy, CuPy or JAX array; they need not have unit length.
        b: (…, d) likewise; both broadcast.
        alpha: a number, or an array that broadcasts with the leading dimensions; 0 gives ``a``, 1 gives ``b``, less
            than 0 rotates away from ``b``.

    Returns:
        (…, d) unit vectors, in ``a``'s kind, type and device.

    Example:
        >>> slerp([1.0, 0.0], [0.0, 1.0], 0.5).round(3)
        array([0.707, 0.707])

    Raises:
        InputError: for an α outside [−1, 1], shapes that do not broadcast, vectors that are zero or not finite, and
            opposite vectors, between which every arc is as short as any other.
    """
    first = _rows(a, "a")
    second, share = to_device(_rows(b, "b"), first.device), to_device(_share(alpha), first.device)
    _check_shapes(first, second, share)
    one, other = _unit(first), _unit(second)
    # (…): tan(θ/2) = |a − b| / |a + b|, which keeps its digits near 0 and near π, where acos(a·b) loses half of them
    theta = 2 * torch.atan2((one - other).norm(dim=-1), (one + other).norm(dim=-1))
    _check_angles(one, other, theta)
    close = theta < NEAR  # there sin((1 − α)θ)/sin θ is 1 − α to 1e-7, and 0/0 at θ = 0
    sine = torch.where(close, 1.0, theta.sin())
    of_a = torch.where(close, 1 - share, ((1 - share) * theta).sin() / sine)
    of_b = torch.where(close, share, (share * theta).sin() / sine)
    rotated = F.normalize(of_a[..., None] * one + of_b[..., None] * other, dim=-1)
    kind = first.dtype if first.is_floating_point() else torch.float32
    return restorer(a)(rotated.to(kind))


def _rows(array: Array, name: str) -> Tensor:
    tensor = to_torch(array, name)
    if tensor.ndim == 0:
        raise InputError(f"{name} is one number: pass vectors (…, d)")
    return tensor


def _share(alpha: float | Array) -> Tensor:
    share = to_torch(alpha, "alpha").double()
    inside = (share >= -1) & (share <= 1)
    if not bool(to_host(inside.all(), "whether alpha is in [-1, 1]")):
        outside = to_host(share, "alpha")[~to_host(inside, "which of alpha is in [-1, 1]")]
        raise InputError(f"alpha holds {outside[0]:g}: pass shares of the angle in [-1, 1]")
    return share


def _check_shapes(a: Tensor, b: Tensor, share: Tensor) -> None:
    if a.shape[-1] != b.shape[-1]:
        raise InputError(f"a has vectors of {a.shape[-1]} numbers, b of {b.shape[-1]}: both come from one CLIP space")
    try:
        torch.broadcast_shapes(a.shape[:-1], b.shape[:-1], share.shape)
    except RuntimeError:
        raise InputError(
            f"a {tuple(a.shape)}, b {tuple(b.shape)} and alpha {tuple(share.shape)} do not broadcast: their leading "
            "dimensions have to be equal or 1"
        ) from None


def _unit(vectors: Tensor) -> Tensor:
    """Return unit vectors; NaN for those that are zero or not finite."""
    wide = vectors.double()  # 1/sin θ would make float32's rounding visible between vectors that are next to opposite
    return torch.as_tensor(wide / wide.norm(dim=-1, keepdim=True))


def _check_angles(a: Tensor, b: Tensor, theta: Tensor) -> None:
    """Check unit vectors and the angles between them, all of it by one look at the device."""
    flags = torch.stack([a.isnan().any(), b.isnan().any(), (theta > torch.pi - NEAR).any()])
    no_a, no_b, opposite = to_host(flags, "whether vectors can be rotated")
    if no_a or no_b:
        raise InputError(f"{'a' if no_a else 'b'} holds a vector that is zero or not finite: it has no direction")
    if opposite:
        raise InputError("a and b hold opposite vectors: no arc between them is the shortest; rotate by way of a third")
