"""Claims are held against figures and can fail, and the page is made of the stored figures alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.claims import Claim, claims_of, verdicts
from benchmarks.paper.page import PAGE, page
from benchmarks.paper.results import Figure, Summary, summarise
from benchmarks.stored import FOLDER

SEEDS = [
    [
        Figure("gain", "fdgpu", 0.7),
        Figure("gain", "random", 0.5),
        Figure("gain", "base", 0.71),
        Figure("cost", "random", 0.6),
    ],
    [Figure("gain", "fdgpu", 0.5), Figure("gain", "random", 0.5), Figure("gain", "base", 0.51)],
]


@pytest.mark.parametrize(
    ("claim", "holds"),
    [
        (Claim("", "gain", at_least=0.6), True),
        (Claim("", "gain", at_least=0.61), False),
        (Claim("", "gain", at_most=0.59), False),
        (Claim("", "gain", above=("random",)), True),
        (Claim("", "gain", above=("random", "base")), False),
        (Claim("", "gain", method="random", below=("fdgpu", "base")), True),
        (Claim("", "gain", short_of={"base": 0.015}), True),
        (Claim("", "gain", short_of={"base": 0.005}), False),
        (Claim("", "gain", method="random", below_measures=("cost",)), True),
        (Claim("", "gain", method="base", below_measures=("cost",)), None),
        (Claim("", "gain", above=("oracle",)), None),
        (Claim("", "loss", at_least=0.0), None),
    ],
)
def test_a_claim_holds_fails_or_waits(claim: Claim, holds: bool | None) -> None:
    assert verdicts([claim], summarise(SEEDS, {}))[0].holds is holds


def test_a_claim_that_nothing_could_refute_is_none() -> None:
    with pytest.raises(ValueError, match="nothing could refute it"):
        Claim("all is well", "gain")


def test_what_is_stored_is_read_back() -> None:
    for summary in summarise(SEEDS, {("gain", "fdgpu", None): 0.9}):
        assert Summary.of_row(json.loads(json.dumps(summary.row()))).row() == summary.row()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_claim_is_about_figures_that_its_experiment_has(name: str) -> None:
    experiment = EXPERIMENTS[name]
    assert claims_of(experiment.document)
    path = FOLDER / "paper" / f"{name}.json"
    if path.is_file():
        rows = json.loads(path.read_text())["rows"]
        judged = verdicts(claims_of(experiment.document), [Summary.of_row(row) for row in rows])
        assert [verdict.text for verdict in judged if verdict.holds is None] == []


def test_the_page_is_what_the_stored_figures_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(EXPERIMENTS.values(), FOLDER / "paper")


def test_an_experiment_without_figures_says_so(tmp_path: Path) -> None:
    text = page([EXPERIMENTS["celeba"]], tmp_path)
    assert "Not measured yet." in text
    assert " claims 0 hold, 0 do not, " in text
