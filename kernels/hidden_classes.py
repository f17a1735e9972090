r"""A hidden class in every class: vectors and margins of its members differ from those of the others.

Given the hidden class z, a vector is Gaussian with one covariance for both, so that the log-odds of z are linear in the
vector; and the log-odds of z are linear in the margin t, while the distribution of t itself is left free. It is fitted
by expectation and maximisation. The direction along which vectors tell z is the ridge regression of the
responsibilities on the vectors, which is linear discriminant analysis with a shrunk covariance. Its predictions are
those with the sample itself left out, in closed form: with as many dimensions as samples, the sample's own vector would
otherwise confirm whatever was believed of it.

All shrinkages and starts of all labellings of K classes are one product with the classes' smoothers. On a CPU
:mod:`fdgpu.kernels.hidden_classes_numba` takes the iterations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.kernels import hidden_classes_numba
from fdgpu.kernels.hidden_classes_numba import HOLDS, INSIDE_AT_LEAST, LEAST, MARGIN_RIDGE, NEWTON, SETTLED

Tensor = torch.Tensor
FEWEST = 3  # samples of a start
INSIDE, OUTSIDE = 0.9, 0.02  # responsibilities of a start
LEVERAGE = 0.999  # most that a sample predicts itself
WIDER = 2.0  # times the samples that it begins with, which a hidden class may hold
TALL = 2  # samples for every dimension, above which a smoother is held as a factor


@dataclass(frozen=True)
class Effort:
    """How far a search goes.

    Attributes:
        tails: shares of a class that a start takes for failures, by their predicted margin.
        loss_tails: the same by their predicted loss, which listens to the worst alone.
        iterations: most of each start.
    """

    tails: tuple[float, ...]
    loss_tails: tuple[float, ...]
    iterations: int

    @property
    def starts(self) -> int:
        """Of each shrinkage."""
        return len(self.tails) + len(self.loss_tails)

    @property
    def regression_of(self) -> list[int]:
        """Which regression each start is of: 0 of margins, 1 of losses."""
        return [0] * len(self.tails) + [1] * len(self.loss_tails)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Of each share the start by margins and that by losses; the same twice where there is one."""
        by_margin = {share: i for i, share in enumerate(self.tails)}
        by_loss = {share: len(self.tails) + i for i, share in enumerate(self.loss_tails)}
        both = by_loss | by_margin, by_margin | by_loss
        return [(both[0][share], both[1][share]) for share in sorted(both[0])]

    def candidates(self, shrinkages: int) -> int:
        """Of a search: one of each shrinkage and share, and the one along a line."""
        return shrinkages * len(self.pairs) + 1


FULL = Effort((0.01, 0.05, 0.15, 0.3, 0.5), (0.01, 0.05, 0.15), iterations=42)
QUICK = Effort((0.05, 0.3), (0.02,), iterations=8)  # of a test, whose permutations are many


class Space(NamedTuple):
    """Parts of K classes, m samples at most; those that are there come first.

    Attributes:
        x: (K, m, d) centred rows, 0 where there is no sample.
        mean: (K, d).
        there: (K, m) 1 where there is a sample, else 0.
        n: (K,) samples.
        unit: (K,) mean eigenvalue of the scatter over d dimensions, the unit of a shrinkage.
    """

    x: Tensor
    mean: Tensor
    there: Tensor
    n: Tensor
    unit: Tensor


def space_of(x: Tensor, there: Tensor) -> Space:
    """Centre (K, m, d) rows, of which those are samples that are ``there`` (K, m)."""
    n = there.sum(dim=1).clamp(min=1)
    mean = (x * there[..., None]).sum(dim=1) / n[:, None]
    centred = (x - mean[:, None]) * there[..., None]
    return Space(centred, mean, there, n, ((centred**2).sum(dim=(1, 2)) / x.shape[2]).clamp(min=LEAST))


