"""The additive fit of captions' scores: each slot's word adds its share, whatever stands in the other slots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from fdgpu.captions.normal_equations import ESTIMABLE, SINGULAR, Floats, Ints, NormalEquations

LEVEL = 0.95
FEWEST_SPARE = 3  # captions beyond the coefficients: the spread of fewer says nothing
EXACT = 1e-9  # one minus leverage below which a caption is met exactly, and shows no spread


@dataclass(frozen=True)
class AdditiveFit:
    """Effects by slot, each (w,) against the slot's baseline; NaN where the captions cannot tell.

    ``half_widths`` of the 95 % intervals, NaN also where a word's effect hangs on a caption that is met exactly.
    ``explained`` R², the share of the scores' variance that the words explain on their own.
    """

    effects: list[Floats]
    half_widths: list[Floats]
    explained: float


def fit_additive(places: Ints, scores: Floats, baselines: Sequence[Floats]) -> AdditiveFit:
    """Fit scores by the words of each slot, by least squares.

    The intervals let each caption have its own variance (HC3: the square of its residual over one minus its leverage).

    Args:
        places: (m, s) the word of each slot that a caption has, counted from 0.
        scores: (m,) finite.
        baselines: for each slot the weights (w,), with a sum of 1, of the words that its effects are measured
            against: one word, or the mean of several.
    """
    equations = NormalEquations(places, baselines)
    coefficients = equations.coefficients(scores)
    residuals = scores - sum(own[at] for own, at in zip(coefficients, places.T, strict=True))
    own_part = 1 - equations.leverage()
    exact = own_part < EXACT
    spread = equations.spread(np.where(exact, 0.0, (residuals / np.where(exact, 1.0, own_part)) ** 2))
    hidden = equations.spread(exact.astype(np.float64))
    width = quantile(len(scores) - equations.rank)
    effects, half_widths = [], []
    for own, weights, known, var, hangs in zip(coefficients, baselines, equations.known, spread, hidden, strict=True):
        effects.append(np.where(known, own - weights @ own, np.nan))
        settled = known & (hangs < ESTIMABLE**2)
        half_widths.append(np.where(settled, width * np.sqrt(np.maximum(var, 0.0)), np.nan))
    return AdditiveFit(effects, half_widths, _explained(scores, residuals))


def fit_additive_plain(places: Ints, scores: Floats, baselines: Sequence[Floats]) -> AdditiveFit:
    """Do the same with a dense matrix, a column for each word: for tests, and for reading."""
    x = np.concatenate([np.eye(len(w))[at] for w, at in zip(baselines, places.T, strict=True)], axis=1)
    gram = x.T @ x
    inverse, rank = np.linalg.pinv(gram, rcond=SINGULAR, hermitian=True), int(np.linalg.matrix_rank(x))
    residuals = scores - x @ inverse @ x.T @ scores
    own_part = 1 - np.einsum("ij,jk,ik->i", x, inverse, x)
    exact = own_part < EXACT
    variances = np.where(exact, 0.0, (residuals / np.where(exact, 1.0, own_part)) ** 2)
    effects, half_widths, start = [], [], 0
    for weights in baselines:
        contrasts = np.zeros((len(weights), x.shape[1]))
        contrasts[:, start : start + len(weights)] = np.eye(len(weights)) - weights
        start += len(weights)
        known = np.abs(contrasts @ inverse @ gram - contrasts).max(axis=1) < ESTIMABLE
        pull = contrasts @ inverse @ x.T  # of each caption on each effect
        settled = known & (pull**2 @ exact < ESTIMABLE**2)
        effects.append(np.where(known, pull @ scores, np.nan))
        width = quantile(len(scores) - rank) * np.sqrt(pull**2 @ variances)
        half_widths.append(np.where(settled, width, np.nan))
    return AdditiveFit(effects, half_widths, _explained(scores, residuals))


def quantile(spare: int) -> float:
    """Return Student's two-sided quantile for so many spare captions (Cornish and Fisher's series, within 1 %).

    NaN for fewer than :data:`FEWEST_SPARE`.
    """
    if spare < FEWEST_SPARE:
        return float("nan")
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / spare + second / spare**2 + third / spare**3


def _explained(scores: Floats, residuals: Floats) -> float:
    """Return R²; NaN where all scores are the same."""
    total = float(((scores - scores.mean()) ** 2).sum()) if len(scores) else 0.0
    largest = float(np.abs(scores).max(initial=0.0))
    if total <= len(scores) * (1e-12 * largest) ** 2:
        return float("nan")
    return 1 - float((residuals**2).sum()) / total
