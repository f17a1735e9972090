"""How well a method's proposals match what is planted.

Single slices are judged as in Domino (ICLR 2022): precision of the top K of the best-matching proposal. A single K
favours whoever was tuned at it, so the area under precision@K, up to the number of samples in the slice, stands beside
it. The paper's forms ask for the minority among the K hardest of each class. Several slices are judged as in SpotCheck
(arXiv 2207.04104): how many are recalled by proposals that are precise, and how many proposals are precise for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.discovery.problem import Floats, Problem

Truth = NDArray[np.bool_]
FOUND = 0.8  # precision of the top 10 from which a slice counts as found
PRECISE, RECALLED = 0.8, 0.8  # SpotCheck's thresholds of a proposal's precision, and of a slice's recall
LOOKED_AT = 10  # proposals, in the method's own order, that a discovery may need


@dataclass(frozen=True)
class Found:
    """What a method says of the test samples.

    Attributes:
        proposals: (n_test, p) scores, higher is likelier inside, above 0 is inside, -inf is never shown; the proposal
            that the method believes in most comes first.
        suspicion: (n_test,) one score for all classes, higher is harder, to be compared within a class; by default the
            highest of the proposals.
        p_values: of each class's failure, from methods that test.
    """

    proposals: Floats
    suspicion: Floats | None = None
    p_values: Floats | None = None

    def __post_init__(self) -> None:
        if np.isnan(self.proposals).any():
            raise ValueError("proposals holds NaN: leave out a proposal that has no scores, or give -inf")

    @property
    def ranked(self) -> Floats:
        """(n_test,) the suspicion."""
        if self.suspicion is not None:
            return self.suspicion
        return np.asarray(self.proposals.max(axis=1, initial=-np.inf))


def judge(found: Found, problem: Problem, tops: Sequence[int] | None = None) -> dict[str, float]:
    """Measure a method on a problem.

    Args:
        found: of ``problem.test``.
        problem: with its truth.
        tops: the K of the paper's form; None for every other problem.

    Returns:
        Names and values; all of them shares, higher is better, but for ``false discoveries`` and ``p ≤ .05``.
    """
    if len(found.proposals) != len(problem.truth):
        raise ValueError(
            f"proposals has {len(found.proposals)} rows, truth has {len(problem.truth)}: score every test sample"
        )
    if tops is not None:
        return _among_the_hardest(found.ranked, problem, tops)
    if problem.truth.shape[1] == 0:
        return {} if found.p_values is None else {"p ≤ .05": float(np.mean(found.p_values <= 0.05))}
    at_10, at_25 = (precision_at(k, found.proposals, problem.truth) for k in (10, 25))
    discovered, false = discoveries(found.proposals, problem.truth)
    return {
        "precision@10": float(at_10.mean()),
        "precision@25": float(at_25.mean()),
        "found": float(np.mean(at_10 >= FOUND)),
        "area": float(area(found.proposals, problem.truth).mean()),
        "discovered": discovered,
        "false discoveries": false,
        "proposals": found.proposals.shape[1],
    }


def precision_at(k: int, proposals: Floats, truth: Truth) -> Floats:
    """Return (s,) the precision of the top k of the best-matching proposal, for every slice; 0 without proposals.

    Args:
        k: how many of the highest scores are looked at; a proposal that shows fewer is still divided by k.
        proposals: (n, p), see :class:`Found`.
        truth: (n, s) which samples lie in which slice.
    """
    curves = [precisions(scores, truth, k)[-1] for scores in proposals.T]
    return np.max(curves, axis=0, initial=0.0) if curves else np.zeros(truth.shape[1])


def area(proposals: Floats, truth: Truth) -> Floats:
    """Return (s,) the mean over K = 1 … samples in the slice of the best proposal's precision@K."""
    best = np.zeros(truth.shape[1])
    for scores in proposals.T:
        curves = precisions(scores, truth, int(truth.sum(axis=0).max(initial=1)))
        best = np.maximum(
            best, [curve[: max(1, own)].mean() for curve, own in zip(curves.T, truth.sum(0), strict=True)]
        )
    return best


def precisions(scores: Floats, truth: Truth, length: int) -> Floats:
    """Return (length, s) the precision of the top 1 … length of one proposal."""
    top = np.argsort(-scores, kind="stable")[:length]
    hits = np.zeros((length, truth.shape[1]))
    hits[: len(top)] = truth[top] & (scores[top] > -np.inf)[:, None]
    return np.asarray(hits.cumsum(axis=0) / np.arange(1, length + 1)[:, None])


def discoveries(proposals: Floats, truth: Truth) -> tuple[float, float]:
    """Return the share of slices that are discovered, and the share of proposals that are false discoveries.

    A proposal holds what it scores above 0, and belongs to a slice of which at least 80 % of these are. A slice is
    discovered where at least 80 % of it are in proposals that belong to it. A proposal that belongs to no slice is a
    false discovery. One that holds nobody proposes nothing. Of more than ten proposals the first ten are looked at.
    """
    held = proposals[:, :LOOKED_AT] > 0
    held = held[:, held.any(axis=0)]
    if held.shape[1] == 0:
        return 0.0, 0.0
    inside = held.T.astype(float) @ truth  # (p, s) samples
    belongs = inside >= PRECISE * held.sum(axis=0)[:, None]
    covered = [truth[held[:, own].any(axis=1), j].sum() for j, own in enumerate(belongs.T)]
    return float(np.mean(covered >= RECALLED * truth.sum(axis=0))), float(np.mean(~belongs.any(axis=1)))


def _among_the_hardest(suspicion: Floats, problem: Problem, tops: Sequence[int]) -> dict[str, float]:
    """Return the minority's share among the K hardest, mean over classes that have one, and the area up to its number.

    Where nothing is planted the errors stand for it; these any loss of the sample's own ranks perfectly.
    """
    planted = problem.truth.shape[1] > 0
    inside = np.asarray(problem.truth.any(axis=1) if planted else ~problem.test.correct)
    curves = []
    for label in np.unique(problem.test.labels[inside]):
        own = problem.test.labels == label
        curve = precisions(suspicion[own], inside[own][:, None], max(*tops, int(inside[own].sum())))[:, 0]
        curves.append([*(curve[k - 1] for k in tops), curve[: inside[own].sum()].mean()])
    what = "minority" if planted else "errors"
    names = [*(f"{what} in top {k}" for k in tops), "area"]
    return dict(zip(names, np.mean(curves, axis=0).tolist(), strict=True))