class Smoother(NamedTuple):
    """Ridge regressions on the vectors of K classes, by L shrinkages.

    Attributes:
        matrix: (K, L, m, m) what makes fitted values of targets; or a factor (K, L, m, d) of it, the product of which
            with its transpose it is, where samples are more than ``TALL`` times the dimensions.
        leverage: (K, L, m) its diagonal, and that of the mean.
        ridge: (K, L).
    """

    matrix: Tensor
    leverage: Tensor
    ridge: Tensor

    def fitted(self, target: Tensor) -> Tensor:
        """Return the fitted values of centred targets (K, P, L, S, m)."""
        rows = target.transpose(1, 2)
        flat = rows.flatten(2, 3) @ self.matrix
        if self.matrix.shape[-1] != self.matrix.shape[-2]:
            flat = flat @ self.matrix.mT
        values: Tensor = flat.unflatten(2, rows.shape[2:4]).transpose(1, 2)
        return values

    def of(self, classes: slice | Tensor, shrinkages: int) -> Smoother:
        """Return that of some classes, by the first shrinkages."""
        return Smoother(*(one[classes][:, :shrinkages] for one in self))


def smoother_of(space: Space, shrinkages: Sequence[float]) -> Smoother:
    """Prepare ridge regressions.

    Args:
        space: K classes.
        shrinkages: L, in units of the mean eigenvalue; a ridge is never less than the rounding of a scatter.
    """
    m, d = space.x.shape[1:]
    least = 10 * d * torch.finfo(space.x.dtype).eps
    ridge = space.unit[:, None] * space.unit.new_tensor(shrinkages).clamp(min=least)
    is_factor = m > TALL * d
    scatter = space.x.mT @ space.x if is_factor else space.x @ space.x.mT
    shifted = scatter[:, None].repeat(1, len(shrinkages), 1, 1)
    shifted.diagonal(dim1=-2, dim2=-1).add_(ridge[..., None])
    lower, _ = torch.linalg.cholesky_ex(shifted)
    if is_factor:
        matrix = torch.linalg.solve_triangular(lower, space.x.mT[:, None], upper=False).mT.contiguous()
        own = (matrix**2).sum(-1)
    else:  # one minus the ridge times the inverse, in place
        matrix = torch.cholesky_inverse(lower).mul_(-ridge[..., None, None])
        own = matrix.diagonal(dim1=-2, dim2=-1).add_(1)
    return Smoother(matrix, (own + 1 / space.n[:, None, None]).clamp(max=LEVERAGE), ridge)


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
        most: (…) the largest share that it might have.
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
    most: Tensor

    def gathered(self, index: Tensor, dim: int) -> Mixtures:
        """Choose entries of a leading dimension; ``index`` has the shape of those up to it, and so many entries."""

        def choose(values: Tensor) -> Tensor:
            at = index.reshape(*index.shape, *[1] * (values.ndim - index.ndim))
            return values.take_along_dim(at.expand(*index.shape, *values.shape[dim + 1 :]), dim=dim)

        return self.mapped(choose)

    def taken(self, index: Tensor, dim: int) -> Mixtures:
        """Choose one entry of a leading dimension, which is dropped; ``index`` has the shape of those before it."""
        return self.gathered(index[..., None], dim).mapped(lambda values: values.squeeze(dim))

    def or_where(self, chosen: Tensor, others: Mixtures) -> Mixtures:
        """Take others of the same shape where ``chosen``, of the first dimensions, is true."""
        return self.mapped(
            lambda own, other: torch.where(chosen.reshape(*chosen.shape, *[1] * (own.ndim - chosen.ndim)), other, own),
            others,
        )

    def mapped(self, do: Callable[..., Tensor], *others: Mixtures) -> Mixtures:
        """Do the same to every field, beside the same field of others."""
        return Mixtures(*(do(*(getattr(of, one.name) for of in (self, *others))) for one in fields(self)))

    @property
    def prior(self) -> Tensor:
        """(…) log-odds of the share."""
        return self.share.logit()

    def evidence(self, along: Tensor) -> Tensor:
        """Return (…, m) log-likelihood ratio of z, of samples that lie at ``along`` (…, m) on the direction."""
        middle, height = (self.high + self.low) / 2, self.high - self.low
        return (height / self.variance)[..., None] * (along - middle[..., None])

    def gain(self, along: Tensor, margin: Tensor) -> Tensor:
        """Return (…, m) by how many nats the vector foretells the margin better than nothing: log p(t | x) / p(t)."""
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


