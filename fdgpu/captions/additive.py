"""Which word, not only which caption: what each word of a grammar does to the scores, with its interval.

Each slot's word adds its share, however the other slots are filled. Least squares over words have one column for each
word of each slot, and one entry a slot in each caption's row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from fdgpu.arrays import Array, to_numpy
from fdgpu.captions.grammar import CaptionGrammar
from fdgpu.checks import check_name
from fdgpu.errors import InputError
from fdgpu.findings import WordEffect

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Kind = TypeVar("Kind", bound=np.generic)
Fit = tuple[list[Floats], list[Floats], float]  # effects (w,) and half widths (w,) by slot, and R²

LEVEL = 0.95
FEWEST_SPARE = 3  # captions beyond the coefficients: the spread of fewer says nothing
EXACT = 1e-9  # one minus leverage below which a caption is met exactly, and shows no spread
SINGULAR = 1e-9  # of the largest eigenvalue: what lies below, no caption distinguishes
ESTIMABLE = 1e-6  # largest part of a contrast that may lie there


class Against(StrEnum):
    """What a word is measured against: the mean of its slot, or leaving the slot out."""

    MEAN = "mean"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class WordEffects:
    """The effect of every word of a grammar that its captions determine, by slot and in the grammar's order.

    ``explained`` is R²: the share of the scores' variance that the words explain on their own, without what they do
    only together; NaN where all scores are the same.
    """

    effects: tuple[WordEffect, ...]
    explained: float

    def strongest(self, most: int) -> tuple[WordEffect, ...]:
        """Return the effects that have an interval, the largest first; at most so many."""
        sure = [effect for effect in self.effects if np.isfinite(effect.half_width)]
        return tuple(sorted(sure, key=lambda effect: -abs(effect.effect))[:most])


NO_EFFECTS = WordEffects((), float("nan"))


def word_effects(
    grammar: CaptionGrammar, scores: Array, indices: Array = None, *, against: str | Against = Against.MEAN
) -> WordEffects:
    """Fit captions' scores by their words: each slot adds its own, by least squares.

    A word is measured against the mean of what its slot may hold, nothing included; a slot that holds one word all
    through has no effect. Against leaving the slot out would be another way, but those captions are few, and score
    further out, since a difference that is all one word's is not diluted: on the demo the intervals are up to eight
    times as wide.

    The 95 % interval of an effect covers what the words do only together: how far the mean over the captions with the
    word may lie from that over others like them, each caption with a variance of its own (HC3). It does not cover how
    sure the direction is, which is what permutations are for.

    Example:
        >>> grammar = CaptionGrammar("a {colour} {noun}", colour=["red", "blue"], noun=["cat", "dog"])
        >>> [(one.word, round(one.effect, 3)) for one in word_effects(grammar, [1.0, 3.0, 5.0, 7.0]).effects]
        [('red', -2.0), ('blue', 2.0), ('cat', -1.0), ('dog', 1.0)]

    Args:
        grammar: the captions.
        scores: (m,) a score each, the alignment say; NaN for a caption that has none, such as the reference.
        indices: (m,) theirs in the grammar; by default all of it, in order.
        against: ``"mean"``, or ``"left out"`` to measure against leaving the slot out, where captions do.

    Raises:
        InputError: for another ``against``, if scores and indices do not go together, or a score is infinite.
    """
    check_name(against, "against", Against)
    of = np.arange(len(grammar)) if indices is None else to_numpy(indices, "indices")
    values = _checked(to_numpy(scores, "scores"), len(of))
    scored = ~np.isnan(values)
    words = grammar.word_indices(of[scored])
    if not scored.any():
        return NO_EFFECTS
    counts, baselines, measured = [], [], []
    for listed, own in zip(grammar.slots.values(), words.T, strict=True):
        n = np.bincount(own, minlength=len(listed))
        empty = np.array([word is None for word in listed])
        left_out = against == Against.LEFT_OUT and bool(n[empty].any())
        weights = empty if left_out else n > 0
        counts.append(n)
        baselines.append(np.asarray(weights / weights.sum(), np.float64))
        measured.append(Against.LEFT_OUT if left_out else Against.MEAN)
    effects, half_widths, explained = fit_additive(words, values[scored], baselines)

    def found() -> Iterator[WordEffect]:
        for slot, (name, listed) in enumerate(grammar.slots.items()):
            varies = np.count_nonzero(counts[slot]) > 1
            for word, effect, half_width, n in zip(
                listed, effects[slot].tolist(), half_widths[slot].tolist(), counts[slot].tolist(), strict=True
            ):
                if varies and word is not None and np.isfinite(effect):
                    yield WordEffect(name, word, effect, half_width, n, str(measured[slot]))

    return WordEffects(tuple(found()), explained)


def _checked(scores: NDArray[np.generic], captions: int) -> Floats:
    if scores.shape != (captions,):
        raise InputError(f"scores has shape {scores.shape} for {captions} captions: pass one score a caption")
    values = np.asarray(scores, np.float64)
    if np.isinf(values).any():
        raise InputError("scores holds infinite values: pass NaN for a caption without a score")
    return values


# --- the additive fit -----------------------------------------------------------------------------------------------


def fit_additive(words: Ints, scores: Floats, baselines: Sequence[Floats]) -> Fit:
    """Fit scores by the words of each slot, by least squares.

    The intervals let each caption have its own variance (HC3: the square of its residual over one minus its leverage).

    The equations are our own because grammars have thousands of words and 10^5 captions, where a dense matrix takes
    2.4 GB: 100 000 captions of 3000 nouns take 0.1 s of one core. :func:`fit_additive_plain` takes 7.6 s for a tenth of
    the captions and of the nouns, where this takes 5 ms.

    Args:
        words: (m, s) the word of each slot that a caption has, counted from 0.
        scores: (m,) finite.
        baselines: for each slot the weights (w,), with a sum of 1, of the words that its effects are measured
            against: one word, or the mean of several.

    Returns:
        Effects by slot, each (w,) against the slot's baseline, NaN where the captions do not determine them; the half
        widths of their 95 % intervals, NaN also where an effect hangs on a caption that is met exactly; and R².
    """
    equations = NormalEquations(words, baselines)
    coefficients = equations.coefficients(scores)
    residuals = scores - sum(own[at] for own, at in zip(coefficients, words.T, strict=True))
    own_part = 1 - equations.leverage()
    exact = own_part < EXACT
    spread = equations.spread(np.where(exact, 0.0, (residuals / np.where(exact, 1.0, own_part)) ** 2))
    hidden = equations.spread(exact.astype(np.float64))
    width = _quantile(len(scores) - equations.rank)
    effects, half_widths = [], []
    for own, weights, known, var, hangs in zip(coefficients, baselines, equations.known, spread, hidden, strict=True):
        effects.append(np.where(known, own - weights @ own, np.nan))
        settled = known & (hangs < ESTIMABLE**2)
        half_widths.append(np.where(settled, width * np.sqrt(np.maximum(var, 0.0)), np.nan))
    return effects, half_widths, _explained(scores, residuals)


def fit_additive_plain(words: Ints, scores: Floats, baselines: Sequence[Floats]) -> Fit:
    """Do the same with a dense matrix, a column for each word: for tests, and for reading."""
    x = np.concatenate([np.eye(len(w))[at] for w, at in zip(baselines, words.T, strict=True)], axis=1)
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
        influence = contrasts @ inverse @ x.T  # (w, m) of each caption on each effect
        settled = known & (influence**2 @ exact < ESTIMABLE**2)
        effects.append(np.where(known, influence @ scores, np.nan))
        width = _quantile(len(scores) - rank) * np.sqrt(influence**2 @ variances)
        half_widths.append(np.where(settled, width, np.nan))
    return effects, half_widths, _explained(scores, residuals)


def _quantile(spare: int) -> float:
    """Return Student's two-sided quantile for so many spare captions; NaN for fewer than :data:`FEWEST_SPARE`."""
    return float(stdtrit(spare, (1 + LEVEL) / 2)) if spare >= FEWEST_SPARE else float("nan")


