"""Can a caption be believed? Yes if its rank is stable or its accuracy gap holds, and nothing speaks against it.

Two independent looks: at the fit alone (does the caption stay on top when the samples are drawn again, and does it lean
further than the noise of drawing would lift any caption?) and at the images (are those nearest to a hard caption wrong
more often than their class?). :func:`judge_captions` takes both, once, for the captions of one direction.

The thresholds are measured on the bundled world: ``python -m benchmarks.trust``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdgpu.arrays import bring_down, to_device, to_host
from fdgpu.findings import CaptionEvidence, DecidedBy, ScoredCaption, Side
from fdgpu.kernels.alignments import alignments, caption_differences
from fdgpu.rows import Rows, TensorRows, taken_by_part

Floats = NDArray[np.float64]

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
SIDES = (Side.HARD, Side.EASY)
SIGNS = {Side.HARD: 1.0, Side.EASY: -1.0}  # which of an alignment's signs is extreme


@dataclass(frozen=True)
class Candidates:
    """The candidate captions of K classes, m of the class that has the most; vectors stay on their device.

    ``texts`` are K lists; ``vectors`` (p, d), p ≥ 1, unit vectors of texts; ``rows`` (K, m), m ≥ 1, where in them
    each class's captions are, -1 behind the last; ``references`` (K, d) the vector of each class's reference caption;
    ``scale`` (d,) the whitening's σ; ``origins`` (K, d) what captions are scored from, where not from the reference.
    """

    texts: Sequence[Sequence[str]]
    vectors: Tensor
    rows: NDArray[np.int64]
    references: Tensor
    scale: Tensor
    origins: Tensor | None = None

    @cached_property
    def captions(self) -> Tensor:
        """(K, m, d) vectors; anything where a class has no more."""
        return self.vectors[_up(np.maximum(self.rows, 0), self.vectors)]

    def chosen(self, columns: NDArray[np.int64]) -> Tensor:
        """(K, s, d) vectors of the captions in ``columns`` (K, s) of each class; anything where it is -1."""
        rows = np.take_along_axis(self.rows, np.maximum(columns, 0), axis=1)
        return self.vectors[_up(np.maximum(rows, 0), self.vectors)]

    def along(self, directions: Tensor) -> Tensor:
        """(K, m, r) alignments with ``directions`` (K, r, d); NaN for the origin and behind a class's last."""
        return self._along(directions, self.references if self.origins is None else self.origins)

    def _along(self, directions: Tensor, origins: Tensor) -> Tensor:
        found = alignments(self.captions, origins, directions, self.scale)
        return torch.where(_up(self.rows < 0, found)[..., None], torch.nan, found)

    def alike(self, columns: NDArray[np.int64]) -> Tensor:
        """(K, s, m) whether each caption points at what the captions in ``columns`` (K, s) point at."""
        heads = caption_differences(self.chosen(columns), self.references, self.scale)
        return (self._along(heads, self.references) >= SAME).mT


@dataclass(frozen=True)
class ShownImages:
    """The images by which captions are judged: n ``vectors`` of d numbers, of which the rows asked for are taken.

    ``rows`` are those of each of K classes, and ``right`` says which of these the model got right. ``held_out`` says
    that none was fitted on: the gap of others is optimistic, and proves nothing.
    """

    vectors: Rows
    right: Sequence[NDArray[np.bool_]]
    rows: Sequence[NDArray[np.int64]]
    held_out: bool = True

    @classmethod
    def none(cls, k: int, like: Tensor) -> ShownImages:
        """Return no image of any of ``k`` classes; then the rank alone decides."""
        return cls(TensorRows(like[:0]), [np.empty(0, np.bool_)] * k, [np.empty(0, np.int64)] * k)


@dataclass(frozen=True)
class JudgedCaptions:
    """A class's m candidates along one direction.

    ``scores`` w·d and ``alignments`` (m,), NaN for the reference; ``sides`` the captions that are shown, by their index
    and each a different thing, the most extreme first, at most :data:`SHOWN`; ``nearest`` (n,) whether the model was
    right, the image nearest to the first caption of a side first.
    """

    scores: Floats
    alignments: Floats
    sides: dict[Side, dict[int, ScoredCaption]]
    nearest: dict[Side, NDArray[np.bool_]]


