r"""A hidden class in every class: vectors and margins of its members differ from those of the others.

Given the hidden class z, a vector is Gaussian with one covariance for both, so that the log-odds of z are linear in the
vector; and the log-odds of z are linear in the margin t, while the distribution of t itself is left free. It is fitted
by expectation and maximisation. The direction along which vectors tell z is the ridge regression of the
responsibilities on the vectors, which is linear discriminant analysis with a shrunk covariance. Its predictions are
those with the sample itself left out, in closed form: with as many dimensions as samples, the sample's own vector would
otherwise confirm whatever was believed of it.

All shrinkages and starts of all labellings of K classes are one product with the eigenvectors of their scatter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch

Tensor = torch.Tensor
TAILS = (0.01, 0.05, 0.15, 0.3, 0.5)  # shares of a class that a start takes for failures, by their predicted margin
LOSS_TAILS = (0.01, 0.05, 0.15)  # and by their predicted loss, which listens to the worst alone
FEWEST = 3  # samples of a start
INSIDE, OUTSIDE = 0.9, 0.02  # responsibilities of a start
HEAT, FINAL, FINALISTS = 8, 32, 2  # iterations of all starts, and of so many of each shrinkage
NEWTON = 2  # steps of the slope of the margin in an iteration
MARGIN_RIDGE = 1e-3  # on that slope, which has no bound where margins tell z without error
LEVERAGE = 0.999  # most that a sample predicts itself
CLARITY = 0.5  # exponent of the clarity in a candidate's score
LEAST = 1e-12


class Space(NamedTuple):
    """Parts of K classes, as the eigenvectors of their scatter see them; m samples at most, q eigenvectors.

    Attributes:
        x: (K, m, d) centred rows, 0 where there is no sample.
        mean: (K, d).
        there: (K, m) 1 where there is a sample, else 0.
        n: (K,) samples.
        vectors: (K, m, q) left singular vectors of ``x``; 0 where the singular value is.
        values: (K, q) squared singular values, ones in their place where they are 0.
        unit: (K,) mean eigenvalue over d dimensions, the unit of a shrinkage.
    """

    x: Tensor
    mean: Tensor
    there: Tensor
    n: Tensor
    vectors: Tensor
    values: Tensor
    unit: Tensor


def space_of(x: Tensor, there: Tensor) -> Space:
    """Decompose (K, m, d) rows, of which those are samples that are ``there`` (K, m)."""
    n = there.sum(dim=1).clamp(min=1)
    mean = (x * there[..., None]).sum(dim=1) / n[:, None]
    centred = (x - mean[:, None]) * there[..., None]
    k, m, d = x.shape
    if m <= d:
        values, vectors = torch.linalg.eigh(centred @ centred.mT)
    else:
        values, right = torch.linalg.eigh(centred.mT @ centred)
        vectors = centred @ right / values.clamp(min=LEAST).sqrt()[:, None]
    unit = values.clamp(min=0).sum(dim=1) / d
    rounding = values.amax(dim=1, keepdim=True).clamp(min=0) * max(m, d) * torch.finfo(x.dtype).eps
    kept = values > rounding.clamp(min=LEAST)
    return Space(
        centred, mean, there, n, vectors * kept[:, None], torch.where(kept, values, 1.0), unit.clamp(min=LEAST)
    )


@dataclass(frozen=True)
class Mixtures:
    """Fitted hidden classes, of any leading shape (…); samples (…, m).

    Attributes:
        failing: (…, m) responsibilities of the hidden class.
        dual: (…, m) weights of the rows, whose sum is the direction w: the higher w·x, the likelier z.
        predicted: (…, m) w·(x − mean) of each sample as the others predict it.
        high, low, variance: (…) mean of that in and outside the hidden class, and its variance in either.
        offset, slope: (…) log-odds of z given the margin t are ``offset − slope t``; the slope is at least 0.
        share: (…) of samples in the hidden class.
    """

    failing: Tensor
    dual: Tensor
    predicted: Tensor
    high: Tensor
    low: Tensor
    variance: Tensor
    offset: Tensor
    slope: Tensor
    share: Tensor

    def taken(self, index: Tensor, dim: int) -> Mixtures:
        """Choose one entry of a leading dimension, which is dropped; ``index`` has the shape of those before it."""

        def choose(values: Tensor) -> Tensor:
            at = index.reshape(*index.shape, *[1] * (values.ndim - index.ndim))
            return values.take_along_dim(at.expand(*index.shape, 1, *values.shape[dim + 1 :]), dim=dim).squeeze(dim)

        return Mixtures(*(choose(getattr(self, one.name)) for one in fields(self)))

    @property
    def prior(self) -> Tensor:
        """(…) log-odds of the share."""
        return self.share.logit()

    def evidence(self, along: Tensor) -> Tensor:
        """Return (…, m) log-likelihood ratio of z, of samples that lie at ``along`` (…, m) on the direction."""
        middle, height = (self.high + self.low) / 2, self.high - self.low
        return (height / self.variance)[..., None] * (along - middle[..., None])

    def gain(self, along: Tensor, margin: Tensor) -> Tensor:
        """Return (…, m) how many nats better a margin is foretold by the vector than without it: log p(t | x) / p(t)."""
        by_x = (self.evidence(along) + self.prior[..., None]).sigmoid()
        by_t = (self.offset[..., None] - self.slope[..., None] * margin).sigmoid()
        share = self.share[..., None]
        return (by_x * by_t / share + (1 - by_x) * (1 - by_t) / (1 - share)).clamp(min=LEAST).log()

    @property
    def clarity(self) -> Tensor:
        """(…) variance between the hidden class and the others, over the variance within."""
        return self.share * (1 - self.share) * (self.high - self.low) ** 2 / self.variance


# --- starts ---------------------------------------------------------------------------------------------------------


def loss_of(margin: Tensor) -> Tensor:
    """Return −log p of margins log(p / (1 − p))."""
    return torch.nn.functional.softplus(-margin)


def starts(space: Space, margin: Tensor, shrinkages: Sequence[float]) -> Tensor:
    """Start from the samples whose margin or loss is predicted the worst by the others: (K, P, L, S, m).

    Args:
        space: K classes.
        margin: (K, P, m), of P labellings.
        shrinkages: L of them.
    """
    targets = torch.stack([margin, -loss_of(margin)], dim=2)[:, :, None]  # (K, P, 1, 2, m)
    targets = targets.expand(-1, -1, len(shrinkages), -1, -1)
    predicted, _ = left_out(space, shrinkages, targets)
    predicted = torch.where(space.there[:, None, None, None] > 0, predicted, torch.inf)
    place = torch.empty_like(predicted, dtype=torch.int64)
    order = predicted.argsort(dim=-1, stable=True)
    place.scatter_(-1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order))

    def tails(of: Tensor, shares: Sequence[float]) -> Tensor:
        counts = (of.new_tensor(shares, dtype=space.n.dtype) * space.n[:, None]).round().clamp(min=FEWEST)
        return of[:, :, :, None] < counts[:, None, None, :, None]

    inside = torch.cat([tails(place[..., 0, :], TAILS), tails(place[..., 1, :], LOSS_TAILS)], dim=3)
    return torch.where(inside, INSIDE, OUTSIDE).to(margin.dtype) * space.there[:, None, None, None]


# --- expectation and maximisation -----------------------------------------------------------------------------------


def left_out(space: Space, shrinkages: Sequence[float], target: Tensor) -> tuple[Tensor, Tensor]:
    """Predict targets by ridge regression on the vectors, each sample by the others.

    Args:
        space: K classes.
        shrinkages: L, in units of the mean eigenvalue.
        target: (K, P, L, S, m).

    Returns:
        Predictions around the mean (K, P, L, S, m); coordinates (K, P, L, S, q) of the targets among the eigenvectors,
        shrunk.
    """
    factor, leverage = _hat(space, shrinkages)
    there = space.there[:, None, None, None]
    centred = (target - (target * there).sum(-1, keepdim=True) / space.n[:, None, None, None, None]) * there
    coordinates = (centred.flatten(1, 3) @ space.vectors).unflatten(1, target.shape[1:4])
    coordinates = coordinates * factor[:, None, :, None]
    fitted = (coordinates.flatten(1, 3) @ space.vectors.mT).unflatten(1, target.shape[1:4])
    return (centred - (centred - fitted) / (1 - leverage[:, None, :, None])) * there, coordinates


def _hat(space: Space, shrinkages: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return by how much each eigenvector is shrunk (K, L, q), and the leverage of each sample (K, L, m)."""
    ridge = space.unit[:, None, None] * space.unit.new_tensor(shrinkages)[:, None]
    factor = space.values[:, None] / (space.values[:, None] + ridge)
    leverage = factor @ (space.vectors**2).mT + 1 / space.n[:, None, None]
    return factor, leverage.clamp(max=LEVERAGE)


