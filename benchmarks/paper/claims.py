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
    short_of: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not (self.above or self.below or self.short_of) and self.at_least is None and self.at_most is None:
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
    entries = (dict(entry) for entry in document.get("claims", []))
    return [Claim(**{k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}) for entry in entries]


def verdicts(claims: Iterable[Claim], summaries: Sequence[Summary]) -> list[Verdict]:
    """Hold every claim against the figures."""
    means = {(s.measure, s.method, s.at): s.mean for s in summaries}
    return [_verdict(claim, means) for claim in claims]


def _verdict(claim: Claim, means: Values) -> Verdict:
    value = means.get((claim.measure, claim.method, claim.at))
    bounds = ((claim.at_least, "at least", 1), (claim.at_most, "at most", -1))
    rivals = [(other, "above", 1, 0.0) for other in claim.above] + [(other, "below", -1, 0.0) for other in claim.below]
    rivals += [(other, f"at most {x:g} short of", 1, x) for other, x in (claim.short_of or {}).items()]
    checks = [
        (None if value is None else sign * (value - bound) >= 0, f"{word} {bound:g}")
        for bound, word, sign in bounds
        if bound is not None
    ]
    checks += [_compared(claim, means, value, *rival) for rival in rivals]
    known = [held for held, _ in checks if held is not None]
    holds = None if len(known) < len(checks) else all(known)
    return Verdict(claim.text, holds, value, ", ".join(words for _, words in checks))


def _compared(
    claim: Claim, means: Values, value: float | None, other: str, word: str, sign: int, allowed: float
) -> tuple[bool | None, str]:
    rival = means.get((claim.measure, other, claim.at))
    if value is None or rival is None:
        return None, f"{word} {other} (not measured)"
    margin = sign * (value - rival)
    return (margin > 0 if allowed == 0 else margin >= -allowed), f"{word} {other} {rival:.3f}"