def judge_captions(
    candidates: Candidates,
    w: NDArray[np.float32],
    resampled: Tensor,
    images: ShownImages,
    chance: NDArray[np.bool_],
    intercepts: NDArray[np.float64] | None = None,
) -> list[JudgedCaptions]:
    """Choose the captions of both sides of a direction of each of K classes, each a different thing, and judge them.

    The host gets one alignment a caption, which captions are alike (:data:`SHOWN` times), a few figures of the captions
    that are shown, and the order of the images near those of each side that come first.

    Args:
        candidates: of K classes.
        w: (K, d) the directions, of any length.
        resampled: (K, B, d) the directions of B resamples, on the captions' device; with B = 0 the gap alone decides.
        images: those that are shown; where a class has none or one the rank alone decides.
        chance: (K,) the direction was tested, and is not distinguishable from chance.
        intercepts: (K,) added to the scores, not to the alignments; None adds nothing.
    """
    added = np.zeros(len(w)) if intercepts is None else intercepts
    lengths = np.linalg.norm(w.astype(np.float64), axis=1)
    units = _unit(torch.cat([_up(w.astype(np.float64), resampled)[:, None], resampled.double()], dim=1))
    along = candidates.along(units)  # (K, m, 1 + B)
    whole = to_host(along[..., 0], "the alignments of candidates")
    orders = [rank_captions(own[: len(texts)], len(texts)) for own, texts in zip(whole, candidates.texts, strict=True)]
    groups = group_captions(candidates, orders)
    stable, hits, nearest = _evidence(candidates, along, units, groups, images)
    judged = []
    for k, texts in enumerate(candidates.texts):
        own, n = whole[k, : len(texts)], len(images.rows[k])
        scores, cosines = own * lengths[k] + added[k], own if lengths[k] else np.full_like(own, NAN)
        total = int(images.right[k].sum())
        sides: dict[Side, dict[int, ScoredCaption]] = {}
        for s, side in enumerate(SIDES):
            sides[side] = {}
            for g, (first, *also) in enumerate(groups[k][s]):
                at = (k, SHOWN * s + g)
                evidence = _evidence_of(
                    stable[at], accuracy_gap(int(hits[at]), total, n), side, orders[k][s].index(first) + 1,
                    int((~np.isnan(own)).sum()), held_out=images.held_out, chance=bool(chance[k]),
                )  # fmt: skip
                sides[side][first] = ScoredCaption(
                    texts[first], float(scores[first]), float(cosines[first]), tuple(texts[i] for i in also), evidence
                )
        firsts = {side: nearest[k][:, s] for s, side in enumerate(SIDES) if sides[side]}
        judged.append(JudgedCaptions(scores, cosines, sides, firsts))
    return judged


def _evidence_of(
    stability: Floats,
    gap: tuple[int, float, float, float, float],
    side: Side,
    rank: int,
    candidates: int,
    *,
    held_out: bool,
    chance: bool,
) -> CaptionEvidence:
    median, low, high, top_share, noise_p = stability.tolist()
    decided_by = decide(top_share, noise_p, gap[3], gap[4], side, held_out=held_out, chance=chance)
    return CaptionEvidence(
        reliable=decided_by in (DecidedBy.RANK, DecidedBy.GAP, DecidedBy.RANK_AND_GAP),
        decided_by=decided_by,
        rank=rank,
        candidates=candidates,
        rank_median=median,
        rank_low=low,
        rank_high=high,
        top=top_ranks(candidates),
        top_share=top_share,
        noise_p=noise_p,
        nearest=gap[0],
        nearest_accuracy=gap[1],
        gap=gap[2],
        gap_low=gap[3],
        gap_high=gap[4],
    )


def _evidence(
    candidates: Candidates, along: Tensor, units: Tensor, groups: Sequence[Sequence[Groups]], images: ShownImages
) -> tuple[Floats, Floats, list[NDArray[np.bool_]]]:
    """Look at the fit and at the images: stability (K, 2·SHOWN, 5), hits (K, 2·SHOWN), and by class (n, 2) nearest."""
    k, m = candidates.rows.shape
    heads = np.full((k, len(SIDES) * SHOWN), -1)
    members = np.full((k, m), len(SIDES) * SHOWN)  # the group that each caption is in; the last stands for none
    for i, s, g, group in (
        (i, s, g, one) for i, own in enumerate(groups) for s, of in enumerate(own) for g, one in enumerate(of)
    ):
        heads[i, SHOWN * s + g] = group[0]
        members[i, group] = SHOWN * s + g
    stable = rank_stability(
        along, _up(heads, along), _up(members, along), (units[:, 1:] @ units[:, 0, :, None]).mean(dim=(1, 2))
    )
    hits, firsts = _nearest(candidates.chosen(heads), images)
    stable_down, hits_down = bring_down("the evidence of the captions that are shown", stable, hits)
    bounds = np.cumsum([len(rows) for rows in images.rows])[:-1]
    return (
        stable_down,
        hits_down,
        np.split(to_host(firsts, "right or wrong, the images nearest to a caption first"), bounds),
    )


