"""The same on other answers and samples: permutations, their p-values and how many have to be drawn; and random halves.

What is drawn of a class is its own, whatever classes are beside it, and stays on the batch's device.

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
import torch
from numpy.typing import NDArray
from scipy.stats import false_discovery_control

from fdgpu.arrays import to_host
from fdgpu.directions.batch import SCORE_ROUNDING, ClassBatch
from fdgpu.directions.labellings import Classes, Tensor, halves
from fdgpu.directions.parameters import SearchSettings
from fdgpu.progress import Reporter, silent

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
TESTING = "permute right and wrong"  # the stage that progress is reported of
ROUND = 50  # permutations between two looks at which classes are settled; more where many were drawn before
ROUND_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # of the permutations of one round
RESAMPLED_LABELS = 1 << 24  # labels of one round, whose duals take 128 MB
GROWTH = 1.25  # draws are at least so many times as many after each look


def permutation_test(
    batch: ClassBatch,
    observed: Tensor,
    seed: int,
    draws: range,
    stop_after: int,
    exceeded: Tensor | None = None,
    progress: Reporter = silent,
) -> tuple[Tensor, Tensor]:
    """Permute correctness within each class, repeat the choice of C, and count scores at least as high.

    The score of a labelling is the best over C of its mean balanced accuracy over the folds that hold both kinds out
    and train on both. It is a function of the labelling alone, which makes the test exact; where no fold does, it is
    lower than any other. With ``stop_after`` a class stops at so many, and the host looks once a round which classes
    have; without, it has no need to. :class:`PermutationTests` has the p-values.

    Args:
        batch: K classes.
        observed: (K,) their best scores.
        seed: of the permutations.
        draws: numbers of the permutations, from the first that is left to draw.
        stop_after: h, or 0 to draw all.
        exceeded: (K,) null scores at least as high among the permutations before ``draws``; by default none.
        progress: is told after every round how many permutations a class was given.

    Returns:
        null scores at least as high (K,), and how many permutations were drawn (K,), all those before included.
    """
    layout, k = batch.layout, len(batch.layout.sizes)
    observed = observed.nan_to_num(-torch.inf)
    exceeded = torch.zeros(k, dtype=torch.int64, device=layout.device) if exceeded is None else exceeded
    drawn = torch.full_like(exceeded, draws.start)
    kind = "cpu" if layout.device.type == "cpu" else "cuda"
    most = max(1, ROUND_BYTES[kind] // batch.permutation_bytes)
    active, done = list(range(k)), draws.start
    while done < draws.stop and active:
        count = min(max(ROUND, done // 4), most, draws.stop - done)
        null = batch.null_statistics(seed, done, count, active)
        so_far = exceeded + (null >= observed - SCORE_ROUNDING).cumsum(dim=0)  # (count, K)
        if stop_after:
            open_ = exceeded < stop_after
            before = (so_far < stop_after).sum(dim=0)  # permutations before the one that settles it
            used = (before + 1).clamp(max=count)
            exceeded = torch.where(open_, so_far.gather(0, used[None] - 1)[0], exceeded)
            drawn = torch.where(open_, drawn + used, drawn)
            still = to_host(exceeded < stop_after, "which classes' permutations are settled")
            active = [i for i in active if still[i]]
        else:
            exceeded, drawn = so_far[-1], drawn + count
        done += count
        progress(TESTING, done, draws.stop)
    return exceeded, drawn


# --- p-values ---------------------------------------------------------------------------------------------------------


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


# --- random halves ----------------------------------------------------------------------------------------------------


def resampled_directions(
    batch: ClassBatch, labels: Tensor, C_index: Tensor, seed: int, n_resamples: int, classes: Classes = None
) -> Tensor:
    """Fit random halves of every labelling: how much a direction varies with its samples.

    Half-sampling is the subsampling form of the bootstrap (Politis, Romano and Wolf, *Subsampling*, 1999): a mean over
    half of n samples, drawn without replacement, varies around the mean over all of them by σ²/(n/2)·(1 - 1/2) = σ²/n,
    just as much as that varies around the truth. It needs no multiplicities, which a solver of labels does not know: a
    resample is a labelling in which the other half takes no part, so that all resamples of all classes are one call.

    Right and wrong are drawn apart, at the C that was chosen (with two folds, it was chosen on halves). Every failure
    mode is resampled among all right answers and its own errors.

    Args:
        batch: K classes.
        labels: (r, N) label matrix, a labelling for each direction.
        C_index: (r, K) C of each.
        seed: of the halves.
        n_resamples: B.
        classes: those of interest; what stands elsewhere has no meaning.

    Returns:
        (K, r, B, d) w, float32.
    """
    r, n = labels.shape
    per_round = max(1, min(n_resamples, RESAMPLED_LABELS // max(1, r * n)))
    rounds = []
    for done in range(0, n_resamples, per_round):
        count = min(per_round, n_resamples - done)
        rounds.append(batch.refit(halves(batch.layout, labels, seed, done, count, classes), C_index, classes))
    return torch.cat(rounds, dim=1).permute(2, 0, 1, 3)
