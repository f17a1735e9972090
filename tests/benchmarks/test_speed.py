"""One command, one table: it runs from end to end, refuses what it cannot do, and stores every column."""

from __future__ import annotations

import ast
import csv
import json
from dataclasses import asdict, fields
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

import fdgpu
from benchmarks import stored
from benchmarks.machine import machine
from benchmarks.speed.__main__ import DEVICE_PERMUTATIONS, SETTINGS, main, parse
from benchmarks.speed.ceilings import measure_ceilings
from benchmarks.speed.data import Shape, make
from benchmarks.speed.fitting import Fitting
from benchmarks.speed.permutations import permutation_row
from benchmarks.speed.profiling import HOST, STAGES, WHOLE, profile, profile_table
from benchmarks.speed.rows import PREDICTED, Row, duration, milliseconds, table
from benchmarks.speed.shapes import SHAPES
from fdgpu import FailureDirections

CPU = torch.device("cpu")
no_device = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@no_device
@pytest.mark.slow
def test_it_runs_from_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--quick", "--profile", "--permutations", "3"])
    printed = capsys.readouterr().out
    for text in (
        "commit", "copy, GB/s", "matmul, GFLOP/s", "authors' loop, one core", "scikit-learn, Gram matrix", "liblinear",
        "other objective", "kernel: Gram matrices", "kernel: cross-validation", "kernel: refit", "kernel: caption",
        "with 3 permutations", "H100: cross-validation", "H100: whole fit", "where the time of one fit goes",
    ):  # fmt: skip
        assert text in printed, text
    assert printed.count("H100:") == printed.count("predicted, not") == 15


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


@no_device
@pytest.mark.parametrize("argv", [["--device"], ["--backend", "triton"]], ids=" ".join)
def test_without_a_device_it_says_what_is_missing(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(argv)
    assert "'triton' was asked for, but cannot run here: no CUDA device" in capsys.readouterr().err


def test_defaults_are_every_shape_and_the_estimators_own_settings() -> None:
    arguments = parse([])
    assert arguments.shapes == list(SHAPES)
    fit = FailureDirections()
    assert (fit.Cs, fit.cv, fit.tol, fit.max_iter) == (SETTINGS.Cs, SETTINGS.cv, SETTINGS.tol, SETTINGS.max_iter)
    assert DEVICE_PERMUTATIONS == 1000


def test_csv_and_json_hold_every_column_machine_versions_and_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    rows = [Row("s", "a", "peer", "CPU", "1 of 2", ratio=2.0), Row("s", "b", "predicted", "H100", "none of 2")]
    stored.store("speed", machine(), [asdict(row) for row in rows])
    kept = json.loads((tmp_path / "speed.json").read_text())
    with (tmp_path / "speed.csv").open() as stream:
        lines = list(csv.DictReader(stream))
    columns = {field.name for field in fields(Row)}
    assert columns <= set(kept["rows"][0])
    assert columns | {"processor", "cores", "device", "python", "torch", "commit"} <= set(lines[0])
    assert (lines[0]["ratio"], lines[1]["ratio"]) == ("2.0", "")


def test_table_names_a_shape_once_and_marks_what_is_predicted() -> None:
    rows = [
        Row("CIFAR-10: 10 x 1000", "fdgpu", "fdgpu", "CPU", "all 10", 5, fdgpu_s=0.0123),
        Row("CIFAR-10: 10 x 1000", "H100: refit", "predicted", "H100", "none of 10", fdgpu_s=1e-6, result=PREDICTED),
    ]
    out = StringIO()
    Console(file=out, width=210).print(table(rows))
    printed = out.getvalue()
    assert printed.count("CIFAR-10") == 1
    assert "12.3" in printed
    assert "~0.001" in printed


@pytest.mark.parametrize(
    ("seconds", "digits", "written"),
    [(0.0441, 3, "44.1 ms"), (15.66, 3, "15.7 s"), (0.343, 2, "340 ms"), (0.000049, 2, "0.049 ms")],
)
def test_duration(seconds: float, digits: int, written: str) -> None:
    assert duration(seconds, digits) == written


@pytest.mark.parametrize(("seconds", "written"), [(None, ""), (0.0, "0"), (0.00123456, "1.23"), (1.5, "1500")])
def test_milliseconds(seconds: float | None, written: str) -> None:
    assert milliseconds(seconds) == written


def test_profile_splits_the_whole_fit_into_stages() -> None:
    shape = Shape.even("small: 6 x 64 x 32", 6, 64, 32)
    problem = make(shape)
    Fitting(problem, "numba")()
    profiled = profile(shape, problem, "numba")
    assert sum(profiled.stages.values()) == pytest.approx(profiled.whole)
    for name in ("gather, whiten and Gram matrices", "cross-validation", "refit", "assemble"):
        assert 0 < profiled.stages[name] < profiled.whole, name
    assert 0 < profiled.host < profiled.whole
    assert set(HOST) < set(profiled.stages)
    assert len(profile_table([profiled]).rows) == len(STAGES) + 2


def test_functions_that_begin_a_stage_are_there() -> None:
    """A stage whose function was renamed would silently take no time."""
    root = Path(fdgpu.__file__).parent
    for file, function in {WHOLE, *(one for stage in STAGES for one in (*stage.functions, *stage.without))}:
        defined = [node.name for node in ast.walk(ast.parse((root / file).read_text())) if hasattr(node, "name")]
        assert function in defined, (file, function)


def test_ceilings_are_positive_and_leave_no_setting_behind() -> None:
    before = torch.get_float32_matmul_precision()
    ceilings = measure_ceilings(CPU, repeats=1, scale=1 / 256)
    assert ceilings.copy > 0
    assert ceilings.matmul > 0
    assert torch.get_float32_matmul_precision() == before


def test_permutations_are_measured_where_they_were_asked_for() -> None:
    row = permutation_row(Shape.even("small: 2 x 40 x 8", 2, 40, 8), "numba", 3)
    assert row.line == "fdgpu with 3 permutations a class"
    assert row.total_s > 0
