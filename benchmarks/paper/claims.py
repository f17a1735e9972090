"""What an experiment is to show, and whether its figures do: read from the TOML, held against the means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from benchmarks.paper.results import Key, Summary

# of a claim's table: what differs where the data set's own files are measured, or false where it is not asked there
ON_FILES = "on_files"
# of a claim's table: why it is not asked offline, where nothing could refute it, or nothing could make it hold
UNASKED = "unasked"


@dataclass(frozen=True)
class Claim:
    """One sentence, and the figure that it stands on.

    Attributes:
        text: what is claimed; ``{at:g}`` in it is the figure's.
        measure, method, at: of the figure.
        at_least, at_most: bounds of its mean.
        more_than: a bound that it has to exceed.
        above, below: methods whose figures of the same measure it has to exceed, or stay under.
        not_above: methods whose figures it may reach.
        below_measures: other measures, of the same method, that it has to stay under.
        short_of: method → by how much the figure may fall short of that method's.
    """

    text: str
    measure: str
    method: str = "fdgpu"
    at: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    more_than: float | None = None
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    not_above: tuple[str, ...] = ()
    below_measures: tuple[str, ...] = ()
    short_of: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        others = self.above or self.below or self.not_above or self.below_measures or self.short_of
        bounds = (self.at_least, self.at_most, self.more_than)
        if not others and all(bound is None for bound in bounds):
            raise ValueError(f"the claim {self.text!r} compares with nothing, so nothing could refute it")


@dataclass(frozen=True)
class Verdict:
    """A claim held against figures.

    Attributes:
        claim: what was claimed.
        holds: None where a figure has not been measured.
        figure: the claim's own; None where it has not been measured.
        against: what it has to be, in words.
        close: whether one deviation of the figures could turn the verdict; False where no deviation is known.
    """

    claim: Claim
    holds: bool | None
    figure: Summary | None
    against: str
    close: bool


@dataclass(frozen=True)
class Check:
    """One comparison: ``margin`` is how far the figure is on the right side, None where one is missing."""

    words: str
    margin: float | None
    strict: bool = False
    deviation: float | None = None

    @property
    def holds(self) -> bool | None:
        """Whether it is on the right side; None where nobody knows."""
        if self.margin is None:
            return None
        return self.margin > 0 if self.strict else self.margin >= 0

    @property
    def close(self) -> bool:
        """Whether the margin is within one deviation."""
        return self.margin is not None and self.deviation is not None and abs(self.margin) <= self.deviation


def claims_of(document: Mapping[str, Any], *, on_files: bool = False) -> list[Claim]:
    """Read the ``[[claims]]`` of an experiment's TOML, as they are meant offline or on the data set's own files."""
    entries: Iterable[Mapping[str, Any]] = document.get("claims", [])
    return [
        _claim(entry, on_files)
        for entry in entries
        if (entry.get(ON_FILES) is not False if on_files else UNASKED not in entry)
    ]


def unasked(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the claims that are not asked offline, and why."""
    entries: Iterable[Mapping[str, Any]] = document.get("claims", [])
    return {_claim(entry, on_files=False).text: entry[UNASKED].strip() for entry in entries if UNASKED in entry}


def _claim(entry: Mapping[str, Any], on_files: bool) -> Claim:
    own = {key: value for key, value in entry.items() if key not in (ON_FILES, UNASKED)}
    if on_files:
        own |= entry.get(ON_FILES, {})
    # TOML has lists where a claim has tuples
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in own.items()}
    claim = Claim(**values)
    return replace(claim, text=claim.text.format(at=claim.at))


def verdicts(claims: Iterable[Claim], summaries: Sequence[Summary]) -> list[Verdict]:
    """Hold every claim against the figures; one that is NaN counts as not measured."""
    known = {s.key: s for s in summaries if isfinite(s.mean)}
    return [_verdict(claim, known) for claim in claims]


def _verdict(claim: Claim, known: Mapping[Key, Summary]) -> Verdict:
    figure = known.get((claim.measure, claim.method, claim.at))
    checks = [*_bounds(claim, figure), *_comparisons(claim, figure, known)]
    held = [check.holds for check in checks]
    holds = None if None in held else all(held)
    # one close comparison is enough to lose a claim that holds; all that fail have to turn for one that does not
    close = any(c.close for c in checks) if holds else all(c.close for c in checks if not c.holds)
    return Verdict(claim, holds, figure, ", ".join(c.words for c in checks), close and holds is not None)


def _bounds(claim: Claim, figure: Summary | None) -> list[Check]:
    bounds = (("at least", claim.at_least, 1), ("at most", claim.at_most, -1), ("more than", claim.more_than, 1))
    return [
        Check(
            f"{word} {bound:g}",
            None if figure is None else sign * (figure.mean - bound),
            strict=word == "more than",
            deviation=None if figure is None else figure.known_deviation,
        )
        for word, bound, sign in bounds
        if bound is not None
    ]


def _comparisons(claim: Claim, figure: Summary | None, known: Mapping[Key, Summary]) -> list[Check]:
    def other(method: str) -> Summary | None:
        return known.get((claim.measure, method, claim.at))

    def measure(name: str) -> Summary | None:
        return known.get((name, claim.method, claim.at))

    return [
        *(_compared("above", name, figure, other(name), strict=True) for name in claim.above),
        *(_compared("below", name, figure, other(name), sign=-1, strict=True) for name in claim.below),
        *(_compared("not above", name, figure, other(name), sign=-1) for name in claim.not_above),
        *(_compared("below", name, figure, measure(name), sign=-1, strict=True) for name in claim.below_measures),
        *(
            _compared(f"at most {allowed:g} short of", name, figure, other(name), allowed=allowed)
            for name, allowed in (claim.short_of or {}).items()
        ),
    ]


def _compared(
    word: str,
    name: str,
    figure: Summary | None,
    other: Summary | None,
    *,
    sign: int = 1,
    strict: bool = False,
    allowed: float = 0.0,
) -> Check:
    """Compare with another figure; the deviation is the larger one of the two."""
    if other is None:
        return Check(f"{word} {name} (not measured)", None)
    words = f"{word} {name} {other.mean:.3f}"
    if figure is None:
        return Check(words, None)
    deviations = [d for d in (figure.known_deviation, other.known_deviation) if d is not None]
    return Check(words, sign * (figure.mean - other.mean) + allowed, strict, max(deviations, default=None))
