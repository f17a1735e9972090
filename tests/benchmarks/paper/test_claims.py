"""Claims are held against figures: they can fail, wait, and be within one deviation of turning."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.paper.claims import Claim, claims_of, verdicts
from benchmarks.paper.results import Figure, Summary, summarise

SEEDS = [
    [
        Figure("gain", "fdgpu", 0.7),
        Figure("gain", "random", 0.5),
        Figure("gain", "base", 0.71),
        Figure("gain", "twin", 0.5),
        Figure("cost", "random", 0.6),
        Figure("rise", "fdgpu", 0.0),
        Figure("nothing", "fdgpu", float("nan")),
    ],
    [
        Figure("gain", "fdgpu", 0.5),
        Figure("gain", "random", 0.5),
        Figure("gain", "base", 0.51),
        Figure("gain", "twin", 0.5),
        Figure("rise", "fdgpu", 0.0),
    ],
]


def held(claim: Claim) -> bool | None:
    return verdicts([claim], summarise(SEEDS, {}))[0].holds


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (Claim("", "gain", at_least=0.6), True),
        (Claim("", "gain", at_least=0.61), False),
        (Claim("", "gain", at_most=0.59), False),
        (Claim("", "gain", above=("random",)), True),
        (Claim("", "gain", above=("random", "base")), False),
        (Claim("", "gain", method="random", above=("twin",)), False),
        (Claim("", "gain", method="random", below=("fdgpu", "base")), True),
        (Claim("", "gain", method="random", below=("twin",)), False),
        (Claim("", "gain", method="random", not_above=("twin",)), True),
        (Claim("", "gain", not_above=("random",)), False),
        (Claim("", "gain", short_of={"base": 0.015}), True),
        (Claim("", "gain", short_of={"base": 0.005}), False),
        (Claim("", "gain", method="random", below_measures=("cost",)), True),
        (Claim("", "gain", method="base", below_measures=("cost",)), None),
        (Claim("", "gain", above=("oracle",)), None),
        (Claim("", "loss", at_least=0.0), None),
        (Claim("", "rise", at_least=0.0), True),
        (Claim("", "rise", more_than=0.0), False),
        (Claim("", "nothing", at_least=0.0), None),
    ],
)
def test_a_claim_holds_fails_or_waits(claim: Claim, holds: bool | None) -> None:
    assert held(claim) is holds


def test_a_claim_that_nothing_could_refute_is_none() -> None:
    with pytest.raises(ValueError, match="nothing could refute it"):
        Claim("all is well", "gain")


def summary(method: str, mean: float, deviation: float, seeds: int = 5) -> Summary:
    return Summary("share", method, None, mean, deviation, (mean,) * seeds, None)


@pytest.mark.parametrize(
    ("claim", "close"),
    [
        (Claim("", "share", at_least=0.75), True),  # holds, by half a deviation
        (Claim("", "share", at_least=0.85), True),  # does not, by half a deviation
        (Claim("", "share", at_least=0.65), False),
        (Claim("", "share", above=("far",)), False),
        (Claim("", "share", above=("near",)), True),
        (Claim("", "share", above=("wide",)), True),  # the other one's deviation is the larger
        (Claim("", "share", above=("near", "far")), True),  # one lost comparison is enough to lose it
        (Claim("", "share", below=("near", "far")), False),  # and one that stays lost to keep it so
        (Claim("", "share", method="once", at_least=0.75), False),  # nobody knows its deviation
        (Claim("", "share", above=("missing",)), False),
    ],
)
def test_a_verdict_is_close_if_one_deviation_could_turn_it(claim: Claim, close: bool) -> None:
    figures = [
        summary("fdgpu", 0.8, 0.1),
        summary("near", 0.75, 0.01),
        summary("far", 0.5, 0.01),
        summary("wide", 0.5, 0.4),
        summary("once", 0.8, 0.0, seeds=1),
    ]
    assert verdicts([claim], figures)[0].close is close


def test_a_claim_may_be_another_one_on_files_or_none() -> None:
    entries: list[dict[str, Any]] = [
        {"text": "the {at:g} hardest", "measure": "share", "at": 50, "above": ["random"], "on_files": {"at": 10}},
        {"text": "all", "measure": "share", "at_least": 0.5, "on_files": {"method": "ResNet-50", "text": "all of it"}},
        {"text": "of what is bundled", "measure": "share", "at_least": 0.5, "on_files": False},
    ]
    offline = claims_of({"claims": entries})
    assert [(c.text, c.method, c.at) for c in offline] == [
        ("the 50 hardest", "fdgpu", 50),
        ("all", "fdgpu", None),
        ("of what is bundled", "fdgpu", None),
    ]
    assert [(c.text, c.method, c.at) for c in claims_of({"claims": entries}, on_files=True)] == [
        ("the 10 hardest", "fdgpu", 10),
        ("all of it", "ResNet-50", None),
    ]
