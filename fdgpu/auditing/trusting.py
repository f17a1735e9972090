"""Which captions of a failure mode are shown, and whether they can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions.duplicates import CaptionGroup, group_captions
from fdgpu.captions.gaps import accuracy_gap
from fdgpu.captions.ranking import RankedCaptions, rank_captions
from fdgpu.captions.ranks import RankStability, ResampledScores, top_ranks
from fdgpu.captions.trust import GAP_LEVEL, SHOWN, judge
from fdgpu.findings import CaptionEvidence


@dataclass(frozen=True)
class Standing:
    """A caption that is shown, and what the fit alone says of it.

    ``rank`` from 1 among the ``candidates`` of its end; ``vector`` (d,) its unit text vector.
    """

    group: CaptionGroup
    rank: int
    candidates: int
    stability: RankStability
    vector: NDArray[np.float32]


@dataclass(frozen=True)
class Standings:
    """The captions shown of both ends, the most extreme first."""

    hard: tuple[Standing, ...]
    easy: tuple[Standing, ...]

    @property
    def ranked(self) -> RankedCaptions:
        """Their places."""
        return RankedCaptions([s.group.head for s in self.hard], [s.group.head for s in self.easy])


def standings(
    texts: list[str], vectors: NDArray[np.float32], points: NDArray[Any], scores: ResampledScores
) -> Standings:
    """Choose the captions of both ends, each a different thing, and see how firmly they stand.

    Args:
        texts: m candidates.
        vectors: (m, d) their unit vectors.
        points: (m, d) their unit differences from the reference.
        scores: theirs, the hard end first.
    """
    ranked = rank_captions(scores.whole, len(texts))
    candidates = int((~np.isnan(scores.whole)).sum())

    def end(order: list[int], seen: ResampledScores) -> tuple[Standing, ...]:
        return tuple(
            Standing(group, order.index(group.head) + 1, candidates, seen.stability(group), vectors[group.head].copy())
            for group in group_captions(order, texts, points, SHOWN)
        )

    return Standings(end(ranked.hard, scores), end(ranked.easy, scores.other_end))


def evidence(
    standing: Standing,
    nearest_first: Callable[[NDArray[np.float32]], NDArray[np.bool_]],
    *,
    hard: bool,
    held_out: bool,
    chance: bool,
) -> CaptionEvidence:
    """Judge a shown caption by its standing and by the images nearest to it.

    Args:
        standing: what the fit says.
        nearest_first: gives, for a caption's vector, whether the model was right on each shown image of the class, the
            nearest image first.
        hard: which end.
        held_out: the shown images took no part in the fit.
        chance: the mode was tested, and cannot be told from chance.
    """
    stability, gap = standing.stability, accuracy_gap(nearest_first(standing.vector), GAP_LEVEL)
    verdict = judge(stability, gap, hard=hard, held_out=held_out, chance=chance)
    return CaptionEvidence(
        reliable=verdict.reliable,
        decided_by=verdict.decided_by,
        rank=standing.rank,
        candidates=standing.candidates,
        rank_median=stability.median,
        rank_low=stability.low,
        rank_high=stability.high,
        top=top_ranks(standing.candidates),
        top_share=stability.share,
        noise_p=stability.noise_p,
        nearest=gap.nearest,
        nearest_accuracy=gap.accuracy,
        gap=gap.gap,
        gap_low=gap.low,
        gap_high=gap.high,
    )
