"""Names of classes: told apart where two have the same, and found again however they are spelled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def told_apart(names: Sequence[str], others: Iterable[Sequence[str]]) -> list[str]:
    """Return the names, and in brackets the first of its ``others`` behind each name that stands several times."""
    count = Counter(names)
    return [
        f"{name} ({other[0]})" if count[name] > 1 and other else name for name, other in zip(names, others, strict=True)
    ]


@dataclass(frozen=True)
class Matches:
    """Which known class each wanted name means.

    ``places`` one entry a wanted name, None where no class has it or several do; ``ambiguous`` wanted name → the
    classes it might mean.
    """

    places: list[int | None]
    ambiguous: dict[str, tuple[int, ...]]


class ClassNames:
    """Classes by every name they go by; upper case and underscores are as good as lower case and spaces.

    Args:
        names: the names of each class.
    """

    def __init__(self, names: Iterable[Iterable[str]]) -> None:
        self._exact: defaultdict[str, list[int]] = defaultdict(list)
        self._spelled: defaultdict[str, list[int]] = defaultdict(list)
        for place, of_class in enumerate(names):
            listed = list(of_class)
            for name in dict.fromkeys(listed):
                self._exact[name].append(place)
            for name in dict.fromkeys(map(_spelled, listed)):
                self._spelled[name].append(place)

    def match(self, wanted: Sequence[str]) -> Matches:
        """Find every wanted name.

        A name that several classes have means them in their order if it is wanted as often, as in the list of
        ImageNet's thousand names, which has two cranes. A class that another wanted name means alone is not meant.
        """
        candidates = [tuple(self._exact.get(name) or self._spelled.get(_spelled(name)) or ()) for name in wanted]
        places = [meant[0] if len(meant) == 1 else None for meant in candidates]
        taken = set(places)
        ambiguous: dict[str, tuple[int, ...]] = {}
        for meant in dict.fromkeys(filter(lambda meant: len(meant) > 1, candidates)):
            wanting = [i for i, other in enumerate(candidates) if other == meant]
            free = [place for place in meant if place not in taken]
            if len(free) != len(wanting):
                ambiguous |= {wanted[i]: meant for i in wanting}
                continue
            for i, place in zip(wanting, free, strict=True):
                places[i] = place
        return Matches(places, ambiguous)


def _spelled(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