def _unit(rows: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / lengths.clamp(min=TINY)


def _up(array: NDArray[Any], like: Tensor) -> Tensor:
    return to_device(np.ascontiguousarray(array), like.device)


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

Groups = list[list[int]]  # of one side: indices of captions that say the same, the most extreme first


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
    candidates: Candidates, orders: Sequence[tuple[list[int], list[int]]]
) -> list[tuple[Groups, Groups]]:
    """Go down the rankings of both sides of every class; a caption that says the same as an earlier one joins it.

    Two captions say the same if their differences from the reference point the same way, or if one has all the words of
    the other, in their order ("a white cat", "a white cat on a sofa").

    Args:
        candidates: of K classes.
        orders: of each class, as :func:`rank_captions` returns them.

    Returns:
        By class the groups of the hard and of the easy side, in the order of their ranks, at most :data:`SHOWN` each.
    """
    words = [[_words(text) for text in texts] for texts in candidates.texts]
    left = [[np.array(order, np.int64) for order in sides] for sides in orders]
    groups: list[tuple[Groups, Groups]] = [([], []) for _ in words]
    for _ in range(SHOWN):
        heads = np.array([[own[0] if len(own) else -1 for own in sides] for sides in left]).reshape(-1, len(SIDES))
        alike = to_host(candidates.alike(heads), "which captions are alike")
        for k, s in np.argwhere(heads >= 0).tolist():
            head, rest = heads[k, s], left[k][s][1:]
            joins = alike[k, s][rest]
            joins |= np.array([_one_within_the_other(words[k][head], words[k][i]) for i in rest], bool)
            groups[k][s].append([int(head), *rest[joins].tolist()])
            left[k][s] = rest[~joins]
    return groups


def _words(text: str) -> list[str]:
    return [word for word in text.lower().split() if word not in ARTICLES]


def _one_within_the_other(one: list[str], other: list[str]) -> bool:
    few, many = (one, other) if len(one) < len(other) else (other, one)
    rest = iter(many)
    return all(word in rest for word in few)  # each "in" goes on where the last one ended


# The fit alone: ranks when the samples are drawn again.


