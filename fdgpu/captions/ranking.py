"""From scores to the captions that name a failure (paper, 2.2)."""

from __future__ import annotations

from collections.abc import Sequence
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

    Args:
        scores: (m,) alignments; NaN for a caption that has none and is left out.
        top: how many of each end. Only a negative score is hard and only a positive one easy, so that no caption
            stands on both lists.
    """
    ascending = np.argsort(scores, kind="stable")  # NaN sorts last
    hard = [int(i) for i in ascending[:top] if scores[i] < 0]
    descending = np.argsort(-scores, kind="stable")
    return RankedCaptions(hard, [int(i) for i in descending[:top] if scores[i] > 0])


def distinct(groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """Number the captions of all groups, each text once, in the order they first appear."""
    places: dict[str, int] = {}
    for group in groups:
        for caption in group:
            places.setdefault(caption, len(places))
    return places
