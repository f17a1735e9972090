"""What was measured is read again, what was broken off goes on, and comparisons are paired by seed."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_rel

from benchmarks.discovery import __main__ as command
from benchmarks.discovery import running
from benchmarks.discovery.comparing import by_seed, difference, rivals_ahead, stored_rows, tables
from benchmarks.discovery.methods import LATENT, Lines
from benchmarks.discovery.metric import Found
from benchmarks.discovery.misses import KINDS, classes_of, slice_of
from benchmarks.discovery.problem import Problem
from benchmarks.discovery.running import Measured, measurements, read, run
from benchmarks.discovery.worlds import one_class


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Three small problems in place of *hard*, and two methods that say when they are called."""
    made: list[tuple[str, str]] = []

    def method(name: str) -> object:
        def call(problem: Problem) -> Lines:
            made.append((problem.part, name))
            return {name: Found(problem.truth * 1.0)}

        return call

    def small(seed: int) -> object:
        return one_class("hard", seed, 80, 4, ((0.2, 3), (0.3, 3), (0.4, 3)))

    monkeypatch.setattr(running, "WORLDS", {"hard": small, "null": small})
    monkeypatch.setattr(running, "METHODS", {name: method(name) for name in ("svm", "probe")})
    return made


def test_what_was_measured_is_not_measured_again(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    record = tmp_path / "new" / "measured.jsonl"
    run("hard", 0, ["svm"], tmp_path, record)
    assert calls == [(part, "svm") for part in ("0.2 at 3", "0.3 at 3", "0.4 at 3")]
    run("hard", 0, ["svm", "probe"], tmp_path, record)
    run("hard", 0, ["svm", "probe"], tmp_path, record)
    assert calls[3:] == [(part, "probe") for part in ("0.2 at 3", "0.3 at 3", "0.4 at 3")]
    run("hard", 1, ["svm"], tmp_path, record)
    assert len(calls) == 9
    rows = measurements(read(record))
    assert len(rows) == 9
    assert all(row.lines[row.method]["area"] == 1.0 for row in rows)


def test_an_interrupted_run_goes_on_and_a_broken_line_is_no_result(
    calls: list[tuple[str, str]], tmp_path: Path
) -> None:
    record = tmp_path / "measured.jsonl"
    run("hard", 0, ["svm"], tmp_path, record)
    lines = [line for line in record.read_text().splitlines() if line]
    record.write_text(lines[0] + "\n" + lines[1][:40])
    calls.clear()
    run("hard", 0, ["svm"], tmp_path, record)
    assert calls == [("0.3 at 3", "svm"), ("0.4 at 3", "svm")]
    assert len(measurements(read(record))) == 3


def test_what_another_source_measured_does_not_count(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    record = tmp_path / "measured.jsonl"
    run("hard", 0, ["svm"], tmp_path, record)
    lines = [json.loads(line) for line in record.read_text().splitlines() if line]
    record.write_text("\n".join(json.dumps(line | {"source": "other"}) for line in lines))
    assert read(record) == []
    run("hard", 0, ["svm"], tmp_path, record)
    assert len(calls) == 6


def test_only_methods_that_test_are_asked_about_null_worlds(calls: list[tuple[str, str]], tmp_path: Path) -> None:
    run("null", 0, ["svm", "probe"], tmp_path, tmp_path / "measured.jsonl")
    assert {name for _, name in calls} == {"svm"}


def test_own_methods_depend_on_more_source_than_rivals_do() -> None:
    assert running.source_of("svm") == running.source_of("latent") != running.source_of("domino")
    assert running.source_of("domino") == running.source_of("random")


def test_trained_problems_are_kept_and_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained = []

    def made(seed: int) -> object:
        trained.append(("celeba", seed))
        return one_class("celeba", seed, 40, 3, ((0.3, 2),) * 11)

    monkeypatch.setattr(running, "TRAINED", {"celeba": made})
    first = list(running.problems("celeba", 3, tmp_path))
    again = list(running.problems("celeba", 3, tmp_path))
    assert trained == [("celeba", 3)]
    for one, other, drawn in zip(first, again, one_class("celeba", 3, 40, 3, ((0.3, 2),) * 11), strict=True):
        np.testing.assert_array_equal(one.val.x, drawn.val.x)
        np.testing.assert_array_equal(one.test.loss, other.test.loss)


# --- comparing ------------------------------------------------------------------------------------------------------


def row(line: str, seed: int, value: float, part: str = "a", measure: str = "area") -> Measured:
    return Measured("hard", part, seed, "svm", {line: {measure: value}}, 2.0, "")


def rows(line: str, values: list[float], measure: str = "area") -> list[Measured]:
    return [row(line, seed, value, measure=measure) for seed, value in enumerate(values)]


OURS = [0.5, 0.6, 0.4, 0.55]


def test_parts_are_averaged_within_a_seed_before_seeds_are() -> None:
    seeds = by_seed([row("x", 0, 0.2), row("x", 0, 0.4, "b"), row("x", 1, 0.8)])
    assert seeds["hard", "", "x", "area"] == {0: pytest.approx(0.3), 1: 0.8}
    assert seeds["hard", "a", "x", "area"] == {0: 0.2, 1: 0.8}
    assert seeds["hard", "", "x", "seconds"] == {0: 2.0, 1: 2.0}


def test_a_problem_without_a_part_counts_once() -> None:
    assert by_seed([row("x", 0, 0.2, part="")])["hard", "", "x", "area"] == {0: 0.2}


@pytest.mark.parametrize("gaps", [[0.1, 0.12, 0.08, 0.11], [0.1, -0.2, 0.3, 0.05], [-0.1, -0.12, -0.1, -0.1]])
def test_beyond_noise_is_what_a_paired_t_test_says(gaps: list[float]) -> None:
    other = [own + gap for own, gap in zip(OURS, gaps, strict=True)]
    gap = difference(dict(enumerate(OURS)), dict(enumerate(other)))
    assert gap.mean == pytest.approx(-np.mean(gaps))
    assert gap.beyond_noise == (np.mean(gaps) > 0 and ttest_rel(OURS, other).pvalue < 0.05)


def test_only_seeds_of_both_are_compared_and_one_seed_says_nothing() -> None:
    gap = difference({0: 0.1, 1: 0.2, 7: 0.0}, {0: 0.3, 1: 0.4, 2: 9.0})
    assert (gap.seeds, gap.mean) == (2, pytest.approx(-0.2))
    assert gap.beyond_noise
    assert not difference({0: 0.1}, {0: 0.9}).beyond_noise
    assert not difference({0: 0.5, 1: 0.5}, {0: 0.5, 1: 0.5}).beyond_noise


def test_a_rival_that_is_ahead_is_named_and_marked_and_a_ceiling_is_not() -> None:
    ahead = [value + gap for value, gap in zip(OURS, [0.2, 0.21, 0.19, 0.2], strict=True)]
    seeds = by_seed(
        rows(LATENT, OURS) + rows("Spotlight", ahead) + rows("probe told the truth", ahead) + rows("few", ahead[:2])
    )
    said = rivals_ahead(seeds)
    assert [line.split(":")[1].split(" is ")[0].strip() for line in said] == ["Spotlight", "few"]
    assert "hard, area: Spotlight is better by 0.200 ± 0.004" in said
    out = StringIO()
    for table in tables(seeds):
        Console(file=out, width=120).print(table)
    assert f"{np.mean(ahead):.3f} ±{np.std(ahead, ddof=1):.3f}*" in out.getvalue()
    assert "few (2)" in out.getvalue()
    kept = {(one["part"], one["method"]): one for one in stored_rows(seeds) if one["measure"] == "area"}
    assert kept["", "Spotlight"]["better than latent"] is True
    assert kept["", "Spotlight"]["latent minus it"] == pytest.approx(-0.2)
    assert kept["", LATENT]["better than latent"] == kept["a", "Spotlight"]["better than latent"] == ""
    assert {tuple(one) for one in kept.values()} == {tuple(kept["", LATENT])}


def test_nothing_is_claimed_without_latent_directions_or_of_errors() -> None:
    assert "was not measured" in rivals_ahead(by_seed(rows("Spotlight", OURS)))[0]
    errors = "errors in top 10"
    seeds = by_seed(rows(LATENT, OURS, errors) + rows("confidence", [1.0] * 4, errors))
    assert rivals_ahead(seeds) == ["No rival is better beyond noise."]


def test_the_command_measures_prints_and_stores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = {}
    monkeypatch.setattr(command, "store", lambda name, _, kept: stored.update({name: kept}))
    line = f"--seeds 3-4 --settings hard --methods random,confidence --cache {tmp_path} --write"
    monkeypatch.setattr("sys.argv", ["discovery", *line.split()])
    command.main()
    out = capsys.readouterr().out
    assert "hard, 2 seeds" in out
    assert "confidence" in out
    (kept,) = stored.values()
    assert list(stored) == ["discovery_3-4"]
    assert {one["seeds"] for one in kept} == {2}


@pytest.mark.parametrize(
    ("line", "says"),
    [("--seeds 4-3", "no seed"), ("--seeds 1 --methods svn", "methods svn: use"), ("--seeds 1 --settings x", "celeba")],
)
def test_impossible_requests_are_named(
    line: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["discovery", *line.split()])
    with pytest.raises(SystemExit):
        command.arguments()
    assert says in capsys.readouterr().err


def test_a_minority_that_the_model_gets_right_is_told_apart_from_one_that_it_fails_on() -> None:
    """What a miss means depends on it: nobody can find a failure that is not there."""
    failing = next(one_class("hard", 3, 1200, 8, ((0.3, 4),)))
    ((kind, values),) = classes_of(failing, 20)
    wrong, inside = ~failing.val.correct, failing.val_truth[:, 0]
    assert values["gap"] == pytest.approx(wrong[inside].mean() - wrong[~inside].mean())
    assert kind == KINDS[2]
    assert values["fdgpu, latent, vectors alone"] == 1.0
    turned = np.random.default_rng(0).permutation(len(inside))
    unrelated = replace(failing, val_truth=failing.val_truth[turned], truth=failing.truth[turned[: len(failing.truth)]])
    ((kind, values),) = classes_of(unrelated, 20)
    assert kind == KINDS[0]
    assert values["fdgpu, latent, vectors alone"] < 0.7


def test_a_slice_that_is_found_is_a_fixed_point_and_its_truth_foretells_no_more() -> None:
    problem = next(one_class("hard", 3, 1200, 8, ((0.3, 4),)))
    line = slice_of(problem)
    assert line["slice of class"] == f"{problem.val_truth.sum()} of 600"
    found, told, begun = (float(value) for value in str(line["area, found / told / begun"]).split(" / "))
    assert found > 0.97
    assert begun == pytest.approx(found, abs=0.01)
    assert told >= found - 0.01
    nats_found, nats_told = (float(value) for value in str(line["nats held out, found / told"]).split(" / "))
    assert nats_found > 3
    assert nats_found == pytest.approx(nats_told, rel=0.2)