def dual_of(space: Space, coordinates: Tensor) -> Tensor:
    """Return (K, P, L, S, m) weights of the rows of :func:`left_out`'s coordinates."""
    scaled = coordinates / space.values[:, None, None, None]
    return (scaled.flatten(1, 3) @ space.vectors.mT).unflatten(1, coordinates.shape[1:4])


def fit(
    space: Space, margin: Tensor, shrinkages: Sequence[float], first: Tensor, iterations: int, settled: float = 3e-3
) -> Mixtures:
    """Fit a hidden class from every start: shape (K, P, L, S).

    On a CPU it ends as soon as no responsibility moves by more than ``settled``; a device does all iterations, and
    nothing waits for it.

    Args:
        space: K classes.
        margin: (K, P, m) of every labelling.
        shrinkages: L.
        first: (K, P, L, S, m) responsibilities.
        iterations: most of them.
    """
    there, n = space.there[:, None, None, None], space.n[:, None, None, None]
    t, r = margin[:, :, None, None], first
    offset = slope = torch.zeros_like(r[..., 0])
    least = torch.full_like(n, 1.5)  # samples of a hidden class, and outside
    for step in range(iterations):
        along, coordinates = left_out(space, shrinkages, r)
        inside = r.sum(-1).clamp(min=LEAST)
        outside = (n - r.sum(-1)).clamp(min=LEAST)
        high, low = (r * along).sum(-1) / inside, ((there - r) * along).sum(-1) / outside
        spread = r * (along - high[..., None]) ** 2 + (there - r) * (along - low[..., None]) ** 2
        variance = spread.sum(-1) / n + LEAST
        share = torch.minimum(torch.maximum(inside, least), n - least) / n
        offset, slope = _margin_slope(t, r, there, share.logit() if step == 0 else offset, slope)
        found = Mixtures(r, coordinates, along, high, low, variance, offset, slope, share)
        after = (found.evidence(along) + offset[..., None] - slope[..., None] * t).sigmoid() * there
        moved, r = (after - r).abs().amax(), after
        if r.device.type == "cpu" and float(moved) < settled:
            break
    return _hard_side(Mixtures(r, dual_of(space, coordinates), *list(vars(found).values())[2:]), there)