def rank_stability(along: Tensor, heads: Tensor, members: Tensor, cosine: Tensor) -> Tensor:
    """Sum up where the head of each group ranks over the resamples.

    A rank that seldom moves proves little where nothing fails together: the resamples are part of what chose the
    caption. On classes whose right and wrong were shuffled, the hardest of 5000 captions is among the hardest twentieth
    in 90 % of the resamples for one class in four. So a caption must also lean further than noise would lift any of
    them. Resamples vary around all samples as all samples do around the truth (see :mod:`fdgpu.directions.testing`),
    up to one thing: along the whole direction the unit vector of a resample is shorter, by their ``cosine``.

    Args:
        along: (K, m, 1 + B) alignments with the direction and with those of resamples; NaN for what is no candidate.
        heads: (K, 2·s) the captions that are asked about, s of the hard side and s of the easy one; -1 for none.
        members: (K, m) which of these each caption says the same as; 2·s for none.
        cosine: (K,) mean cosine of the resamples' directions with the direction.

    Returns:
        (K, 2·s, 5): the median, the 5th and the 95th percentile of a head's rank, from 1; the share of the resamples in
        which any of its group is among the top; and the p-value of its leaning further than the average caption: how
        often what resampling adds to the scores lifts any candidate as far. NaN without resamples, and for no caption.
    """
    k, asked = heads.shape
    if along.shape[2] < 2 or not along.shape[1]:
        return along.new_full((k, asked, 5), torch.nan)
    scored = ~along[..., :1].isnan()
    counts = scored.sum(dim=(1, 2))
    top = torch.maximum(counts // 20, (counts // 10).clamp(max=TOP)).clamp(min=1)  # as top_ranks
    sides = []
    for s, side in enumerate(SIDES):
        signed = torch.where(scored, SIGNS[side] * along, torch.inf)  # the lower, the more extreme
        own = heads[:, asked // 2 * s : asked // 2 * (s + 1)]
        sides.append(_side_stability(signed, scored, own, members - asked // 2 * s, top, cosine))
    return torch.where((heads < 0)[..., None], torch.nan, torch.cat(sides, dim=1))


def _side_stability(
    signed: Tensor, scored: Tensor, heads: Tensor, members: Tensor, top: Tensor, cosine: Tensor
) -> Tensor:
    resampled, at = signed[..., 1:], heads.clamp(min=0)[..., None]
    n_resamples, size = resampled.shape[2], heads.shape[1]
    of_heads = resampled.gather(1, at.expand(-1, -1, n_resamples))  # (K, s, B)
    group = torch.where((members >= 0) & (members < size), members, size)[..., None].expand_as(resampled)
    best = resampled.new_full((len(heads), size + 1, n_resamples), torch.inf)
    best = best.scatter_reduce(1, group, resampled, "amin")[:, :size]
    ranks, best_ranks = (_ranks(values, resampled) for values in (of_heads, best))
    ordered = ranks.sort(dim=2).values
    low, median, high = (_quantile(ordered, q) for q in ((1 - CENTRAL) / 2, 0.5, (1 + CENTRAL) / 2))
    top_share = (best_ranks <= top[:, None, None]).double().mean(dim=2)
    # what each resample adds to the scores, and how far it lifts the caption that it lifts most beyond the average one
    noise = torch.where(scored, resampled - resampled.mean(dim=2, keepdim=True), torch.nan)
    reaches = (noise.nanmean(dim=1) - noise.nan_to_num(nan=torch.inf).amin(dim=1)) / cosine.clamp(min=TINY)[:, None]
    whole = torch.where(scored, signed[..., :1], torch.nan)[..., 0]
    lean = whole.nanmean(dim=1, keepdim=True) - whole.gather(1, at[..., 0])
    noise_p = (1 + (reaches[:, None] >= lean[..., None]).sum(dim=2)) / (1 + n_resamples)
    return torch.stack([median, low, high, top_share, noise_p], dim=2)


def _quantile(ordered: Tensor, q: float) -> Tensor:
    """Interpolate between the two nearest of (…, B) ascending values, as NumPy does."""
    at = q * (ordered.shape[-1] - 1)
    return torch.lerp(ordered[..., int(at)], ordered[..., math.ceil(at)], at - int(at))


def _ranks(values: Tensor, among: Tensor) -> Tensor:
    """Ranks (K, s, B) of ``values`` among (K, m, B), from 1: one more than how many are lower."""
    return torch.stack([(among < one[:, None]).sum(dim=1) for one in values.unbind(dim=1)], dim=1).double() + 1


def top_ranks(n_candidates: int) -> int:
    """Return how many ranks count as the top."""
    return max(n_candidates // 20, min(TOP, n_candidates // 10), 1)


# The images: accuracy near a caption against that of its class.


def _nearest(captions: Tensor, images: ShownImages) -> tuple[Tensor, Tensor]:
    """How many of the images nearest to each of ``captions`` (K, 2·s, d) are right; and all, nearest first, for two.

    Returns:
        (K, 2·s) right answers among the :func:`nearest_count` nearest, and (Σ n, 2) for the first of each side.
    """
    hits = [captions.new_zeros(0, captions.shape[1], dtype=torch.int64)]
    firsts = [captions.new_empty(0, len(SIDES), dtype=torch.bool)]
    shown = taken_by_part(images.vectors, images.rows)
    for rows, blocks, right, own in zip(images.rows, shown, images.right, captions, strict=True):
        cosines = torch.cat(
            [own.new_empty(0, len(own)), *(block.to(own.dtype) @ own.T for block in blocks)]
        )  # (n, 2·s)
        ordered = _up(right, captions)[cosines.sort(dim=0, descending=True, stable=True).indices]
        hits.append(ordered[: nearest_count(len(rows))].sum(dim=0, keepdim=True))
        firsts.append(ordered[:, :: captions.shape[1] // 2])
    return torch.cat(hits), torch.cat(firsts)


def nearest_count(n: int) -> int:
    """Return K: a tenth of ``n`` images and ten at least, but never more than half of them."""
    return min(max(FEWEST_NEAR, round(SHARE_NEAR * n)), n // 2)


def accuracy_gap(hits: int, right: int, n: int, level: float = GAP_LEVEL) -> tuple[int, float, float, float, float]:
    """Compare the images nearest to a caption with their class.

    Nearest and rest are disjoint, so that Newcombe's interval of two independent shares holds for them; the gap to the
    whole class is 1 - K/n of the gap to the rest, and so are its bounds.

    Args:
        hits: right answers among the K = :func:`nearest_count` nearest images.
        right: right answers among all of the class.
        n: images of the class.
        level: of confidence, two-sided.

    Returns:
        K, the accuracy of the K nearest, that minus the accuracy of all, and the interval's bounds; 0 and NaN where n
        is below 2.
    """
    k = nearest_count(n)
    if k == 0:
        return 0, NAN, NAN, NAN, NAN
    gap, low, high = (x * (1 - k / n) for x in difference_of_shares(hits, k, right - hits, n - k, level))
    return k, hits / k, gap, low, high


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
