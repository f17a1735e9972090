"""From scores to the captions that name a failure (paper, 2.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RankedCaptions:
    """Places of the hardest and of the easiest captions, the most extreme first."""

    hard: list[int]
    easy: list[int]


def rank_captions(scores: NDArray[Any], top: int) -> RankedCaptions:
    """Rank candidates by their alignment.

    The order decides, not the sign: what all captions add to the reference (being more specific) may itself lean to
    either end, and then even the hardest of them scores above zero.

    Args:
        scores: (m,) alignments; NaN for a caption that has none and is left out.
        top: how many of each end, but at most half of them, so that no caption stands on both lists.
    """
    ascending = [int(i) for i in np.argsort(scores, kind="stable") if not np.isnan(scores[i])]
    half = len(ascending) // 2
    return RankedCaptions(ascending[: min(top, len(ascending) - half)], ascending[::-1][: min(top, half)])
