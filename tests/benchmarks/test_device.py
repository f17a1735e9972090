"""The run that measures everything on a device: it goes through on the CPU, and no part takes the others down."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, fields
from functools import partial
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import SVC, LinearSVC

from benchmarks import machine
from benchmarks.device import run, solving
from benchmarks.device.__main__ import about, main, parse
from benchmarks.device.record import DIFFERENT, HEADER, Record, Row, below, beside, cells
from benchmarks.device.run import PARTS, Setting, measure_parts
from benchmarks.device.sizes import SMALL
from benchmarks.device.solving import EstimatorLoop
from benchmarks.device.vectors import copy_rate, matmul_rate, operations
from benchmarks.speed import measuring
from fdgpu.device import Choice
from fdgpu.directions import estimator, parameters
from fdgpu.directions.cuml_backend import CumlBackend
from tests.directions.cuml_stand_in import stand_in

ON_CPU = Setting("cpu", SMALL)
no_device = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.mark.slow
def test_it_runs_from_end_to_end_on_the_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--cpu", "--budget", "3600", "--out", str(tmp_path / "results")])
    printed = capsys.readouterr().out
    assert printed.rstrip() == (tmp_path / "results" / "device.md").read_text().rstrip()
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"device.md", "device.json"}
    kept = json.loads((tmp_path / "results" / "device.json").read_text())
    assert {"processor", "cores", "device", "torch", "fdgpu", "commit", "date", "command"} <= set(kept["about"])
    assert list(kept["seconds"]) == list(PARTS)
    rows = [Row(**row) for row in kept["rows"]]
    assert {row.part for row in rows} == set(PARTS)
    for row in rows:
        assert "failed" not in row.note, row
        assert "left out" not in row.note, row
    compared = [row for row in rows if row.difference is not None and ", ivf," not in row.what]
    assert {row.part for row in compared} == {
        "solver", "permutations", "captions", "images", "audit", "index", "decoding"
    }  # fmt: skip
    for row in compared:  # both sides found the same, so that there is a ratio
        assert row.ratio == pytest.approx(row.theirs / row.ours, rel=0.05), row  # decoding rounds its seconds
    for part in ("alignment", "captions", "images"):
        assert any(row.share and row.share > 0 for row in rows if row.part == part)
    assert all(row.peak_gb is None for row in rows)
    assert any("skipped" in row.note or "passed" in row.note for row in rows if row.part == "tests")
    assert any("crossings" in row.note for row in rows if row.part == "audit")
    assert any("pip install 'fdgpu[gpu-cu12]'" in row.note for row in rows if row.part == "cuml")


@pytest.mark.slow
def test_a_part_that_fails_or_takes_its_process_down_costs_only_itself(tmp_path: Path) -> None:
    record = Record(tmp_path, {})
    parts = dict.fromkeys(("raises", "dies", "missing", "works"), "tests.benchmarks.failing_parts")
    measure_parts(parts, ON_CPU, record, budget_s=300)
    assert [(row.part, row.note) for row in record.rows] == [
        ("raises", ""),
        ("raises", "failed: ValueError: a kernel did something wrong"),
        ("dies", ""),
        ("dies", "failed: it gave no reason; its process ended with -11"),
        (
            "missing",
            "failed: AttributeError: module 'tests.benchmarks.failing_parts' has no attribute 'missing'",
        ),
        ("works", ""),
    ]
    assert json.loads((tmp_path / "device.json").read_text())["rows"] == [asdict(row) for row in record.rows]
    assert set(record.seconds) == set(parts)


@pytest.mark.slow
def test_a_part_that_hangs_is_ended_and_what_is_left_is_named(tmp_path: Path) -> None:
    record = Record(tmp_path, {})
    measure_parts(dict.fromkeys(("hangs", "works"), "tests.benchmarks.failing_parts"), ON_CPU, record, budget_s=2)
    assert [(row.part, row.note) for row in record.rows] == [
        ("hangs", "failed: the seconds of the run were spent"),
        ("works", "left out: the 2 s of the run were spent"),
    ]


@pytest.fixture
def cuml_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of cuML's solvers, and the backend that asks the first, with stand-ins and without a device."""
    stand_in(monkeypatch)
    monkeypatch.setattr(parameters, "choose_backend", lambda name: Choice(name, "asked for by name"))
    own = estimator.backend_named
    monkeypatch.setattr(estimator, "backend_named", lambda *on: CumlBackend("cpu") if on[0] == "cuml" else own(*on))
    monkeypatch.setattr(measuring, "device_of", lambda _: torch.device("cpu"))
    monkeypatch.setattr(solving, "why_no_cuml", lambda: None)
    svc, linear = (partial(kind, class_weight="balanced", random_state=0) for kind in (SVC, LinearSVC))
    loops = [
        EstimatorLoop("cuML SVC", lambda cost: svc(kernel="linear", C=cost), np.asarray),
        EstimatorLoop("cuML LinearSVC", lambda cost: linear(loss="hinge", C=cost, max_iter=10**6), np.asarray),
    ]
    monkeypatch.setattr(solving, "cuml_loops", lambda: loops)


@pytest.mark.usefixtures("cuml_on_the_cpu")
def test_cuml_is_compared_and_liblinears_answer_gets_no_ratio() -> None:
    fdgpu, svc, linear, backend = solving.cuml(ON_CPU)
    assert (fdgpu.part, fdgpu.ratio) == ("cuml", None)
    assert svc.against == "cuML SVC"
    assert svc.ratio == pytest.approx(svc.theirs / svc.ours)
    assert linear.ratio is None  # liblinear penalises the intercept: it finds something else
    assert DIFFERENT in linear.note
    assert backend.against == 'backend="cuml"'
    assert backend.difference <= solving.MOST_APART
    assert backend.ratio is not None


