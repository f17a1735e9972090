"""The page is made of the stored figures alone, offline and on files, and says what did not come out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.claims import claims_of, verdicts
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.page import PAGE, page
from benchmarks.paper.results import Figure, summarise
from benchmarks.stored import FOLDER

RESULTS = FOLDER / "paper"
MACHINE = {"processor": "an abacus", "cores": "2", "device": "none", "torch": "2", "commit": "abc"}
ABOUT: dict[str, Any] = {
    "page": {
        "title": "Beads: which are hard?",
        "text": "Red and blue {beads}.",
        "settings": "{train[photographs]} in training.",
        "files": "`beads.csv`",
        "tried": [
            {"of": ["share"], "text": "The beads were polished."},
            {"of": ["rise"], "text": "The abacus was turned."},
        ],
    },
    "offline": {"beads": ["pearls", "shells"], "train": {"split": "base", "start": 100, "stop": 400}},
    "claims": [
        {"text": "Of the {at:g} hardest", "measure": "share", "at": 50, "at_least": 0.5, "on_files": {"at": 10}},
        {"text": "It rises", "measure": "rise", "more_than": 0.0, "on_files": False},
        {"text": "Pictures help", "measure": "gain", "at_least": 0.1},
        {"text": "At {at:g} it is one", "measure": "share", "at": 10, "at_least": 1.0, "unasked": "It is {beads[0]}."},
    ],
}


@pytest.fixture
def beads() -> Experiment:
    """An experiment that is only read, and concludes how much the share rises."""

    def conclude(means: Any) -> list[Figure]:
        share = {f.at: f.value for f in means if f.measure == "share"}
        return [Figure("rise", "fdgpu", share.get(50, 0.0) - share[10])]

    experiment = replace(EXPERIMENTS["cifar10"], name="beads", panels=(), conclude=conclude)
    experiment.__dict__["document"] = ABOUT  # where the property keeps what it has read
    return experiment


def write(folder: Path, name: str, *seeds: list[Figure]) -> None:
    rows = [summary.row() for summary in summarise(seeds, {})]
    (folder / f"{name}.json").write_text(json.dumps({"machine": MACHINE, "rows": rows}))


def shares(*values: float) -> list[Figure]:
    return [Figure("share", "fdgpu", value, at) for value, at in zip(values, (10, 50), strict=False)]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_claim_is_about_figures_that_its_experiment_has(name: str) -> None:
    experiment = EXPERIMENTS[name]
    claims = claims_of(experiment.document)
    assert claims
    path = RESULTS / f"{name}.json"
    if path.is_file():
        judged = verdicts(claims, experiment.stored(path)[1])
        assert [verdict.claim.text for verdict in judged if verdict.holds is None] == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_claim_that_does_not_hold_has_words_on_what_was_tried(name: str) -> None:
    experiment, path = EXPERIMENTS[name], RESULTS / f"{name}.json"
    entries = experiment.document["page"].get("tried", [])
    measures = {claim.measure for claim in claims_of(experiment.document)}
    assert {measure for entry in entries for measure in entry["of"]} <= measures
    if path.is_file():
        judged = verdicts(claims_of(experiment.document), experiment.stored(path)[1])
        lost = {verdict.claim.measure for verdict in judged if verdict.holds is False}
        assert lost <= {measure for entry in entries for measure in entry["of"]}


@pytest.mark.parametrize("name", EXPERIMENTS)
@pytest.mark.parametrize("on_files", [False, True])
def test_no_two_claims_of_an_experiment_say_the_same(name: str, on_files: bool) -> None:
    texts = [claim.text for claim in claims_of(EXPERIMENTS[name].document, on_files=on_files)]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("name", [name for name, own in EXPERIMENTS.items() if own.on_files])
def test_what_is_claimed_on_files_is_at_a_k_that_is_measured_there(name: str) -> None:
    document = EXPERIMENTS[name].document
    assert "files" in document["page"]
    settings = document["on_files"]
    known = {
        value for key in ("top", "shares", "alphas") if isinstance(own := settings.get(key), list) for value in own
    }
    assert {claim.at for claim in claims_of(document, on_files=True)} <= known | {None}


def test_the_page_is_what_the_stored_figures_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(EXPERIMENTS.values(), RESULTS)


def test_an_experiment_without_figures_says_so(tmp_path: Path) -> None:
    text = page([EXPERIMENTS["celeba"]], tmp_path)
    assert "Not measured yet." in text
    assert " claims 0 hold, 0 do not, " in text
    assert "What did not come out" not in text


def test_settings_stand_in_the_text(beads: Experiment, tmp_path: Path) -> None:
    text = page([beads], tmp_path)
    assert "Red and blue pearls, shells." in text
    assert "Settings: 300 in training." in text


def test_only_what_does_not_hold_has_its_story(beads: Experiment, tmp_path: Path) -> None:
    write(tmp_path, "beads", shares(0.2, 0.4), shares(0.2, 0.4))
    text = page([beads], tmp_path)
    assert "**What did not come out, and what was tried**\n\nThe beads were polished.\n" in text
    assert "The abacus was turned." not in text
    write(tmp_path, "beads", shares(0.8, 0.9), shares(0.8, 0.9))
    assert "What did not come out" not in page([beads], tmp_path)


def test_what_follows_from_means_has_the_deviation_of_its_seeds(beads: Experiment, tmp_path: Path) -> None:
    """The rise is 0.1 and 0.3: 0.2, and 0.02 ** 0.5 = 0.141; stored conclusions of another day are not believed."""
    stale = [Figure("rise", "fdgpu", -1.0)]
    write(tmp_path, "beads", shares(0.5, 0.6) + stale, shares(0.5, 0.8) + stale)
    text = page([beads], tmp_path)
    assert "| It rises | 0.200 ± 0.141 | more than 0 | yes |" in text
    assert "-1.000" not in text
    write(tmp_path, "beads", shares(0.5, 0.4), shares(0.5, 0.7))
    assert "| It rises | 0.050 ± 0.212 | more than 0 | yes, within one deviation |" in page([beads], tmp_path)


def test_what_is_on_files_stands_in_a_part_of_its_own(beads: Experiment, tmp_path: Path) -> None:
    write(tmp_path, "beads", shares(0.2, 0.6), shares(0.2, 0.6))
    text = page([beads], tmp_path)
    assert "Not measured on the data set's own files: `python -m benchmarks.paper beads --data FOLDER --write`" in text
    assert "on the data sets' own files" not in text
    write(tmp_path, "beads_files", shares(0.3), shares(0.3))
    offline, on_files = page([beads], tmp_path).split("### Beads, on the data set's own files")
    assert "Of 3 claims 2 hold, 0 do not, 1 wait" in offline
    assert "Of 3 claims on the data sets' own files 0 hold, 2 do not, 1 wait" in offline
    assert "1 more are not counted" in offline
    assert "Not asked: *At 10 it is one*. It is pearls." in offline
    assert "| At 10 it is one | 0.300 ± 0.000 | at least 1 | **no** |" in on_files
    assert "| Of the 50 hardest | 0.600 ± 0.000 | at least 0.5 | yes |" in offline
    assert "| Of the 10 hardest | 0.300 ± 0.000 | at least 0.5 | **no** |" in on_files
    assert "| Pictures help | – | at least 0.1 | not measured |" in on_files
    assert "It rises" not in on_files
    assert "beads_files.svg" in on_files
    assert "Measured on an abacus (2 cores, no GPU)" in on_files
