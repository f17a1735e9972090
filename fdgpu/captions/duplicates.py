"""Captions that say the same thing, grouped, so that the first three of a list are three different things."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Cosine of two captions' differences from the reference, beyond which they point at one thing. In the bundled world
# two captions that share neither adjective nor background stay below 0.65, those that share the adjective are between
# 0.78 and 0.85, and those that share the background alone between 0.58 and 0.82 (1st to 99th percentile).
SAME = 0.78
ARTICLES = frozenset({"a", "an", "the"})


@dataclass(frozen=True)
class CaptionGroup:
    """A caption and the ones that say the same, by their places: ``also`` in the order of their ranks."""

    head: int
    also: tuple[int, ...]


def group_captions(
    order: Sequence[int] | NDArray[np.int64],
    texts: Sequence[str],
    directions: NDArray[Any],
    most: int,
    same: float = SAME,
) -> list[CaptionGroup]:
    """Go down a ranking; a caption that says what an earlier one said joins it, any other starts a group.

    Two captions say the same if their differences from the reference point the same way, or if one has all the words of
    the other, in their order ("a white cat", "a white cat on a sofa").

    Args:
        order: places of captions, the most extreme first.
        texts: m captions.
        directions: (m, d) unit differences from the reference, as they are scored.
        most: groups to return; what follows them is left out.
        same: least cosine of two that are the same.
    """
    places = np.asarray(order, np.int64)
    own, words = directions[places], [_words(texts[i]) for i in places]
    left = np.arange(len(places))  # ranks that have no group yet
    groups: list[CaptionGroup] = []
    while len(left) and len(groups) < most:
        head, rest = left[0], left[1:]
        joins = (own @ own[head] >= same)[rest]
        joins |= np.array([_one_within_the_other(words[head], words[i]) for i in rest], bool)
        groups.append(CaptionGroup(int(places[head]), tuple(places[rest[joins]].tolist())))
        left = rest[~joins]
    return groups


def _words(text: str) -> list[str]:
    return [word for word in text.lower().split() if word not in ARTICLES]


def _one_within_the_other(one: list[str], other: list[str]) -> bool:
    few, many = (one, other) if len(one) < len(other) else (other, one)
    rest = iter(many)
    return all(word in rest for word in few)  # each "in" goes on where the last one ended