def test_rows_are_kept_as_they_come(tmp_path: Path) -> None:
    record = Record(tmp_path, {"commit": "abc"})
    assert json.loads((tmp_path / "device.json").read_text()) == {"about": {"commit": "abc"}, "seconds": {}, "rows": []}
    ours, theirs = Pipe(duplex=False)
    theirs.send(Row("solver", "a shape", 0.5, "s"))
    assert run._rows_of_a_part(ours, record, time.monotonic()) == "the seconds of the run were spent"
    assert json.loads((tmp_path / "device.json").read_text())["rows"][0]["what"] == "a shape"
    theirs.send(None)
    assert run._rows_of_a_part(ours, record, time.monotonic()) is None
    theirs.close()
    assert run._rows_of_a_part(ours, record, time.monotonic()) == "it gave no reason"


@pytest.mark.parametrize("difference", [2e-3, math.nan])
def test_there_is_no_ratio_where_results_differ(difference: float) -> None:
    assert beside("solver", "a shape", 0.5, "numba", 2.0, 1e-3, most=1e-3).ratio == 4.0
    row = beside("solver", "a shape", 0.5, "numba", 2.0, difference, most=1e-3)
    assert (row.ours, row.theirs, row.ratio) == (0.5, 2.0, None)
    assert row.note.startswith(DIFFERENT)


def test_a_line_of_the_table() -> None:
    row = beside("solver", "a | b", 0.0123, "numba", 2.0, 1e-4, most=1e-3)
    assert cells(row) == ["solver", "a | b", "12.3 ms", "numba", "2 s", "1.0e-04", "163x", "", ""]
    share = below("images", "2,048 pictures", 12345.0, "TFLOP/s", "matrix product", 20000.0)
    assert cells(share)[2:7] == ["12,345 TFLOP/s", "matrix product", "20,000 TFLOP/s", "", "61.7%"]
    assert len(cells(row)) == len(HEADER)


def test_the_table_has_a_line_a_row_and_says_what_it_was_measured_on(tmp_path: Path) -> None:
    record = Record(tmp_path, {"device": "H100", "commit": "abc"}, seconds={"solver": 12.0})
    record.add(Row("solver", "a | b", note="two\nlines"))
    text = (tmp_path / "device.md").read_text()
    assert "- device: H100\n- commit: abc\n- seconds of each part: solver 12\n" in text
    assert "| solver | a / b |  |  |  |  |  |  | two lines |" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


@no_device
def test_without_a_device_it_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--out", "results"])
    said = capsys.readouterr().err
    assert "no CUDA device" in said
    assert "without a device: --cpu" in said


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--cpu"], "required: --out"),
        (["--cpu", "--out", "x", "--memory", "16"], "leave out --cpu"),
        (["--cpu", "--out", "x", "--budget", "0"], "have to be positive"),
        (["--cpu", "--out", "x", "--parts", "all"], "invalid choice: 'all'"),
    ],
)
def test_what_makes_no_sense_is_refused(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(argv)
    assert says in capsys.readouterr().err


def test_defaults_are_every_part_in_eight_minutes() -> None:
    arguments = parse(["--cpu", "--out", "x"])
    assert (arguments.parts, arguments.budget, arguments.memory) == (list(PARTS), 480, None)


def test_a_cap_is_a_share_of_the_cards_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    card = type("Card", (), {"total_memory": int(80e9), "major": 9, "minor": 0})
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", asked.append)
    for gb in (16, 100, None):
        Setting("cuda", SMALL, memory_gb=gb).cap_memory()
    assert asked == [0.2, 1.0]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a card")
    told = about(["--out", "my results"], 16)
    assert told["device memory, GB"] == "80, capped at 16"
    assert told["capability"] == "sm_90"
    assert told["command"] == "python -m benchmarks.device --out 'my results'"


def test_a_tree_without_its_history_is_told_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(machine.machine()["commit"].split()[0]) >= 7

    def without_git(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr("benchmarks.machine.subprocess.run", without_git)
    monkeypatch.delenv("COMMIT", raising=False)
    assert machine.machine()["commit"] == "unknown"
    monkeypatch.setenv("COMMIT", "abc1234")
    assert machine.machine()["commit"] == "abc1234"


def test_what_a_device_can_do_is_measured_and_no_setting_stays_behind() -> None:
    before = torch.get_float32_matmul_precision()
    assert copy_rate(torch.device("cpu"), rounds=1, scale=1 / 256) > 0
    assert matmul_rate(torch.device("cpu"), torch.float32, rounds=1, scale=1 / 256) > 0
    assert torch.get_float32_matmul_precision() == before


def test_operations_are_counted_where_torch_would_fuse_them() -> None:
    layer = torch.nn.MultiheadAttention(16, 2, batch_first=True).eval()
    x = torch.randn(1, 5, 16)
    attended = 2 * (2 * 5 * 5 * 16)  # scores, and values
    assert operations(lambda: layer(x, x, x)) == 2 * 5 * 16 * 16 * 4 + attended
    assert torch.backends.mha.get_fastpath_enabled()


def test_rows_have_the_columns_that_are_documented() -> None:
    documented = Row.__doc__ or ""
    for field in fields(Row):
        assert f"{field.name}:" in documented, field.name
