"""Least squares over words: one column for each word of each slot, one entry a slot in each caption's row.

There are thousands of columns over 100 000 captions. The slot with most words is eliminated (Frisch, Waugh and Lovell:
its words' means are taken off the other columns), so that the only matrix to factor is as large as the words of all
the other slots together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Kind = TypeVar("Kind", bound=np.generic)

SINGULAR = 1e-9  # of the largest eigenvalue: what lies below, no caption tells apart
ESTIMABLE = 1e-6  # largest part of a contrast that may lie there


class Products(NamedTuple):
    """XᵀΩX in blocks: the eliminated slot's diagonal (a,), its meetings with the other words (a, b), theirs (b, b)."""

    own: Floats
    crossed: Floats
    within: Floats


@dataclass(frozen=True)
class Columns:
    """Which columns each caption has.

    ``own`` (m,) its word of the slot with most words, of ``a``; ``others`` (m, s - 1) its further columns, of ``b``;
    ``order`` puts the slots back: the eliminated one first, then the others.
    """

    own: Ints
    others: Ints
    sizes: tuple[int, ...]
    largest: int

    @classmethod
    def of(cls, places: Ints, sizes: Sequence[int]) -> Columns:
        """Number the columns of (m, s) words."""
        largest = int(np.argmax(sizes))
        rest = [s for s in range(len(sizes)) if s != largest]
        starts = np.cumsum([0, *(sizes[s] for s in rest)])[:-1]
        return cls(places[:, largest], places[:, rest] + starts.astype(np.int64), tuple(sizes), largest)

    @property
    def a(self) -> int:
        """Words of the eliminated slot."""
        return self.sizes[self.largest]

    @property
    def b(self) -> int:
        """Words of all the others."""
        return sum(self.sizes) - self.a

    def by_slot(self, own: NDArray[Kind], others: NDArray[Kind]) -> list[NDArray[Kind]]:
        """Cut what is known of every column into slots, in their order."""
        rest = [size for s, size in enumerate(self.sizes) if s != self.largest]
        parts = np.split(others, np.cumsum(rest)[:-1]) if rest else []
        return [*parts[: self.largest], own, *parts[self.largest :]]

    def sums(self, values: Floats) -> tuple[Floats, Floats]:
        """Return Xᵀ·values, (a,) and (b,)."""
        repeated = np.repeat(values, self.others.shape[1])
        return _sums(self.own, values, self.a), _sums(self.others.ravel(), repeated, self.b)

    def products(self, weights: Floats) -> Products:
        """Return XᵀΩX with Ω = diag(weights), by counting."""
        crossed, within = np.zeros((self.a, self.b)), np.zeros((self.b, self.b))
        for j in self.others.T:
            crossed += _sums(self.own * self.b + j, weights, self.a * self.b).reshape(self.a, self.b)
            for k in self.others.T:
                within += _sums(j * self.b + k, weights, self.b**2).reshape(self.b, self.b)
        return Products(_sums(self.own, weights, self.a), crossed, within)


class NormalEquations:
    """The factored equations of captions and their words.

    Args:
        places: (m, s) the word of each slot that a caption has, counted from 0.
        baselines: for each slot the weights (w,), with a sum of 1, of the words that its effects are measured against.

    Attributes:
        columns: which columns each caption has.
        rank: how many coefficients the captions determine.
        known: by slot (w,) bool, whether they determine a word's effect.
    """

    def __init__(self, places: Ints, baselines: Sequence[Floats]) -> None:
        self.columns = Columns.of(places, [len(weights) for weights in baselines])
        self._baselines = baselines
        products = self.columns.products(np.ones(len(places)))
        self._divisor = np.maximum(products.own, 1)
        self._mean = products.crossed / self._divisor[:, None]  # of the other columns over each word's captions
        values, vectors = np.linalg.eigh(products.within - products.crossed.T @ self._mean)
        seen = values > SINGULAR * max(values.max(initial=0.0), 1.0)
        self._inverse = vectors[:, seen] / values[seen] @ vectors[:, seen].T
        self.rank = int((products.own > 0).sum() + seen.sum())
        own, others = self._baseline @ self._mean - self._mean, self._contrasts()
        unseen = vectors[:, ~seen]
        met = (products.own > 0) & (products.own[self._baseline > 0] > 0).all() | (self._baseline == 1)
        self.known = self.columns.by_slot(met & _vanishes(own @ unseen), _vanishes(others @ unseen))
        self._pull_own, self._pull_others = own @ self._inverse, others @ self._inverse

    @property
    def _baseline(self) -> Floats:
        return self._baselines[self.columns.largest]

    def _contrasts(self) -> Floats:
        """Return (b, b): each word of the other slots against its slot's baseline."""
        rows, start = np.zeros((self.columns.b, self.columns.b)), 0
        for s, weights in enumerate(self._baselines):
            if s != self.columns.largest:
                block = slice(start, start := start + len(weights))
                rows[block, block] = np.eye(len(weights)) - weights
        return rows

    def coefficients(self, scores: Floats) -> list[Floats]:
        """Return, by slot, one of the solutions of least squares."""
        own, others = self.columns.sums(scores)
        further = self._inverse @ (others - self._mean.T @ own)
        return self.columns.by_slot(own / self._divisor - self._mean @ further, further)

    def leverage(self) -> Floats:
        """Return (m,) how far each caption determines its own fit, from 0 to 1."""
        own, others = self.columns.own, self.columns.others.T
        pulled = self._mean @ self._inverse
        values: Floats = (1 / self._divisor + (pulled * self._mean).sum(axis=1))[own]
        for j in others:
            values -= 2 * pulled[own, j]
            for k in others:
                values += self._inverse[j, k]
        return values

    def spread(self, weights: Floats) -> list[Floats]:
        """Return, by slot, the sum over captions of weight times the square of how far each pulls a word's effect."""
        own, crossed, within = self.columns.products(weights)
        across = crossed.T @ self._mean
        left = within - across - across.T + self._mean.T @ (own[:, None] * self._mean)
        of_own = own / self._divisor**2
        linear = (crossed - own[:, None] * self._mean) / self._divisor[:, None]
        baseline, pull = self._baseline, self._pull_own
        first = of_own * (1 - 2 * baseline) + baseline**2 @ of_own
        second = 2 * ((linear - baseline @ linear) * pull).sum(axis=1)
        others = _quadratic(self._pull_others, left)
        return self.columns.by_slot(first + second + _quadratic(pull, left), others)


def _sums(places: Ints, weights: Floats, size: int) -> Floats:
    return np.asarray(np.bincount(places, weights, size), np.float64)


def _vanishes(rows: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.abs(rows).max(axis=1, initial=0.0) < ESTIMABLE)


def _quadratic(rows: Floats, matrix: Floats) -> Floats:
    return np.asarray((rows @ matrix * rows).sum(axis=1))
