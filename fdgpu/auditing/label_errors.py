"""Which errors are the label's: images that look as the class that the model took them for usually looks.

An image of class b with the wrong label a is an ordinary image of b: among the images of b that the model gets right,
it is as typical as any other, so that its percentile among these is uniform. An image of a that the model takes for b
looks less like b, and the more so, the rarer. So the percentiles of all errors are a mixture of a level part and of a
falling one; how high the level part is, is estimated, and with it the share of false discoveries above a percentile.

How typical an image is of b is told in two ways, neither of which sees the image's own label:

- a regression that tells the errors with one label and one prediction from the right images of that class, each
  image left out of the fit that judges it. What many errors share, a slice on which the model fails, tells them apart,
  and keeps them the model's own, however much they look like b otherwise;
- the share of b among the nearest neighbours, each class weighed by its size. The model's confidence breaks ties.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fdgpu.arrays import to_host
from fdgpu.rows import Ints, Rows

Floats = NDArray[np.float64]
FEWEST = 10  # errors that a regression tells from right images, and right images that errors are compared with
AT_ONCE = 4096  # of each in one regression: more errors are several, and of more right images some are taken
CLOSENESS = 0.001  # of the model's confidence beside the votes: it decides among equals
SHRINKAGES = (0.1, 1.0, 10.0, 100.0)  # times the mean eigenvalue
LOW, BINS = 0.1, 90  # percentiles below are the model's own errors in any case
RATES = np.geomspace(4.0, 60.0, 16)  # of decay of the falling part: at least e-fold in a quarter of all percentiles
STEPS = 400  # of the fit of the mixture
EVIDENCE = 6.6  # twice the log-likelihood that the level part has to add (chi² with one degree of freedom, p = .01)
FDR = 0.1  # expected share of the model's own errors among those that are called wrong labels
SURE = 0.8  # least probability of each: where most are sure, an average says little of a single one
STRENGTH = 10  # errors that what is found of all errors is worth beside those of one label and prediction
APART = 0.9  # least area under the curve by which vectors tell the label from the prediction
NO_RIGHT = f"no class has {FEWEST} right images outside train, with which errors could be compared"
NO_ERRORS = "too few errors look like the class that the model took them for"
NOT_APART = "the vectors do not tell the classes apart, which the model takes for one another"
NOTHING_LEVEL = (
    "the more errors look like the class that the model took them for, the fewer they are, as errors of a model do; "
    "wrong labels would be as many at every likeness"
)


@dataclass(frozen=True)
class Pool:
    """Errors of one prediction, and right images of that class; rows of the samples."""

    errors: Ints
    right: Ints


@dataclass(frozen=True)
class Votes:
    """What the nearest neighbours of N samples are.

    Attributes:
        labels: (N, v) their classes.
        weights: (N, v) one over how many images there are of the class; 0 of a neighbour that has no say.
        confidence: (N,) of the model in its prediction, or zeros.
    """

    labels: Ints
    weights: Floats
    confidence: Floats

    def of(self, rows: Ints, k: int, confidently: bool = False) -> Floats:
        """Return the share of class k among the votes of some samples; of equal shares confidence decides."""
        weights = self.weights[rows]
        total = weights.sum(axis=1)
        share = np.where(self.labels[rows] == k, weights, 0.0).sum(axis=1) / np.where(total > 0, total, 1.0)
        return np.asarray(share + CLOSENESS * self.confidence[rows] if confidently else share)


@dataclass(frozen=True)
class LabelErrors:
    """What was found of N samples.

    Attributes:
        chance: (N,) probability that the label is wrong; NaN of what is right or was not looked at.
        wrong: (N,) bool, called wrong labels.
        number: estimated number of wrong labels, called or not.
        reason: why none are called; "" where some are.
    """

    chance: Floats
    wrong: NDArray[np.bool_]
    number: float
    reason: str

    @property
    def expected_false(self) -> float:
        """Expected share of the model's own errors among the called; NaN without any."""
        return float(1 - self.chance[self.wrong].mean()) if self.wrong.any() else float("nan")


