"""How good a dual is, measured from the dual itself: its violation of the KKT conditions, and its intercept.

For a solver that is not ours and says little of how it ended. As in :mod:`fdgpu.kernels.smo_numba`, a is y·alpha and g
is K a; ``limit`` is y C s(y), alpha's bound with the label's sign, and 0 where a sample takes no part. A column is a
problem; everything is float64, and stays on its device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Optimality(NamedTuple):
    """``violation`` (q,) of the KKT conditions, infinite for a dual that is not finite, and ``intercept`` (q,)."""

    violation: torch.Tensor
    intercept: torch.Tensor


def into_the_box(a: torch.Tensor, limit: torch.Tensor, rounding: float) -> torch.Tensor:
    """Return ``a`` (n, q) inside its bounds, and exactly at a bound what lies within ``rounding`` of it.

    A sum of steps mostly leaves an alpha an ulp short of its bound. Taken for free, that one sample would decide b.

    Args:
        a: (n, q) duals.
        limit: (n, q).
        rounding: relative to the bound.
    """
    a = torch.minimum(torch.maximum(a, limit.clamp(max=0)), limit.clamp(min=0))
    slack = rounding * limit.abs()
    return torch.where(a.abs() <= slack, 0.0, torch.where((limit - a).abs() <= slack, limit, a))


def measure(a: torch.Tensor, g: torch.Tensor, limit: torch.Tensor) -> Optimality:
    """Measure duals ``a`` (n, q) that lie in their boxes, with g = K a (n, q).

    With v = y - g the violation is libsvm's, max v of what may rise - min v of what may fall; or, where it is larger,
    how far the duals are from adding up to zero, relative to their size, of which the other knows nothing. The
    intercept is the mean v of the free samples; with none, the middle of the interval that is optimal.
    """
    may_rise, may_fall = a < limit.clamp(min=0), a > limit.clamp(max=0)
    v = limit.sign() - g
    top = torch.where(may_rise, v, -torch.inf).amax(dim=0)
    bottom = torch.where(may_fall, v, torch.inf).amin(dim=0)
    unbalanced = a.sum(dim=0).abs() / a.abs().sum(dim=0).clamp(min=torch.finfo(a.dtype).tiny)
    violation = torch.maximum(top - bottom, unbalanced)
    free = may_rise & may_fall
    mean = torch.where(free, v, 0.0).sum(dim=0) / free.sum(dim=0).clamp(min=1)
    intercept = torch.where(free.any(dim=0), mean, (top + bottom) / 2)
    return Optimality(torch.where(violation.isnan(), torch.inf, violation), intercept)
