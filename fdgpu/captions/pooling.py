"""The captions of many classes as one list without repetition: each text is encoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CaptionPool:
    """Captions of several groups.

    ``captions`` every text once, in the order they first appear; ``members[g]`` the places in it of the texts of group
    ``g``, each once, in the group's order, and ``firsts[g]`` the places in the group where they stand first.
    """

    captions: list[str]
    members: list[NDArray[np.int64]]
    firsts: list[NDArray[np.int64]]


def pool_captions(groups: Sequence[Iterable[str]]) -> CaptionPool:
    """Number the captions of all groups, texts that are equal once.

    A group that stands there several times, as the grammar that a hundred breeds of dogs share, is gone through once.
    """
    places: dict[str, int] = {}
    known: dict[int, NDArray[np.int64]] = {}
    for group in groups:
        if id(group) not in known:
            own: dict[int, int] = {}
            for first, caption in enumerate(group):
                own.setdefault(places.setdefault(caption, len(places)), first)
            known[id(group)] = np.array([list(own), list(own.values())], np.int64)
    members, firsts = zip(*(known[id(group)] for group in groups), strict=True) if groups else ((), ())
    return CaptionPool(list(places), list(members), list(firsts))
