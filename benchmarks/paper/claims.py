"""What an experiment is to show, and whether its figures do: read from the TOML, held against the means over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.paper.results import Summary

Values = Mapping[tuple[str, str, float | None], float]


@dataclass(frozen=True)
class Claim:
    """One sentence, and the figure that it stands on.

    Attributes:
        text: what is claimed.
        measure, method, at: of the figure.
        at_least, at_most: bounds of its mean.
        above, below: methods whose figures of the same measure it has to exceed, or stay under.
        below_measures: other measures, of the same method, that it has to stay under.
        short_of: method → by how much the figure may fall short of that method's.
    """

    text: str
    measure: str
    method: str = "fdgpu"
    at: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    above: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    below_measures: tuple[str, ...] = ()
    short_of: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if (
            not (self.above or self.below or self.below_measures or self.short_of)
            and self.at_least is None
            and self.at_most is None
        ):
            raise ValueError(f"the claim {self.text!r} compares with nothing, so nothing could refute it")


@dataclass(frozen=True)
class Verdict:
    """A claim held against figures: ``holds`` is None where a figure has not been measured."""

    text: str
    holds: bool | None
    value: float | None
    against: str


def claims_of(document: Mapping[str, Any]) -> list[Claim]:
    """Read the ``[[claims]]`` of an experiment's TOML."""
    entries: Iterable[Mapping[str, Any]] = document.get("claims", [])
    return [_claim(entry) for entry in entries]


def _claim(entry: Mapping[str, Any]) -> Claim:
    # TOML has lists where a claim has tuples
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Claim(**values)


def verdicts(claims: Iterable[Claim], summaries: Sequence[Summary]) -> list[Verdict]:
    """Hold every claim against the figures."""
    means = {(s.measure, s.method, s.at): s.mean for s in summaries}
    return [_verdict(claim, means) for claim in claims]


def _verdict(claim: Claim, means: Values) -> Verdict:
    value = means.get((claim.measure, claim.method, claim.at))
    bounds = ((claim.at_least, "at least", 1), (claim.at_most, "at most", -1))
    rivals = [(other, claim.measure, other, "above", 1, 0.0) for other in claim.above]
    rivals += [(other, claim.measure, other, "below", -1, 0.0) for other in claim.below]
    rivals += [(other, other, claim.method, "below", -1, 0.0) for other in claim.below_measures]
    allowances = (claim.short_of or {}).items()
    rivals += [(other, claim.measure, other, f"at most {x:g} short of", 1, x) for other, x in allowances]
    checks = [
        (None if value is None else sign * (value - bound) >= 0, f"{word} {bound:g}")
        for bound, word, sign in bounds
        if bound is not None
    ]
    for name, measure, method, word, sign, allowed in rivals:
        rival = means.get((measure, method, claim.at))
        checks.append((_compared(value, rival, sign, allowed), f"{word} {name} {_number(rival)}"))
    known = [held for held, _ in checks if held is not None]
    holds = None if len(known) < len(checks) else all(known)
    return Verdict(claim.text, holds, value, ", ".join(words for _, words in checks))


def _compared(value: float | None, rival: float | None, sign: int, allowed: float) -> bool | None:
    """Whether a figure is beyond its rival, or not too far short of it; None where one is missing."""
    if value is None or rival is None:
        return None
    margin = sign * (value - rival)
    return margin > 0 if allowed == 0 else margin >= -allowed


def _number(value: float | None) -> str:
    return "(not measured)" if value is None else f"{value:.3f}"
