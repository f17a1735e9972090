"""Can a caption be believed? Yes if its rank is stable or its accuracy gap holds, and nothing speaks against it.

Two independent looks: at the fit alone (does the caption stay on top when the samples are drawn again, and does it lean
further than the noise of drawing would lift any caption?) and at the images (are those nearest to a hard caption wrong
more often than their class?). :func:`judge_captions` takes both, once, for the captions of one direction.

The thresholds are measured on the bundled world: ``python -m benchmarks.trust``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fdgpu.findings import CaptionEvidence, DecidedBy, ScoredCaption, Side

Floats = NDArray[np.float32] | NDArray[np.float64]

SHOWN = 5  # captions of a side that are judged
TOP_SHARE = 0.9  # of the resamples in which a stable caption, or one that says the same, is among the top
NOISE_LEVEL = 0.05  # of its lean being noise
GAP_LEVEL = 1 - 0.05 / SHOWN  # of a gap's interval: those of a side hold together at 95 %
CAPTION_RULES = {"top_share": TOP_SHARE, "noise_level": NOISE_LEVEL, "gap_level": GAP_LEVEL, "shown": SHOWN}

# Cosine of two captions' differences from the reference, beyond which they point at one thing. In the bundled world
# two captions that share neither adjective nor background stay below 0.65, those that share the adjective are between
# 0.78 and 0.85, and those that share the background alone between 0.58 and 0.82 (1st to 99th percentile).
SAME = 0.78
ARTICLES = frozenset({"a", "an", "the"})

CENTRAL = 0.9  # of the resamples lie within the interval of a rank
TOP = 3  # ranks that count as the top: three, or a twentieth of many candidates, and a tenth at most of few
FEWEST_NEAR = 10  # images near a caption
SHARE_NEAR = 0.1  # of the class's images, where that is more
TINY = 1e-12
NAN = float("nan")


def judge_captions(
    texts: Sequence[str],
    vectors: NDArray[np.float32],
    points: NDArray[np.float64],
    w: Floats,
    resampled: Floats,
    images: NDArray[np.float32],
    correct: NDArray[np.bool_],
    *,
    held_out: bool = True,
    chance: bool = False,
) -> dict[Side, dict[int, ScoredCaption]]:
    """Choose the captions of both sides of a direction, each a different thing, and judge them.

    Args:
        texts: m candidates.
        vectors: (m, d) their unit vectors.
        points: (m, d) their unit differences from the reference, as they are scored; NaN for the reference itself.
        w: (d,) the direction, of any length.
        resampled: (B, d) the directions of B resamples; with B = 0 the gap alone decides.
        images: (n, d) unit vectors of the images that are shown of the class; with n < 2 the rank alone decides.
        correct: (n,) whether the model was right on each.
        held_out: the images took no part in the fit; a gap of others is optimistic and proves nothing.
        chance: the direction was tested, and is not distinguishable from chance.

    Returns:
        By side, hard first: index of a caption → the caption with its evidence, the most extreme first, at most
        :data:`SHOWN`. Near duplicates are in ``also`` of the most extreme of them.
    """
    scores, alignments = score_captions(points, w)
    whole, over_resamples, cosine = align(points, w, resampled)
    candidates = int((~np.isnan(whole)).sum())
    judged: dict[Side, dict[int, ScoredCaption]] = {}
    for side, order in zip((Side.HARD, Side.EASY), rank_captions(whole, len(texts)), strict=True):
        sign = 1 if side is Side.HARD else -1
        groups = group_captions(order, texts, points, SHOWN)
        stabilities = rank_stability(groups, sign * whole, sign * over_resamples, cosine)
        judged[side] = {}
        for (head, *also), (median, low, high, top_share, noise_p) in zip(groups, stabilities, strict=True):
            nearest, accuracy, gap, gap_low, gap_high = accuracy_gap(nearest_first(images, correct, vectors[head]))
            decided_by = decide(top_share, noise_p, gap_low, gap_high, side, held_out=held_out, chance=chance)
            evidence = CaptionEvidence(
                reliable=decided_by in (DecidedBy.RANK, DecidedBy.GAP, DecidedBy.RANK_AND_GAP),
                decided_by=decided_by,
                rank=order.index(head) + 1,
                candidates=candidates,
                rank_median=median,
                rank_low=low,
                rank_high=high,
                top=top_ranks(candidates),
                top_share=top_share,
                noise_p=noise_p,
                nearest=nearest,
                nearest_accuracy=accuracy,
                gap=gap,
                gap_low=gap_low,
                gap_high=gap_high,
            )
            score, alignment = float(scores[head]), float(alignments[head])
            judged[side][head] = ScoredCaption(texts[head], score, alignment, tuple(texts[i] for i in also), evidence)
    return judged


def decide(
    top_share: float,
    noise_p: float,
    gap_low: float,
    gap_high: float,
    side: Side,
    *,
    held_out: bool = True,
    chance: bool = False,
) -> DecidedBy:
    """Weigh what is known of one caption: see :class:`fdgpu.findings.CaptionEvidence` for the figures.

    A hard caption should have a gap below zero, an easy one above. NaN speaks neither for nor against.
    """
    below, above = gap_high < 0, gap_low > 0
    for_it, against_it = (below, above) if side is Side.HARD else (above, below)
    if chance:
        return DecidedBy.CHANCE
    if against_it:
        return DecidedBy.CONTRADICTED
    by_rank, by_gap = is_stable(top_share, noise_p), for_it and held_out
    if by_rank and by_gap:
        return DecidedBy.RANK_AND_GAP
    return DecidedBy.RANK if by_rank else DecidedBy.GAP if by_gap else DecidedBy.NEITHER


def is_stable(top_share: float, noise_p: float) -> bool:
    """Whether a caption stays on top, further than noise would lift it; not without resamples (NaN)."""
    return top_share >= TOP_SHARE and noise_p <= NOISE_LEVEL


# The candidates of each side, and which of them say the same.


def score_captions(points: NDArray[np.float64], w: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores w·d (m,) of captions, and their alignments, the scores over ‖w‖: NaN where w is zero."""
    scores, length = points @ w.astype(np.float64), float(np.linalg.norm(w))
    return scores, scores / length if length else np.full_like(scores, NAN)