def _margin_slope(t: Tensor, r: Tensor, there: Tensor, offset: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Take Newton's steps on the logistic regression of responsibilities on margins."""
    for _ in range(NEWTON):
        p = (offset[..., None] - slope[..., None] * t).sigmoid()
        residual, weight = (r - p) * there, (p * (1 - p) + 1e-9) * there
        by_offset, by_slope = residual.sum(-1), -(residual * t).sum(-1) - MARGIN_RIDGE * slope
        a, b = weight.sum(-1), -(weight * t).sum(-1)
        c = (weight * t * t).sum(-1) + MARGIN_RIDGE
        scale = a * c - b * b
        steps = (c * by_offset - b * by_slope) / scale, (a * by_slope - b * by_offset) / scale
        short = (2 / torch.maximum(steps[0].abs(), steps[1].abs()).clamp(min=LEAST)).clamp(max=1)
        offset, slope = offset + short * steps[0], slope + short * steps[1]
    return offset, slope


def _hard_side(found: Mixtures, there: Tensor) -> Mixtures:
    """Call that side the hidden class on which margins are smaller."""
    turned = found.slope < 0
    sign = torch.where(turned, -1.0, 1.0).to(found.slope.dtype)
    return Mixtures(
        torch.where(turned[..., None], there - found.failing, found.failing),
        found.dual * sign[..., None],
        found.predicted * sign[..., None],
        torch.where(turned, -found.low, found.high),
        torch.where(turned, -found.high, found.low),
        found.variance,
        found.offset * sign,
        found.slope * sign,
        torch.where(turned, 1 - found.share, found.share),
    )


def search(space: Space, margin: Tensor, shrinkages: Sequence[float]) -> tuple[Mixtures, Tensor]:
    """Fit from every start, the better ones to the end.

    Args:
        space: K classes.
        margin: (K, P, m) of every labelling.
        shrinkages: L.

    Returns:
        The best hidden class by each shrinkage (K, P, L), and their scores.
    """
    found = fit(space, margin, shrinkages, starts(space, margin, shrinkages), HEAT)
    leading = score(space, margin, found).topk(FINALISTS, dim=-1).indices
    first = found.failing.take_along_dim(leading[..., None], dim=3)
    found = fit(space, margin, shrinkages, first, FINAL)
    best = score(space, margin, found).max(dim=-1)
    return found.taken(best.indices, 3), best.values


def score(space: Space, margin: Tensor, found: Mixtures) -> Tensor:
    """Score candidates (K, P, L, S): nats by which vectors foretell margins, times the root of the clarity.

    Nats alone prefer what many causes have in common to one of them; clarity alone any two groups that there are.
    """
    gain = (found.gain(found.predicted, margin[:, :, None, None]) * space.there[:, None, None, None]).sum(-1)
    return torch.where(gain > 0, gain * found.clarity**CLARITY, gain)
