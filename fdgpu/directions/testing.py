"""From permutations that scored as high to p-values, and how many more have to be drawn until it is known what holds.

With ``stop_after`` h, a class's test ends at its h-th null score that is at least as high as its own, after m
permutations, with p = h / m; or after B permutations with L < h of them, with p = (1 + L) / (1 + B) (Besag and
Clifford, *Sequential Monte Carlo p-values*, 1991; exact). B follows from the number of tests alone: it is large enough
for one true failure among all classes to pass. Most classes need few draws, as chance soon reaches them.

Nor does a clear failure need all B. After t permutations of which L scored as high, its p-value will not be larger than
h / (t + h - L), whatever comes: at least h - L more are needed to end it. Once Benjamini and Hochberg's rule rejects a
class by these bounds, it will by the final p-values too, as the rule never rejects less where p-values fall; and one
that it does not reject by the smallest p-value that is left to each, it never will. The others are drawn on. A bound
is reported as the p-value where drawing ended by it: it is never below the exact one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from fdgpu.directions.parameters import SearchSettings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
GROWTH = 1.25  # draws are at least so many times as many after each look


@dataclass(frozen=True)
class PermutationTests:
    """The tests of m classes so far.

    Attributes:
        search: ``stop_after`` h, ``fdr``, and ``n_permutations`` of the first look.
        indices: (m,) of the classes among all.
        exceeded: (m,) L, permutations of each class that scored at least as high as it does.
        drawn: (m,) t, permutations of each class.
    """

    search: SearchSettings
    indices: Ints
    exceeded: Ints
    drawn: Ints

    @property
    def most(self) -> int:
        """B, the most permutations of a class."""
        return most_permutations(self.search, len(self.drawn))

    @property
    def p_values(self) -> Floats:
        """(m,) p-values, or the most that they can become."""
        h, t, exceeded = self.search.stop_after, self.drawn, self.exceeded
        if not h:
            return (1 + exceeded) / (1 + t)
        soonest = t + h - exceeded
        return np.where(soonest <= self.most, h / soonest, (1 + exceeded + self.most - t) / (1 + self.most))

    @property
    def undecided(self) -> NDArray[np.bool_]:
        """(m,) whether draws that are left decide about a class."""
        h = self.search.stop_after
        if not h:
            return np.zeros(len(self.drawn), np.bool_)
        ended = (self.exceeded >= h) | (self.drawn >= self.most)
        highest = self.p_values
        lowest = np.where(ended, highest, (1 + self.exceeded) / (1 + self.most))
        return self._rejected(lowest) & ~self._rejected(highest)

    def next_look(self) -> int:
        """Return after how many permutations the undecided classes are looked at again.

        Were all of those rejected that still can be, a class would pass at this number if nothing more exceeded it.
        """
        h, open_ = self.search.stop_after, self.undecided
        possible = int((self._rejected(self.p_values) | open_).sum())
        level = self.search.fdr * possible / (len(self.drawn) * self.search.n_directions)
        passes = h / level - h + np.median(self.exceeded[open_])
        return int(min(self.most, math.ceil(max(passes, GROWTH * self.drawn[open_].max()))))

    def _rejected(self, p: Floats) -> NDArray[np.bool_]:
        """What Benjamini and Hochberg's rule rejects, were every further direction a test that rejects nothing."""
        padded = np.concatenate([p, np.ones(len(p) * (self.search.n_directions - 1))])
        return np.asarray(false_discovery_rates(padded)[: len(p)] <= self.search.fdr)


def most_permutations(search: SearchSettings, classes: int) -> int:
    """Return how many permutations a class may be given: drawn on, as many as let one of ``classes`` pass.

    With B permutations the smallest p-value is 1 / (1 + B), and the smallest of m tests passes at ``fdr / m``.
    """
    if not (search.stop_after and search.n_permutations):
        return search.n_permutations
    return max(search.n_permutations, math.ceil(classes * search.n_directions / search.fdr - 1e-9) - 1)


def false_discovery_rates(p: Floats) -> Floats:
    """Return Benjamini-Hochberg q-values of all p-values that are not NaN, in the shape of ``p``."""
    q, tested = np.full(p.shape, np.nan), ~np.isnan(p)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return q