def rank_captions(scores: Floats, top: int) -> tuple[list[int], list[int]]:
    """Return the indices of the hardest and of the easiest candidates, the most extreme first (paper, 2.2).

    The order decides, not the sign: what all captions add to the reference (being more specific) may itself lean to
    either side, and then even the hardest of them scores above zero.

    Args:
        scores: (m,) alignments; NaN for a caption that has none and is left out.
        top: how many of each side, but at most half of them, so that no caption is on both lists.
    """
    ascending = [int(i) for i in np.argsort(scores, kind="stable") if not np.isnan(scores[i])]
    half = len(ascending) // 2
    return ascending[: min(top, len(ascending) - half)], ascending[::-1][: min(top, half)]


def group_captions(
    order: Sequence[int] | NDArray[np.int64], texts: Sequence[str], points: Floats, most: int, same: float = SAME
) -> list[list[int]]:
    """Go down a ranking; a caption that says the same as an earlier one joins it, any other starts a group.

    Two captions say the same if their differences from the reference point the same way, or if one has all the words of
    the other, in their order ("a white cat", "a white cat on a sofa").

    Args:
        order: indices of captions, the most extreme first.
        texts: m captions.
        points: (m, d) unit differences from the reference, as they are scored.
        most: groups to return; what follows them is left out.
        same: least cosine of two that are the same.

    Returns:
        The indices of each group, in the order of their ranks.
    """
    ranked = np.asarray(order, np.int64)
    own, words = points[ranked], [_words(texts[i]) for i in ranked]
    left = np.arange(len(ranked))  # ranks that have no group yet
    groups: list[list[int]] = []
    while len(left) and len(groups) < most:
        head, rest = left[0], left[1:]
        joins = (own @ own[head] >= same)[rest]
        joins |= np.array([_one_within_the_other(words[head], words[i]) for i in rest], bool)
        groups.append([int(ranked[head]), *ranked[rest[joins]].tolist()])
        left = rest[~joins]
    return groups


def _words(text: str) -> list[str]:
    return [word for word in text.lower().split() if word not in ARTICLES]


def _one_within_the_other(one: list[str], other: list[str]) -> bool:
    few, many = (one, other) if len(one) < len(other) else (other, one)
    rest = iter(many)
    return all(word in rest for word in few)  # each "in" goes on where the last one ended


# The fit alone: ranks when the samples are drawn again.


def align(points: NDArray[np.float64], w: Floats, resampled: Floats) -> tuple[Floats, Floats, float]:
    """Return the alignments (m,) with a direction and (B, m) with its resamples, and the mean cosine of those with it.

    Args:
        points: (m, d) unit differences of captions from the reference.
        w: (d,) the direction, of any length.
        resampled: (B, d) those of resamples.
    """
    unit, units = (_unit(np.asarray(rows, np.float64)) for rows in (w, resampled))
    return points @ unit, units @ points.T, float((units @ unit).mean()) if len(units) else NAN


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, TINY))


