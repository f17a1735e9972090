"""Where captions stand when the samples that their direction was fitted on are drawn again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdgpu.captions.duplicates import CaptionGroup

CENTRAL = 0.9  # of the resamples lie within the interval of a rank
TOP = 3  # ranks that count as the top: three, or a twentieth of many candidates, and a tenth at most of few
TINY = 1e-12


@dataclass(frozen=True)
class RankStability:
    """Rank of a caption over the resamples, from 1: its ``median`` and its 5th and 95th percentile; NaN without any.

    ``share`` is how often the caption, or one that says the same, is among the top (see :func:`top_ranks`). ``noise_p``
    is how often what resampling adds to the scores lifts any caption as far as this one is lifted: the p-value of its
    leaning further than the average caption, over all candidates at once.
    """

    median: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    share: float = float("nan")
    noise_p: float = float("nan")


def top_ranks(n_candidates: int) -> int:
    """Return how many ranks count as the top."""
    return max(n_candidates // 20, min(TOP, n_candidates // 10), 1)


@dataclass(frozen=True)
class ResampledScores:
    """Captions along a direction, and along those of halves of its samples: the lower, the more extreme.

    A rank that seldom moves proves little where nothing fails together: the halves are part of what chose the caption.
    On classes whose right and wrong were shuffled, the hardest of 5000 captions is among the hardest twentieth in 90 %
    of the halves for one class in four. So a caption must also lean further than noise would lift any of them. Halves
    vary around all samples as all samples do around the truth (:mod:`fdgpu.directions.resampling`), up to one thing:
    along the whole direction the unit vector of a half is shorter, by their ``cosine``.

    Attributes:
        whole: (m,) alignments of the captions with the direction; NaN for the reference.
        halves: (B, m) with the directions of halves.
        cosine: mean cosine of those with the direction.
    """

    whole: NDArray[np.float64]
    halves: NDArray[np.float64]
    cosine: float

    @classmethod
    def of(cls, points: NDArray[Any], w: NDArray[Any], halves: NDArray[Any]) -> ResampledScores:
        """Align captions.

        Args:
            points: (m, d) unit differences of captions from the reference.
            w: (d,) the direction, of any length.
            halves: (B, d) those of halves of the samples.
        """
        unit, units = (_unit(np.asarray(rows, np.float64)) for rows in (w, halves))
        cosine = float((units @ unit).mean()) if len(units) else float("nan")
        return cls(points @ unit, units @ points.T, cosine)

    @property
    def other_end(self) -> ResampledScores:
        """The same, with the other end first."""
        return ResampledScores(-self.whole, -self.halves, self.cosine)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """(B, m) rank of every caption in every half, from 1; the reference, which has no score, comes last."""
        order = np.argsort(self.halves, axis=1, kind="stable")  # NaN sorts behind every number
        ranks = np.empty(order.shape, np.int64)
        np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
        return ranks

    @cached_property
    def reaches(self) -> NDArray[np.float64]:
        """(B,) how far the noise of each half lifts the caption that it lifts most, beyond the average caption."""
        scored = ~np.isnan(self.whole)
        noise = self.halves[:, scored] - self.halves[:, scored].mean(axis=0)
        noise -= noise.mean(axis=1, keepdims=True)
        return np.asarray(-noise.min(axis=1) / max(self.cosine, TINY))

    def stability(self, group: CaptionGroup) -> RankStability:
        """Sum up where the head of a group stands."""
        if not len(self.halves):
            return RankStability()
        own = self.ranks[:, group.head]
        low, median, high = np.quantile(own, [(1 - CENTRAL) / 2, 0.5, (1 + CENTRAL) / 2])
        best = self.ranks[:, [group.head, *group.also]].min(axis=1)
        share = (best <= top_ranks(int((~np.isnan(self.whole)).sum()))).mean()
        lean = np.nanmean(self.whole) - self.whole[group.head]
        p = (1 + (self.reaches >= lean).sum()) / (1 + len(self.halves))
        return RankStability(float(median), float(low), float(high), float(share), float(p))


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, TINY))
