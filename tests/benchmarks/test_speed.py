"""One command, one table: it runs from end to end, refuses what it cannot do, and stores every column."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import stored
from benchmarks.machine import machine
from benchmarks.speed.__main__ import main, parse
from benchmarks.speed.data import SHAPES, Shape
from benchmarks.speed.measuring import permutation_row
from benchmarks.speed.rows import Row, duration, milliseconds, table


@pytest.mark.slow
def test_it_runs_from_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--permutations", "3"])
    printed = capsys.readouterr().out
    for text in (
        "commit", "authors' loop, one core", "scikit-learn, Gram matrix", "liblinear", "other objective",
        "with 3 permutations",
    ):  # fmt: skip
        assert text in printed, text


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--quick", "--write"], "--quick measures nothing worth keeping"),
        (["--repeats", "0"], "--repeats has to be at least 1"),
        (["--shapes", "mnist"], "invalid choice: 'mnist'"),
    ],
)
def test_what_makes_no_sense_is_refused(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(argv)
    assert says in capsys.readouterr().err


def test_without_a_choice_every_shape_is_measured() -> None:
    assert parse([]).shapes == list(SHAPES)


def test_csv_and_json_hold_every_column_machine_versions_and_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    rows = [Row("s", "a", "peer", "CPU", "1 of 2", ratio=2.0), Row("s", "b", "fdgpu", "CPU", "all 2")]
    stored.store("speed", machine(), [asdict(row) for row in rows])
    kept = json.loads((tmp_path / "speed.json").read_text())
    with (tmp_path / "speed.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    columns = {field.name for field in fields(Row)}
    assert columns <= set(kept["rows"][0])
    assert columns | {"processor", "cores", "device", "python", "torch", "commit"} <= set(lines[0])
    assert (lines[0]["ratio"], lines[1]["ratio"]) == ("2.0", "")


def test_table_names_a_shape_once() -> None:
    rows = [
        Row("CIFAR-10: 10 x 1000", "fdgpu", "fdgpu", "CPU", "all 10", 5, fdgpu_s=0.0123),
        Row("CIFAR-10: 10 x 1000", "liblinear", "peer", "CPU", "2 of 10", 5, peer_s=1.5),
    ]
    out = StringIO()
    Console(file=out, width=160).print(table(rows))
    printed = out.getvalue()
    assert printed.count("CIFAR-10") == 1
    assert "12.3" in printed
    assert "1500" in printed


@pytest.mark.parametrize(
    ("seconds", "digits", "written"),
    [(0.0441, 3, "44.1 ms"), (15.66, 3, "15.7 s"), (0.343, 2, "340 ms"), (0.000049, 2, "0.049 ms")],
)
def test_duration(seconds: float, digits: int, written: str) -> None:
    assert duration(seconds, digits) == written


@pytest.mark.parametrize(("seconds", "written"), [(None, ""), (0.0, "0"), (0.00123456, "1.23"), (1.5, "1500")])
def test_milliseconds(seconds: float | None, written: str) -> None:
    assert milliseconds(seconds) == written


def test_permutations_are_measured_where_they_were_asked_for() -> None:
    row = permutation_row(Shape.even("small: 2 x 40 x 8", 2, 40, 8), "numba", 3)
    assert row.line == "fdgpu with 3 permutations a class"
    assert row.total_s > 0