def rank_stability(
    groups: Sequence[Sequence[int]], whole: Floats, resampled: Floats, cosine: float
) -> list[tuple[float, float, float, float, float]]:
    """Sum up where the head of each group ranks over the resamples.

    A rank that seldom moves proves little where nothing fails together: the resamples are part of what chose the
    caption. On classes whose right and wrong were shuffled, the hardest of 5000 captions is among the hardest twentieth
    in 90 % of the resamples for one class in four. So a caption must also lean further than noise would lift any of
    them. Resamples vary around all samples as all samples do around the truth (see :mod:`fdgpu.directions.resampling`),
    up to one thing: along the whole direction the unit vector of a resample is shorter, by their ``cosine``.

    Args:
        groups: indices of captions that say the same, the most extreme first.
        whole: (m,) alignments with the direction: the lower, the more extreme; NaN for the reference.
        resampled: (B, m) with the directions of resamples.
        cosine: mean cosine of those with the direction.

    Returns:
        For each group: the median, the 5th and the 95th percentile of its head's rank, from 1; the share of the
        resamples in which any of the group is among the top; and the p-value of its head leaning further than the
        average caption: how often what resampling adds to the scores lifts any candidate as far. NaN without resamples.
    """
    if not groups or not len(resampled):
        return [(NAN, NAN, NAN, NAN, NAN)] * len(groups)
    scored = ~np.isnan(whole)
    top = top_ranks(int(scored.sum()))
    ranks = resample_ranks(resampled)
    noise = resampled[:, scored] - resampled[:, scored].mean(axis=0)  # (B, scored)
    noise -= noise.mean(axis=1, keepdims=True)
    # (B,) how far each resample lifts the caption that it lifts most, beyond the average caption
    reaches = -noise.min(axis=1) / max(cosine, TINY)
    found = []
    for group in groups:
        low, median, high = np.quantile(ranks[:, group[0]], [(1 - CENTRAL) / 2, 0.5, (1 + CENTRAL) / 2])
        top_share = (ranks[:, list(group)].min(axis=1) <= top).mean()
        lean = np.nanmean(whole) - whole[group[0]]
        noise_p = (1 + (reaches >= lean).sum()) / (1 + len(resampled))
        found.append((float(median), float(low), float(high), float(top_share), float(noise_p)))
    return found


def resample_ranks(resampled: Floats) -> NDArray[np.int64]:
    """Return (B, m), the rank of every caption in every resample, from 1; the reference, which has none, comes last."""
    order = np.argsort(resampled, axis=1, kind="stable")  # NaN sorts behind every number
    ranks = np.empty(order.shape, np.int64)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
    return ranks


def top_ranks(n_candidates: int) -> int:
    """Return how many ranks count as the top."""
    return max(n_candidates // 20, min(TOP, n_candidates // 10), 1)


# The images: accuracy near a caption against that of its class.


def nearest_first(
    images: NDArray[np.float32], correct: NDArray[np.bool_], caption: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Return ``correct`` (n,) with the image nearest to a caption's vector (d,) first (cosine)."""
    return np.asarray(correct[np.argsort(-(images @ caption), kind="stable")])


def nearest_count(n: int) -> int:
    """Return K: a tenth of ``n`` images and ten at least, but never more than half of them."""
    return min(max(FEWEST_NEAR, round(SHARE_NEAR * n)), n // 2)


def accuracy_gap(correct: NDArray[np.bool_], level: float = GAP_LEVEL) -> tuple[int, float, float, float, float]:
    """Compare the images nearest to a caption with their class.

    Nearest and rest are disjoint, so that Newcombe's interval of two independent shares holds for them; the gap to the
    whole class is 1 - K/n of the gap to the rest, and so are its bounds.

    Args:
        correct: (n,) whether the model was right, the nearest image first.
        level: of confidence, two-sided.

    Returns:
        K, the accuracy of the K nearest, that minus the accuracy of all, and the interval's bounds; 0 and NaN where n
        is below 2.
    """
    n = len(correct)
    k = nearest_count(n)
    if k == 0:
        return 0, NAN, NAN, NAN, NAN
    near, rest = int(correct[:k].sum()), int(correct[k:].sum())
    gap, low, high = (x * (1 - k / n) for x in difference_of_shares(near, k, rest, n - k, level))
    return k, near / k, gap, low, high


def difference_of_shares(
    hits: int, n: int, other_hits: int, other_n: int, level: float = 0.95
) -> tuple[float, float, float]:
    """Return hits / n - other_hits / other_n of two independent samples, and its two-sided interval.

    Newcombe's hybrid of two score intervals (*Statistics in Medicine* 17, 1998, method 10): it holds its level for
    small samples and for shares of 0 and 1, where the usual one collapses.
    """
    share, other = hits / n, other_hits / other_n
    (low, high), (other_low, other_high) = _wilson(hits, n, level), _wilson(other_hits, other_n, level)
    gap = share - other
    below = float(np.hypot(share - low, other_high - other))
    above = float(np.hypot(high - share, other - other_low))
    return gap, gap - below, gap + above


@lru_cache(1 << 16)  # SciPy takes a millisecond, and the captions of a class share few counts
def _wilson(hits: int, n: int, level: float) -> tuple[float, float]:
    from scipy.stats import binomtest  # takes a second to import

    interval = binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)