def _explained(scores: Floats, residuals: Floats) -> float:
    """Return R²; NaN where all scores are the same."""
    total = float(((scores - scores.mean()) ** 2).sum()) if len(scores) else 0.0
    largest = float(np.abs(scores).max(initial=0.0))
    if total <= len(scores) * (1e-12 * largest) ** 2:
        return float("nan")
    return 1 - float((residuals**2).sum()) / total


class NormalEquations:
    """The factored equations of captions and their words.

    The slot with most words, of ``a``, is eliminated (Frisch, Waugh and Lovell: its words' means are taken off the
    other columns), so that the only matrix to factor is (b, b), with ``b`` the words of all the other slots together.

    Args:
        words: (m, s) the word of each slot that a caption has, counted from 0.
        baselines: for each slot the weights (w,), with a sum of 1, of the words that its effects are measured against.

    Attributes:
        rank: how many coefficients the captions determine.
        known: by slot (w,) bool, whether they determine a word's effect.
    """

    def __init__(self, words: Ints, baselines: Sequence[Floats]) -> None:
        self.sizes = [len(weights) for weights in baselines]
        self.largest = int(np.argmax(self.sizes))
        rest = [s for s in range(len(self.sizes)) if s != self.largest]
        starts = np.cumsum([0, *(self.sizes[s] for s in rest)])
        self.a, self.b = self.sizes[self.largest], int(starts[-1])
        self.own = words[:, self.largest]  # (m,) each caption's column among the a, and (m, s - 1) among the b
        self.others = words[:, rest] + starts[:-1].astype(np.int64)
        self._baseline = baselines[self.largest]

        own, crossed, within = self._products(np.ones(len(words)))
        self._divisor = np.maximum(own, 1)
        self._mean = crossed / self._divisor[:, None]  # (a, b) of the other columns over each word's captions
        values, vectors = np.linalg.eigh(within - crossed.T @ self._mean)
        seen = values > SINGULAR * max(values.max(initial=0.0), 1.0)
        self._inverse = vectors[:, seen] / values[seen] @ vectors[:, seen].T  # (b, b)
        self.rank = int((own > 0).sum() + seen.sum())

        # each word against its slot's baseline, as a sum of the b columns that are left: (a, b) and (b, b)
        of_own, of_others = self._baseline @ self._mean - self._mean, np.zeros((self.b, self.b))
        for s, start in zip(rest, starts[:-1].tolist(), strict=True):
            block = slice(start, start + self.sizes[s])
            of_others[block, block] = np.eye(self.sizes[s]) - baselines[s]
        unseen = vectors[:, ~seen]
        met = (own > 0) & (own[self._baseline > 0] > 0).all() | (self._baseline == 1)
        self.known = self._by_slot(met & _vanishes(of_own @ unseen), _vanishes(of_others @ unseen))
        self._influence_own, self._influence_others = of_own @ self._inverse, of_others @ self._inverse

    def coefficients(self, scores: Floats) -> list[Floats]:
        """Return, by slot, one of the solutions of least squares."""
        own = _sums(self.own, scores, self.a)  # Xᵀ·scores, (a,) and (b,)
        others = _sums(self.others.ravel(), np.repeat(scores, self.others.shape[1]), self.b)
        further = self._inverse @ (others - self._mean.T @ own)
        return self._by_slot(own / self._divisor - self._mean @ further, further)

    def leverage(self) -> Floats:
        """Return (m,) how far each caption determines its own fit, from 0 to 1."""
        own, others = self.own, self.others.T
        weighted = self._mean @ self._inverse
        values: Floats = (1 / self._divisor + (weighted * self._mean).sum(axis=1))[own]
        for j in others:
            values -= 2 * weighted[own, j]
            for k in others:
                values += self._inverse[j, k]
        return values

    def spread(self, weights: Floats) -> list[Floats]:
        """Return, by slot, the sum over captions of weight times the square of its influence on a word's effect."""
        own, crossed, within = self._products(weights)
        across = crossed.T @ self._mean
        left = within - across - across.T + self._mean.T @ (own[:, None] * self._mean)
        of_own = own / self._divisor**2
        linear = (crossed - own[:, None] * self._mean) / self._divisor[:, None]
        baseline, influence = self._baseline, self._influence_own
        first = of_own * (1 - 2 * baseline) + baseline**2 @ of_own
        second = 2 * ((linear - baseline @ linear) * influence).sum(axis=1)
        others = _quadratic(self._influence_others, left)
        return self._by_slot(first + second + _quadratic(influence, left), others)

    def _products(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Return XᵀΩX with Ω = diag(weights) in blocks, by counting: diagonal (a,), (a, b) and (b, b)."""
        crossed, within = np.zeros((self.a, self.b)), np.zeros((self.b, self.b))
        for j in self.others.T:
            crossed += _sums(self.own * self.b + j, weights, self.a * self.b).reshape(self.a, self.b)
            for k in self.others.T:
                within += _sums(j * self.b + k, weights, self.b**2).reshape(self.b, self.b)
        return _sums(self.own, weights, self.a), crossed, within

    def _by_slot(self, own: NDArray[Kind], others: NDArray[Kind]) -> list[NDArray[Kind]]:
        """Cut what is known of every column into slots, in their order."""
        rest = [size for s, size in enumerate(self.sizes) if s != self.largest]
        parts = np.split(others, np.cumsum(rest)[:-1]) if rest else []
        return [*parts[: self.largest], own, *parts[self.largest :]]


def _sums(columns: Ints, weights: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(columns, weights, size), np.float64)


def _vanishes(rows: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.abs(rows).max(axis=1, initial=0.0) < ESTIMABLE)


def _quadratic(rows: Floats, matrix: Floats) -> Floats:
    return np.asarray((rows @ matrix * rows).sum(axis=1))