def starts(space: Space, predicted: Tensor, effort: Effort) -> tuple[Tensor, Tensor]:
    """Start from the samples whose margin or loss is predicted the worst by the others.

    Args:
        space: K classes.
        predicted: (K, P, L, 2, m) margins, and losses with a minus.
        effort: the shares.

    Returns:
        Responsibilities (K, P, L, S, m), and the share (K, P, L, S) that each start's hidden class may have at most.
    """
    predicted = torch.where(space.there[:, None, None, None] > 0, predicted, torch.inf)
    place = torch.empty_like(predicted, dtype=torch.int64)
    order = predicted.argsort(dim=-1, stable=True)
    place.scatter_(-1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order))
    shares = predicted.new_tensor([*effort.tails, *effort.loss_tails])
    counts = (shares * space.n[:, None]).round().clamp(min=FEWEST)[:, None, None]  # (K, 1, 1, S)
    inside = place[:, :, :, torch.tensor(effort.regression_of, device=place.device)] < counts[..., None]
    first = torch.where(inside, INSIDE, OUTSIDE).to(predicted.dtype) * space.there[:, None, None, None]
    most = (WIDER * counts / space.n[:, None, None, None]).clamp(max=1)
    return first, most.expand(first.shape[:-1])


# --- expectation and maximisation -----------------------------------------------------------------------------------


def left_out(space: Space, smoother: Smoother, target: Tensor) -> Tensor:
    """Predict targets (K, P, L, S, m), each sample by the ridge regression on the others, around the others' mean.

    The mean of all would give the own target away: the larger it is, the smaller is the mean of the others beside it.
    """
    there, centred = space.there[:, None, None, None], _centred(space, target)
    residual = (centred - smoother.fitted(centred)) / (1 - smoother.leverage[:, None, :, None])
    return (centred * _by_others(space) - residual) * there


def dual_of(space: Space, smoother: Smoother, target: Tensor, predicted: Tensor) -> Tensor:
    """Return the weights of the rows (K, P, L, S, m) in :func:`left_out`'s regressions: residuals over the ridge."""
    residual = (_centred(space, target) * _by_others(space) - predicted) * (1 - smoother.leverage[:, None, :, None])
    return residual / smoother.ridge[:, None, :, None, None] * space.there[:, None, None, None]


def _by_others(space: Space) -> Tensor:
    """Return how much farther (K, 1, 1, 1, 1) a target is from the mean of the others than from that of all."""
    n = space.n[:, None, None, None, None]
    return n / (n - 1).clamp(min=1)


def _centred(space: Space, target: Tensor) -> Tensor:
    there = space.there[:, None, None, None]
    return (target - (target * there).sum(-1, keepdim=True) / space.n[:, None, None, None, None]) * there


def fit(
    space: Space,
    smoother: Smoother,
    margin: Tensor,
    first: Tensor,
    most: Tensor,
    iterations: int,
    direction: tuple[Tensor, Tensor] | None = None,
) -> Mixtures:
    """Fit a hidden class from every start: shape (K, P, L, S).

    Each ends as soon as none of its responsibilities moves any more. None holds more samples than ``most`` allows: many
    on whom the model does a little worse would otherwise draw the hidden class away from a few.

    Args:
        space: K classes.
        smoother: of L shrinkages.
        margin: (K, P, m) of every labelling.
        first: (K, P, L, S, m) responsibilities.
        most: (K, P, L, S) largest share of the samples.
        iterations: most of them.
        direction: predictions and duals (K, P, L, S, m) to stay with; by default every iteration has its own.
    """
    predicted, dual = direction or (None, None)
    if first.device.type == "cpu":
        sizes = space.there.sum(1).long()
        held = most * space.n[:, None, None, None]
        on_host = smoother.matrix, smoother.leverage, sizes, margin, first, held, iterations, predicted
        r, along, figures = hidden_classes_numba.fit(*on_host)
    else:
        r, along, figures = fit_on_device(space, smoother, margin, first, most, iterations, predicted)
    high, low, variance, offset, slope, share = figures.unbind(-1)
    if dual is None:
        dual = dual_of(space, smoother, r, along)
    return _hard_side(Mixtures(r, dual, along, high, low, variance, offset, slope, share, most), space)