def pools(labels: Ints, predictions: Ints, looked_at: NDArray[np.bool_]) -> list[Pool]:
    """Divide errors by label and prediction; those of one prediction that are few go together, whatever their label."""
    rows = np.flatnonzero(looked_at)
    wrong, right = (rows[labels[rows] != predictions[rows]], rows[labels[rows] == predictions[rows]])
    found = []
    for k in np.unique(predictions[wrong]):
        own, like = wrong[predictions[wrong] == k], right[predictions[right] == k]
        if len(like) < FEWEST:
            continue
        classes, counts = np.unique(labels[own], return_counts=True)
        parts = [own[labels[own] == a] for a in classes[counts >= FEWEST]]
        parts.append(own[np.isin(labels[own], classes[counts < FEWEST])])
        for part in parts:
            n = -(-len(part) // AT_ONCE)
            found += [Pool(part[i::n], like[:: -(-len(like) // AT_ONCE)]) for i in range(n)]
    return found


def find_label_errors(
    vectors: Rows,
    images: Ints,
    labels: Ints,
    predictions: Ints,
    votes: Votes,
    looked_at: NDArray[np.bool_],
) -> LabelErrors:
    """Find errors whose label is likely wrong; expected false discoveries are at most a tenth of them.

    Args:
        vectors: (n, d) of images, where they lie.
        images: (N,) of each sample.
        labels: (N,) the classes that are given.
        predictions: (N,) what the model took them for.
        votes: of the nearest neighbours of each sample.
        looked_at: (N,) samples of which both are known.

    Returns:
        No wrong label, and why, where nothing shows that there are some.
    """
    own = pools(labels, predictions, looked_at)
    chance, wrong = np.full(len(labels), np.nan), np.zeros(len(labels), bool)
    if not own:
        return LabelErrors(chance, wrong, 0.0, NO_RIGHT)
    for pool in own:
        chance[pool.errors] = 0.0
    right = looked_at & (labels == predictions)
    known, percentiles = [], []
    for pool, scores in zip(own, _likenesses(vectors, images, own), strict=True):
        k = int(predictions[pool.errors[0]])
        others = np.flatnonzero(right & np.isin(labels, labels[pool.errors]))
        if _told_apart(votes, pool, others, k) < APART:
            continue
        seen = (votes.of(pool.errors, k, confidently=True), votes.of(pool.right, k, confidently=True))
        odds = [_log_odds(_percentiles(one, seen[1])) for one in seen]
        if scores is not None:
            odds = [mine + _log_odds(_percentiles(one, scores[1])) for mine, one in zip(odds, scores, strict=True)]
        known.append(pool)
        percentiles.append(_percentiles(odds[0], odds[1]))
    if not known:
        return LabelErrors(chance, wrong, 0.0, NOT_APART)
    errors = np.concatenate([pool.errors for pool in known])
    chances, number, reason = level_part(percentiles)
    chance[errors] = chances
    wrong[errors] = called(chances)
    return LabelErrors(chance, wrong, number, "" if wrong.any() else reason or NO_ERRORS)


def level_part(parts: Sequence[Floats]) -> tuple[Floats, float, str]:
    """Tell the level part of percentiles from a falling one, a mixture of exponentials.

    The number of each is fitted to counts by maximum likelihood (EM over the weights of fixed shapes, a concave
    problem): of all percentiles first, then of each part, for which that of all is the prior.

    Args:
        parts: percentiles in [0, 1] of errors, by label and prediction.

    Returns:
        The probability of each to be of the level part, one part after the other; how many are in it; and why none
        are: "" where some are.
    """
    edges = np.linspace(LOW, 1, BINS + 1)
    every = np.concatenate(parts)
    counts = np.histogram(every, edges)[0].astype(np.float64)
    none = np.zeros(len(every))
    if counts.sum() < FEWEST:
        return none, 0.0, NO_ERRORS
    shapes = _shapes(edges)
    weights, likelihood = _mixture(shapes, counts)
    if 2 * (likelihood - _mixture(shapes[1:], counts)[1]) < EVIDENCE:
        return none, 0.0, NOTHING_LEVEL
    found = []
    for part in parts:
        own, _ = _mixture(shapes, np.histogram(part, edges)[0].astype(np.float64), STRENGTH * weights)
        share = np.maximum.accumulate(own[0] * shapes[0] / (own @ shapes))
        at = np.clip(((part - LOW) / (1 - LOW) * BINS).astype(int), 0, BINS - 1)
        found.append(np.where(part < LOW, 0.0, share[at]))
    return np.concatenate(found), float(weights[0] * counts.sum() / (1 - LOW)), ""


def called(chances: Floats) -> NDArray[np.bool_]:
    """Call those that are :data:`SURE`, as many as keep the expected share of false discoveries at :data:`FDR`."""
    order = np.argsort(-chances, kind="stable")
    false = np.cumsum(1 - chances[order]) / np.arange(1, len(chances) + 1)
    wrong = np.zeros(len(chances), bool)
    fine = np.flatnonzero(false <= FDR)
    if len(fine):
        wrong[order[: fine[-1] + 1]] = True
    return wrong & (chances >= SURE)


def _told_apart(votes: Votes, pool: Pool, others: Ints, prediction: int) -> float:
    """Return how often right images of the prediction have more votes for it than right images of the errors' labels.

    That is the area under the ROC curve. Where vectors do not tell the classes apart, a wrong label cannot be seen, and
    errors look as right as right images do.
    """
    if not len(others):
        return 1.0
    above = _percentiles(votes.of(pool.right, prediction), votes.of(others, prediction))
    return float((above * (len(others) + 1) - 0.5).mean() / len(others))


def _shapes(edges: Floats) -> Floats:
    """Return (1 + r, b): how the level part, and a falling one of each rate, spread over bins of one width."""
    falling = np.diff(1 - np.exp(-RATES[:, None] * (edges - edges[0])), axis=1)
    level = np.full((1, len(edges) - 1), 1 / (len(edges) - 1))
    return np.vstack([level, falling / falling.sum(axis=1, keepdims=True)])


def _mixture(shapes: Floats, counts: Floats, prior: Floats | float = 0.0) -> tuple[Floats, float]:
    """Return the weights of shapes (s, b) that fit counts (b,) and pseudo-counts (s,) best, and the log-likelihood."""
    weights = np.full(len(shapes), 1 / len(shapes))
    for _ in range(STEPS):
        weights = weights * (shapes @ (counts / (weights @ shapes))) + prior
        weights /= weights.sum()
    return weights, float(counts @ np.log(weights @ shapes))


def _percentiles(values: Floats, among: Floats) -> Floats:
    """Return which share of ``among`` lies below each value, never quite 0 or 1."""
    ordered = np.sort(among)
    middle = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right") + 1) / 2
    return np.asarray(middle / (len(among) + 1))


def _log_odds(p: Floats) -> Floats:
    return np.asarray(np.log(p) - np.log1p(-p))


def _likenesses(vectors: Rows, images: Ints, own: list[Pool]) -> Iterator[tuple[Floats, Floats] | None]:
    """Yield how much the errors and the right images of each pool look right; None where errors are few."""
    many = [pool for pool in own if len(pool.errors) >= FEWEST]
    there = [
        left_out(vectors.take(images[np.concatenate([pool.errors, pool.right])]), len(pool.errors)) for pool in many
    ]
    why, ends = "how much errors look like the class that they were taken for", np.cumsum([len(one) for one in there])
    parts = iter(np.split(to_host(torch.cat(there), why), ends[:-1]) if there else ())
    for pool in own:
        scores = next(parts) if len(pool.errors) >= FEWEST else None
        yield None if scores is None else (scores[: len(pool.errors)], scores[len(pool.errors) :])


def left_out(rows: torch.Tensor, n_errors: int) -> torch.Tensor:
    """Predict of each row whether it is a right image, by a ridge regression of the others, in closed form.

    Both kinds weigh the same. The shrinkage is that whose predictions are the best.

    Args:
        rows: (m, d), errors first.
        n_errors: of them.

    Returns:
        (m,) float64, where the rows lie: the higher, the more like right images. The host does not wait.
    """
    m, d = rows.shape
    place = torch.arange(m, device=rows.device)
    weight = torch.where(place < n_errors, 0.5 / n_errors, 0.5 / (m - n_errors)).double()
    target = torch.where(place < n_errors, -0.5, 0.5).double()  # of mean 0
    root = weight.sqrt()
    x = rows.double()
    x = (x - (weight[:, None] * x).sum(dim=0)) * root[:, None]
    values, axes = torch.linalg.eigh(x @ x.T if m <= d else x.T @ x)
    values = values.clamp_min(0)
    scores = axes * values.sqrt() if m <= d else x @ axes
    mean = values.sum() / min(m, d)
    along = scores.T @ (target * root)
    fits = []
    for shrinkage in SHRINKAGES:
        shrunk = 1 / (values + shrinkage * mean + torch.finfo(torch.float64).tiny)
        leverage = (scores.square() @ shrunk + weight).clamp_max(1 - 1e-6)
        fits.append(target - (target - scores @ (shrunk * along) / root) / (1 - leverage))
    found = torch.stack(fits)
    best = (weight * (found - target).square()).sum(dim=1).argmin()
    return found.index_select(0, best[None])[0]
