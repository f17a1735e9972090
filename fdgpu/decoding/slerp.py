"""Spherical interpolation (paper, 2.2 and A.7)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.arrays import Array, restorer, to_device, to_host, to_torch
from fdgpu.errors import InputError

NEAR = 1e-3  # radians from 0 where the chord is the arc to 1e-7, and from π where rounding would choose the plane


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