def fit_on_device(
    space: Space,
    smoother: Smoother,
    margin: Tensor,
    first: Tensor,
    most: Tensor,
    iterations: int,
    predicted: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Do the work of :func:`fdgpu.kernels.hidden_classes_numba.fit`, all problems at once and without a wait."""
    there, n = space.there[:, None, None, None], space.n[:, None, None, None]
    t, r = margin[:, :, None, None], first
    offset = slope = torch.zeros_like(r[..., 0])
    least = torch.full_like(n, INSIDE_AT_LEAST)
    settled = torch.zeros_like(offset, dtype=torch.bool)  # stays as it is: what is beside it does not move it on
    for step in range(iterations):
        along = left_out(space, smoother, r) if predicted is None else predicted
        inside = r.sum(-1).clamp(min=LEAST)
        outside = (n - r.sum(-1)).clamp(min=LEAST)
        high, low = (r * along).sum(-1) / inside, ((there - r) * along).sum(-1) / outside
        spread = r * (along - high[..., None]) ** 2 + (there - r) * (along - low[..., None]) ** 2
        variance = spread.sum(-1) / n + LEAST
        share = torch.minimum(torch.maximum(inside, least), n - least) / n
        moved = _margin_slope(t, r, there, share.logit() if step == 0 else offset, slope)
        offset, slope = (torch.where(settled, old, new) for old, new in zip((offset, slope), moved, strict=True))
        evidence = ((high - low) / variance)[..., None] * (along - ((high + low) / 2)[..., None])
        after = _held_back(evidence + offset[..., None] - slope[..., None] * t, there, most * n)
        settled = settled | ((after - r).abs().amax(-1) < SETTLED)
        r = torch.where(settled[..., None], r, after)
    return r, along, torch.stack([high, low, variance, offset, slope, share], dim=-1)


def _held_back(odds: Tensor, there: Tensor, most: Tensor) -> Tensor:
    """Return probabilities of log-odds (…, m), lowered alike where their sum would be above ``most`` (…)."""
    high = torch.zeros_like(odds[..., 0])
    highest = torch.where(there > 0, odds, -torch.inf).amax(-1)
    low = torch.minimum((most / there.sum(-1)).log() - highest, high)  # there each is at most its part
    within = (odds.sigmoid() * there).sum(-1) <= most
    for _ in range(HOLDS):
        shift = (low + high) / 2
        above = ((odds + shift[..., None]).sigmoid() * there).sum(-1) > most
        low, high = torch.where(above, low, shift), torch.where(above, shift, high)
    return (odds + torch.where(within, 0.0, low)[..., None]).sigmoid() * there


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


def _hard_side(found: Mixtures, space: Space) -> Mixtures:
    """Call that side the hidden class on which margins are smaller."""
    turned, there = found.slope < 0, space.there[:, None, None, None]
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
        torch.where(turned, torch.ones_like(found.most), found.most),
    )


def search(space: Space, smoother: Smoother, margin: Tensor, effort: Effort = FULL) -> tuple[Mixtures, Tensor]:
    """Fit from every start; and along the regressions of margins and losses.

    Args:
        space: K classes.
        smoother: of L shrinkages, the strongest first.
        margin: (K, P, m) of every labelling.
        effort: how far it goes.

    Returns:
        Candidates (K, P, C), the better of two starts of each shrinkage and share, and last the one along a regression;
        and their :func:`nats`.
    """
    _, predicted = regressions(space, smoother, margin)
    first, most = starts(space, predicted, effort)
    found = fit(space, smoother, margin, first, most, effort.iterations)
    gain, pairs = nats(space, margin, found), torch.tensor(effort.pairs, device=margin.device)
    better = pairs[torch.arange(len(pairs), device=margin.device), gain[..., pairs].argmax(-1)]
    apart = found.gathered(better, 3).mapped(lambda values: values.flatten(2, 3))
    along = on_regressions(space, smoother, margin, first[:, :, :1], effort.regression_of, effort.iterations)
    both = apart.mapped(lambda *parts: torch.cat(parts, dim=2), along)
    return both, torch.cat([gain.take_along_dim(better, 3).flatten(2, 3), nats(space, margin, along)], dim=2)


def regressions(space: Space, smoother: Smoother, margin: Tensor) -> tuple[Tensor, Tensor]:
    """Return margins and losses, these with a minus, and what :func:`left_out` makes of them: (K, P, L, 2, m) each."""
    targets = torch.stack([margin, -loss_of(margin)], dim=2)[:, :, None]
    targets = targets.expand(-1, -1, smoother.ridge.shape[1], -1, -1)
    return targets, left_out(space, smoother, targets)


def on_regressions(
    space: Space, smoother: Smoother, margin: Tensor, first: Tensor, of: Sequence[int], iterations: int
) -> Mixtures:
    """Fit hidden classes whose direction is that of a regression, and return the one with the most nats (K, P, 1).

    Args:
        space: K classes.
        smoother: of which the first shrinkage counts.
        margin: (K, P, m).
        first: (K, P, 1, S, m) responsibilities of the starts.
        of: S, the regression of each start: 0 of margins, 1 of losses.
        iterations: most of them.
    """
    strongest = smoother.of(slice(None), 1)
    targets, predicted = regressions(space, strongest, margin)
    dual, own = dual_of(space, strongest, targets, predicted), torch.tensor(of, device=first.device)
    most = torch.ones_like(first[..., 0])  # nothing draws it away from a direction that it stays with
    found = fit(space, strongest, margin, first, most, iterations, (predicted[:, :, :, own], dual[:, :, :, own]))
    return found.taken(nats(space, margin, found).argmax(dim=-1), 3)


def nats(space: Space, margin: Tensor, found: Mixtures) -> Tensor:
    """Return by how many nats vectors foretell the margins (K, P, m): (K, P, …) of the candidates."""
    shape = (*margin.shape[:2], *[1] * (found.share.ndim - 2), margin.shape[2])
    there = space.there.reshape(len(margin), *[1] * (found.share.ndim - 1), -1)
    return (found.gain(found.predicted, margin.reshape(shape)) * there).sum(-1)


# --- plain twin: one class, one start, every sample left out by a regression of its own -------------------------------


def fit_reference(
    x: NDArray[np.float64],
    margin: NDArray[np.float64],
    shrinkage: float,
    first: NDArray[np.float64],
    most: float,
    iterations: int,
) -> dict[str, NDArray[np.float64]]:
    """Do :func:`fit`'s work for one class (n, d), margins (n,), one shrinkage and one start (n,): fields by name."""
    n, d = x.shape
    scatter = x - x.mean(axis=0)
    ridge = shrinkage * (scatter**2).sum() / d
    r, offset, slope = first.astype(np.float64), 0.0, 0.0
    for step in range(iterations):
        along = np.array([_predicted_by_others(x, r, i, ridge) for i in range(n)])
        inside, outside = r.sum(), (1 - r).sum()
        high, low = (r * along).sum() / inside, ((1 - r) * along).sum() / outside
        variance = (r * (along - high) ** 2 + (1 - r) * (along - low) ** 2).mean() + LEAST
        share = min(max(inside, 1.5), n - 1.5) / n
        offset = np.log(share / (1 - share)) if step == 0 else offset
        for _ in range(NEWTON):
            p = 1 / (1 + np.exp(slope * margin - offset))
            weight = p * (1 - p) + 1e-9
            gradient = np.array([(r - p).sum(), -((r - p) * margin).sum() - MARGIN_RIDGE * slope])
            curvature = np.array([[weight.sum(), -(weight * margin).sum()], [0, (weight * margin**2).sum()]])
            curvature += np.triu(curvature, 1).T + np.diag([0, MARGIN_RIDGE])
            moved = np.linalg.solve(curvature, gradient)
            offset, slope = np.array([offset, slope]) + moved * min(1, 2 / max(np.abs(moved).max(), LEAST))
        evidence = (high - low) / variance * (along - (high + low) / 2)
        odds = evidence + offset - slope * margin
        after = 1 / (1 + np.exp(-odds))
        if after.sum() > most * n:
            bounds = [min(np.log(most) - odds.max(), 0.0), 0.0]
            for _ in range(HOLDS):
                middle = sum(bounds) / 2
                bounds[int((1 / (1 + np.exp(-odds - middle))).sum() > most * n)] = middle
            after = 1 / (1 + np.exp(-odds - bounds[0]))
        if np.abs(after - r).max() < SETTLED:
            break
        r = after
    if slope < 0:
        r, along, high, low, offset, slope, share = 1 - r, -along, -low, -high, -offset, -slope, 1 - share
    found = {"failing": r, "predicted": along, "high": high, "low": low, "variance": variance}
    return {
        name: np.asarray(value) for name, value in (found | {"offset": offset, "slope": slope, "share": share}).items()
    }


def _predicted_by_others(x: NDArray[np.float64], target: NDArray[np.float64], i: int, ridge: float) -> float:
    """Predict sample i's target around the others' mean, by the ridge regression with an intercept on the others."""
    others = np.arange(len(x)) != i
    mean, centre = x[others].mean(axis=0), target[others].mean()
    z = x[others] - mean
    w = z.T @ np.linalg.solve(z @ z.T + ridge * np.eye(len(z)), target[others] - centre)
    return float((x[i] - mean) @ w)
