"""The command line: what it writes, what it says in words and in JSON, and its exit codes."""

from __future__ import annotations

import csv
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console

import fdgpu
from fdgpu import cli, options
from fdgpu.answering import ExitCode
from fdgpu.captions.recipe import bundled_names
from fdgpu.directions.parameters import AUDIT
from fdgpu.errors import FdgpuWarning
from fdgpu.findings import ClassFindings, Findings, ModeFindings
from fdgpu.progress import HIDDEN, ProgressBars

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def call(*arguments: object, model: str | None = "bundled") -> tuple[int, str, str]:
        if arguments[0] == "audit" and model and "--model" not in arguments:
            arguments = (*arguments, "--model", model)
        monkeypatch.setattr("sys.argv", ["fdgpu", *map(str, arguments)])
        with warnings.catch_warnings():
            warnings.simplefilter("always", FdgpuWarning)  # to be printed, as they are outside tests
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def made(classes: tuple[ClassFindings, ...], **changes: Any) -> Findings:
    return Findings(
        version="1", seed=0, model="m", backend="numba", backend_reason="", device="cpu", title="t", classes=classes,
        timings={}, n_images={}, fitted_on="val", whitened_by="val", shown_from="val", C_grid=(1.0,), **changes,
    )  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Grey squares: a model that calls every dark "light" when it is in the lower half of the greys of its class."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(80):
        label = "dark" if i % 2 else "light"
        level = int(rng.integers(0, 100) + (0 if label == "dark" else 150))
        path = f"{label}/{i}.png"
        (tmp_path / label).mkdir(exist_ok=True)
        Image.new("RGB", (16, 16), (level, level, level)).save(tmp_path / path)
        prediction = "light" if label == "dark" and level < 50 else label
        rows.append([path, label, prediction, "val" if i < 60 else "test", 0.75])
    with (tmp_path / "predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "prediction", "split", "confidence"], *rows])
    return tmp_path


def answer(printed: str) -> dict[str, Any]:
    """The document of a command, whose keys are those of docs/command_line.md."""
    document = json.loads(printed)
    said = "error" if document["exit_code"] and "error" in document else "result"
    assert list(document) == ["schema", "fdgpu", "command", "exit_code", "warnings", said]
    assert (document["schema"], document["fdgpu"]) == ("fdgpu.command/1", fdgpu.__version__)
    return document


def test_an_audit_of_ones_own_images(run: Run, world: Path) -> None:
    (world / "dark" / "1.png").write_text("broken")
    out = world / "out"
    code, printed, complained = run(
        "audit", "--images", world, "--predictions", world / "predictions.csv", "--out", out, "--json"
    )
    assert code == 0
    assert "dark" in complained
    assert "no_errors" in complained
    assert str(out / "report.html") in complained.replace("\n", "")
    assert "1 images were skipped" in complained
    document = json.loads((out / "audit.json").read_text())
    found = answer(printed)
    assert found["result"] == {"out": str(out), "report": str(out / "report.html"), "audit": document}
    assert any("knows ten garments" in one for one in found["warnings"])
    assert [entry["path"] for entry in document["skipped"]] == ["dark/1.png"]
    assert [entry["status"] for entry in document["classes"]] == ["ok", "no_errors"]
    assert document["classes"][0]["cv_score"] > 0.7


def test_permutations_and_directions_reach_the_fit_and_the_table(run: Run, world: Path) -> None:
    out = world / "out"
    tests = ["--permutations", 39, "--directions", 2, "--stop-after", 5, "--nested", "--groups", "none"]
    code, printed, _ = run("audit", "--images", world, "--predictions", world / "predictions.csv", "--out", out, *tests)
    assert code == 0
    header = printed.splitlines()[0].split()
    assert header == ["class", "status", "samples", "errors", "modes", "CV", "score", "p", "q", "hardest", "caption"]
    assert "1 of 2 classes are significant" in printed
    assert "with up to 39 permutations a class" in printed
    document = json.loads((out / "audit.json").read_text())
    assert (document["n_permutations"], document["n_directions"], document["p_value_min"]) == (39, 2, 1 / 40)
    dark = document["classes"][0]
    assert (dark["p_value"], dark["n_permutations"]) == (1 / 40, 39)
    assert dark["nested_score"] > 0.6
    assert f"  {dark['p_value']:.3f}  " in printed
    assert "Tested by" in (out / "report.html").read_text()


def test_the_published_code_is_one_flag(run: Run, world: Path) -> None:
    asked = ["audit", "--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"]
    code, *_ = run(*asked, "--published", "--permutations", 0)
    assert code == 0
    assert json.loads((world / "out" / "audit.json").read_text())["published"] is True
    code, _, complained = run(*asked, "--published", "--backend", "cuml")
    assert code == 2
    assert "published" in complained
    page = (world / "out" / "report.html").read_text()
    assert "Ask for permutations (--permutations 200)." in page
    assert "n_permutations" not in page


def test_the_method_is_one_flag_and_listens_to_the_table(run: Run, world: Path) -> None:
    table = world / "predictions.csv"
    header, *rows = csv.reader(table.read_text().splitlines())
    with table.open("w", newline="") as stream:
        own = [[*row, 0.75 if row[1] == row[2] else 0.25] for row in rows]
        csv.writer(stream).writerows([[*header, "true_probability"], *own])
    asked = ["audit", "--images", world, "--predictions", table, "--out", world / "out", "--permutations", 0]
    code, printed, complained = run(*asked, "--method", "latent")
    assert code == 0, complained
    assert printed.splitlines()[0].split()[4:7] == ["CV", "score", "explained"]
    assert "Method: latent (asked for by name)." in printed
    document = json.loads((world / "out" / "audit.json").read_text())
    assert [document[key] for key in ("method", "uses_loss", "backend")] == ["latent", True, "torch"]
    assert document["classes"][0]["hard_captions"]
    code, printed, _ = run(*asked, "--method", "svm")
    assert code == 0
    assert "explained" not in printed
    assert "Method: svm (asked for by name)." in printed


def test_columns_that_the_method_cannot_listen_to(run: Run, world: Path) -> None:
    """Percent, a column in which some entries are missing, and the confidence of the prediction."""
    table = world / "predictions.csv"
    header, *rows = csv.reader(table.read_text().splitlines())
    asked = ["audit", "--images", world, "--predictions", table, "--out", world / "out", "--method", "latent"]
    for said, message in (
        (["75"] * 80, "predictions.csv, line 2: true_probability is 75, expected"),
        ([*["0.75"] * 79, ""], "predictions.csv, line 81: true_probability is"),
        ([str(0.6 + i / 400) for i in range(80)], "true_probability contradicts the answers: "),
    ):
        with table.open("w", newline="") as stream:
            csv.writer(stream).writerows(
                [[*header, "true_probability"], *([*row, one] for row, one in zip(rows, said, strict=True))]
            )
        code, _, complained = run(*asked)
        assert code == 1
        assert message in " ".join(complained.split())
        assert not (world / "out").exists()


@pytest.mark.parametrize("beside", [["--published"], ["--backend", "numba"]])
def test_what_the_latent_method_cannot_go_with_is_wrong_usage(run: Run, world: Path, beside: list[str]) -> None:
    asked = ["audit", "--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"]
    code, _, complained = run(*asked, "--method", "latent", *beside)
    assert code == 2
    assert "method" in complained


def test_the_summary_puts_what_is_significant_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")

    def one(name: str, score: float, q: float) -> ClassFindings:
        mode = ModeFindings(cv_score=score, p_value=q / 2, q_value=q, significant=q <= 0.05)
        return ClassFindings(name, "ok", "", 40, 10, (mode,))

    classes = (one("chance", 0.9, 0.4), ClassFindings("none", "no_errors", "", 40, 0), one("[b]sure", 0.8, 0.01))
    cli._summary(made(classes, n_permutations=99))
    header, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[:3]] == ["[b]sure", "chance", "none"]
    assert " p " in header
    assert "modes" not in header
    assert "not significant" in rows[1]
    assert "not significant" not in rows[0] + rows[2]
    assert rows[3].startswith("1 of 3 classes are significant")
    plain = [
        ClassFindings(name, "ok", "", 40, 10, (ModeFindings(cv_score=cv),)) for name, cv in (("a", 0.8), ("b", 0.9))
    ]
    cli._summary(made((*plain, classes[1])))
    header, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[:3]] == ["b", "a", "none"]
    assert " p " not in header
    assert ["fitted, not tested" in row for row in rows[:3]] == [True, True, False]
    assert "significant" not in " ".join(rows)
    assert "Nothing was tested" in rows[3]


def test_the_demo_takes_the_same_settings(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}

    def demo(
        out: Path, seed: int, *, method: str, directions: Any, decode: bool, **_: Any
    ) -> tuple[SimpleNamespace, float]:
        given.update(out=out, seed=seed, method=method, directions=directions, decode=decode)
        (out / "audit.json").write_text('{"seed": 7}')
        return SimpleNamespace(findings=made(())), 0.5

    monkeypatch.setattr("fdgpu.demo.run.demo", demo)
    settings = [
        "--permutations",
        20,
        "--directions",
        3,
        "--stop-after",
        4,
        "--nested",
        "--decode",
        "--seed",
        7,
        "--method",
        "latent",
    ]
    code, printed, complained = run("demo", "--out", tmp_path, *settings, "--json")
    assert code == 0
    assert "right on 50.0%" in complained
    assert answer(printed)["result"] == {
        "out": str(tmp_path), "report": str(tmp_path / "report.html"), "audit": {"seed": 7}, "accuracy": 0.5,
        "mended": None,
    }  # fmt: skip
    fit = given["directions"]
    assert (fit.n_permutations, fit.n_directions, fit.stop_after, fit.nested) == (20, 3, 4, True)
    assert (fit.random_state, given["seed"], given["out"]) == (7, 7, tmp_path)
    assert given["decode"]
    assert (given["method"], fit.method) == ("latent", "latent")


def test_numbered_classes_with_a_file_of_names(run: Run, world: Path) -> None:
    table = world / "predictions.csv"
    table.write_text(table.read_text().replace(",dark", ",0").replace(",light", ",1"))
    (world / "names.txt").write_text("night\nday\n")
    arguments = ["--images", world, "--predictions", table, "--out", world / "out", "--grammar", "general"]
    code, _, _ = run("audit", *arguments, "--class-names", world / "names.txt")
    assert code == 0
    document = json.loads((world / "out" / "audit.json").read_text())
    assert [entry["name"] for entry in document["classes"]] == ["night", "day"]
    assert "night" in document["classes"][0]["hard_captions"][0]["caption"]


def test_groups_of_the_table_reach_the_audit(run: Run, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def audit(images: Path, table: Any, **settings: Any) -> SimpleNamespace:
        given.update(settings, images=images, groups=table.groups)
        return SimpleNamespace(findings=made(()))

    monkeypatch.setattr("fdgpu.auditing.pipeline.audit", audit)
    lines = (world / "predictions.csv").read_text().splitlines()
    (world / "predictions.csv").write_text("\n".join([f"{lines[0]},group", *(f"{line},g" for line in lines[1:])]))
    arguments = ["audit", "--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"]
    assert run(*arguments)[0] == 0
    assert (given["images"], given["groups"], given["allow_outside"]) == (str(world), ["g"] * 80, False)
    assert run(*arguments, "--allow-outside")[0] == 0
    assert given["allow_outside"]


def test_known_columns_are_tested_and_told(run: Run, world: Path) -> None:
    table = world / "predictions.csv"
    header, *rows = table.read_text().splitlines()
    cells = [line.split(",") for line in rows]
    camera = ["A" if own[1] != own[2] or i % 7 == 0 else "B" for i, own in enumerate(cells)]
    more = [f"{line},{one},{i}" for i, (line, one) in enumerate(zip(rows, camera, strict=True))]
    table.write_text("\n".join([f"{header},camera,row", *more]))
    given = ["audit", "--images", world, "--predictions", table, "--out", world / "out", "--groups", "none"]
    given += ["--permutations", "0"]
    code, printed, complained = run(*given)
    assert (code, complained.count("row")) == (0, 0)
    (line,) = [line for line in printed.splitlines() if line.startswith("dark, camera = A: ")]
    assert "of 6 test images; q <0.001" in line
    document = json.loads((world / "out" / "audit.json").read_text())
    assert document["slices_tested"]["left_out"] == {"row": "it has as many values as images, as ids have"}
    assert (world / "out" / "slices.csv").exists()
    code, printed, _ = run(*given, "--slices", "none")
    assert "camera" not in printed
    assert not (world / "out" / "slices.csv").exists()
    code, printed, _ = run(*given, "--slices", "camera", "--conjunctions", "1", "--slice-unknown")
    document = json.loads((world / "out" / "audit.json").read_text())
    assert (document["slices_tested"]["conjunctions"], document["slices_tested"]["columns"]) == (1, {"camera": 2})
    code, _, complained = run(*given, "--slices", "camera,sight")
    assert code == 1
    assert "slices names 'sight', and the further columns of the table are 'camera', 'row'" in " ".join(
        complained.split()
    )


def test_images_may_lie_in_an_archive(run: Run, world: Path, tmp_path: Path) -> None:
    """By path, as from the folder, in the archive's order."""
    shutil.make_archive(str(tmp_path / "photos"), "zip", world)
    arguments = ["audit", "--predictions", world / "predictions.csv", "--model", "bundled", "--permutations", "0"]
    code, _, complained = run(*arguments, "--images", tmp_path / "photos.zip", "--out", tmp_path / "zipped")
    assert code == 0, complained
    assert run(*arguments, "--images", world, "--out", tmp_path / "plain")[0] == 0
    zipped, plain = (json.loads((tmp_path / name / "audit.json").read_text()) for name in ("zipped", "plain"))
    for one, other in zip(zipped["classes"], plain["classes"], strict=True):
        assert [one[key] for key in ("name", "n", "n_errors")] == [other[key] for key in ("name", "n", "n_errors")]
        assert sorted(one["hard_examples"]) == sorted(other["hard_examples"])


def test_a_path_out_of_the_folder_is_refused(run: Run, world: Path) -> None:
    table = world / "predictions.csv"
    table.write_text(table.read_text() + "../../x.png,dark,dark,val,1\n")
    code, _, complained = run("audit", "--images", world, "--predictions", table, "--out", world / "out")
    assert code == 1
    assert "'../../x.png' in row 80 lies outside" in " ".join(complained.split())


@pytest.mark.parametrize("option", ["--class-names", "--predictions"])
def test_a_device_is_no_file(run: Run, world: Path, option: str) -> None:
    given = {"--images": world, "--predictions": world / "predictions.csv", "--out": world / "out", option: "/dev/zero"}
    code, _, complained = run("audit", *[word for pair in given.items() for word in pair])
    assert code in (1, 2)
    assert "no regular file" in " ".join(complained.replace("│", " ").split())


def test_a_failure_is_one_message_and_exit_code_1(run: Run, world: Path) -> None:
    table = world / "predictions.csv"
    table.write_text(table.read_text() + "x.png,dark,light\n")
    code, _, complained = run("audit", "--images", world, "--predictions", table, "--out", world / "out")
    assert code == 1
    assert "predictions.csv, line 82: 3 fields, the header has 5" in complained.replace("\n", "")
    assert "Traceback" not in complained


def test_an_output_folder_that_cannot_be_written(run: Run, world: Path) -> None:
    (world / "out").touch()
    code, _, complained = run(
        "audit", "--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"
    )
    assert code == 1
    assert "cannot be written" in complained


def test_an_audit_into_the_folder_that_its_inputs_lie_in(run: Run, world: Path) -> None:
    """As the demo leaves them, of which ``truth.json`` says what belongs to it; and the folder is the current one."""
    there = sorted(path.relative_to(world).as_posix() for path in world.rglob("*.*"))
    (world / "truth.json").write_text(json.dumps({"files": ["truth.json", *there]}))
    given = ["--images", world, "--predictions", world / "predictions.csv", "--out", world]
    code, _, complained = run("audit", *given)
    assert code == 0, complained
    listed = json.loads((world / "audit.json").read_text())["files"]
    found = {path.relative_to(world).as_posix() for path in world.rglob("*.*")}
    assert {name for name in found if not name.startswith("embeddings/")} == {*there, "truth.json", *listed}
    assert [path for path in world.parent.iterdir() if path.name.startswith(f".{world.name}")] == []


def test_a_grammar_of_ones_own_and_one_with_a_mistake(run: Run, world: Path) -> None:
    arguments = ["audit", "--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"]
    own = world / "own.toml"
    own.write_text(
        'template = "{noun} {when}"\n[slots]\nwhen = ["", "at noon"]\n[[classes]]\nname = "dark"\nnoun = "pit"\n'
    )
    code, _, _ = run(*arguments, "--grammar", own)
    assert code == 0
    dark, _ = json.loads((world / "out" / "audit.json").read_text())["classes"]
    assert "pit at noon" in {entry["caption"] for entry in dark["hard_captions"] + dark["easy_captions"]}
    own.write_text('template = "{noun}"\n[slots]\nwhen = []\n')
    code, _, complained = run(*arguments, "--grammar", own)
    assert code == 2
    assert "own.toml: slots.when is []: write at least one" in " ".join(complained.replace("│", " ").split())


def test_an_unknown_model(run: Run, world: Path) -> None:
    code, _, complained = run(
        "audit",
        "--images",
        world,
        "--predictions",
        world / "predictions.csv",
        "--out",
        world / "o",
        "--model",
        "ViT-B-3:x",
    )
    assert code == 1
    assert "did you mean ViT-B-32" in complained


def test_the_model_is_asked_for_when_the_csv_was_checked(run: Run, world: Path) -> None:
    table = world / "predictions.csv"
    given = ["audit", "--images", world, "--predictions", table, "--out", world / "out"]
    code, _, complained = run(*given, model=None)
    words = " ".join(complained.replace("│", " ").split())
    assert code == 2
    assert "--model: name the CLIP that embeds the images: ViT-B-32:openai" in words
    assert "MODEL:FILE" in words
    assert not (world / "out").exists()
    text = table.read_text()
    for faulty, fault in (
        (text + "x.png,dark,light\n", "line 82: 3 fields"),
        (text.replace(",val,", ",test,"), "no image is in the split 'val'"),
    ):
        table.write_text(faulty)
        code, _, complained = run(*given, model=None)
        assert (code, fault in " ".join(complained.split()), "--model" in complained) == (1, True, False)


def test_the_bundled_model_is_doubted_where_it_was_asked_for(run: Run, world: Path) -> None:
    table = world / "predictions.csv"
    code, _, complained = run("audit", "--images", world, "--predictions", table, "--out", world / "out")
    assert code == 0
    assert complained.count("knows ten garments") == 1
    assert "ten garments" in json.loads((world / "out" / "audit.json").read_text())["notes"][0]
    assert "ten garments" in (world / "out" / "report.html").read_text()


def test_an_empty_line_among_the_class_names_would_shift_them(run: Run, world: Path) -> None:
    (world / "names.txt").write_text("night\n\nday\n\n")
    arguments = ["--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"]
    code, _, complained = run("audit", *arguments, "--class-names", world / "names.txt")
    assert code == 2
    assert "line 2 is empty" in " ".join(complained.replace("│", " ").split())


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--images", "nowhere"], "does not exist"),
        (["--predictions", "nowhere.csv"], "does not exist"),
        (["--grammar", "nope"], "no recipe 'nope'"),
        (["--grammar", "nowhere.txt"], "nowhere.txt"),
        (["--grammar", "demo", "--captioner", "tiny"], "grammar and captioner are given"),
        (["--grammar", "nope.toml"], "cannot be read"),
        (["--backend", "abacus"], "use one of auto"),
        (["--device", "abacus"], "use 'auto', 'cpu' or 'cuda'"),
        (["--permutations", "-1"], "--permutations"),
        (["--directions", "0"], "--directions"),
        (["--stop-after", "-1"], "--stop-after"),
        (["--seed", "-1"], "Invalid value for --seed: seed is -1: use a whole number from 0 to 2**63 - 1"),
        (["--seed", str(2**70)], "Invalid value for --seed: seed is 1180591620717411303424"),
        (["--seed", "1.5"], "--seed"),
        (["--colour", "red"], "No such option"),
        (["--conjunctions", "4"], "--conjunctions"),
        (["--class-names", "nowhere.txt"], "does not exist"),
    ],
)
def test_wrong_usage_is_exit_code_2(run: Run, world: Path, extra: list[str], message: str) -> None:
    arguments = {"--images": world, "--predictions": world / "predictions.csv", "--out": world / "out"}
    given = {**arguments, **dict(zip(extra[::2], extra[1::2], strict=True))}
    code, _, complained = run("audit", *[word for pair in given.items() for word in pair])
    assert code == 2
    assert message in " ".join(complained.replace("│", " ").split())
    assert not (world / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_the_bundled_decoder_draws_the_bundled_clips_directions_only(run: Run, world: Path) -> None:
    given = ["--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"]
    code, _, complained = run("audit", *given, "--decode", "--model", "ViT-B-32:openai")
    assert code == 2
    assert "of the bundled CLIP, not of ViT-B-32:openai" in " ".join(complained.split())


def test_a_backend_that_cannot_run_here_is_wrong_usage(run: Run, world: Path) -> None:
    arguments = ["--images", world, "--predictions", world / "predictions.csv", "--out", world / "out"]
    code, _, complained = run("audit", *arguments, "--backend", "triton")
    assert code == 2
    assert "'triton'" in complained
    assert not (world / "out").exists()


def test_help_teaches(run: Run) -> None:
    code, printed, _ = run("--help")
    assert code == 0
    assert "Start with" in printed
    words = " ".join(printed.replace("│", " ").split())
    assert "0 done, 1 failed, 2 wrong usage, 3 a comparison that says worse (--fail-if-worse), 130 interrupted" in words
    assert [int(code) for code in ExitCode] == [0, 1, 2, 3, 130]
    _, printed, _ = run("audit", "--help")
    assert "path,label,prediction,split" in printed
    words = printed.replace("│", " ").replace(",", " ").replace(".", " ").split()
    assert set(bundled_names()) <= set(words)


def test_every_command_answers_in_json_and_may_be_quiet() -> None:
    assert {one.name or one.callback.__name__ for one in cli.app.registered_commands} == {
        "audit", "compare", "demo", "doctor", "embed", "export", "finetune", "predict", "repair"
    }  # fmt: skip
    for one in cli.app.registered_commands:
        assert {"json", "quiet"} <= set(inspect.signature(one.callback).parameters)


def test_the_documents_results_are_those_of_the_documentation() -> None:
    """Each command makes the keys that its row of the table names."""
    text = (Path(__file__).parents[1] / "docs" / "command_line.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `fdgpu (\w+)` \| (.*) \|$", text, flags=re.MULTILINE))
    assert list(rows) == [one.__name__ for one in cli.COMMANDS]
    for command in cli.COMMANDS:
        source = inspect.getsource(command) + inspect.getsource(cli._audit_in) * (command.__name__ in ("audit", "demo"))
        for key in re.findall(r"`(\w+)`", rows[command.__name__]):
            assert f'"{key}"' in source, (command.__name__, key)


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "message"),
    [
        (["audit", "--colour"], 2, "NoSuchOption", "No such option: --colour"),
        (["audit"], 2, "MissingParameter", "Missing option '--images'"),
        (["paint"], 2, "", "No such command 'paint'"),
        (["compare", "{tmp}", "{tmp}", "--out", "x.html"], 1, "InputError", "holds no audit.json"),
        (["export", "{tmp}", "--to", "excel", "--out", "x"], 2, "BadParameter", "'excel' is not one of"),
    ],
)
def test_errors_are_json_too(
    run: Run, tmp_path: Path, arguments: list[str], code: int, kind: str, message: str
) -> None:
    found, printed, complained = run(*[word.replace("{tmp}", str(tmp_path)) for word in arguments], "--json", model="")
    document = answer(printed)
    assert (found, document["exit_code"]) == (code, code)
    assert message in document["error"]["message"]
    assert kind in document["error"]["type"]
    assert message.split()[0] in complained


def test_a_fault_of_ours_is_json_and_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def examine() -> None:
        raise ZeroDivisionError("one over none")

    monkeypatch.setattr("fdgpu.doctor.examine", examine)
    code, printed, complained = run("doctor", "--json")
    assert (code, answer(printed)["error"]) == (1, {"type": "ZeroDivisionError", "message": "one over none"})
    assert "Traceback" in complained
    with pytest.raises(ZeroDivisionError):
        run("doctor")

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fdgpu.doctor.examine", interrupted)
    code, printed, _ = run("doctor", "--json")
    assert (code, answer(printed)["error"]["type"]) == (130, "KeyboardInterrupt")


def test_standard_output_holds_the_document_alone_whoever_prints() -> None:
    """What a library in C or a child process writes on the descriptor goes to standard error, or nowhere."""
    code = (
        "import os, subprocess, sys; from types import SimpleNamespace; from fdgpu import cli\n"
        "def noisy():\n"
        "    assert sys.stdout is not sys.stderr\n"
        "    print('python'); os.write(1, b'library\\n'); subprocess.run(['echo', 'child'])\n"
        "    return []\n"
        "sys.modules['fdgpu.doctor'] = SimpleNamespace(examine=noisy, healthy=lambda lines: not lines)\n"
        "cli.main()"
    )
    for flags in (["--json"], ["--json", "--quiet"], ["--quiet"]):
        done = subprocess.run(
            [sys.executable, "-c", code, "doctor", *flags], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        if "--json" in flags:
            assert answer(done.stdout)["result"]["healthy"] is True
        else:
            assert done.stdout == ""
        noise = [word in done.stderr for word in ("python", "library", "child")]
        assert noise == [flags == ["--json"]] * 3


def test_quiet_hides_progress_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("fdgpu.doctor.examine", lambda: seen.append(HIDDEN.get()) or [])
    assert [run("doctor", *flags)[0] for flags in ([], ["--quiet"], [])] == [0, 0, 0]
    assert seen == [False, True, False]
    console = Console(force_terminal=True, file=StringIO())
    token = HIDDEN.set(True)
    assert ProgressBars(console)._progress.disable
    HIDDEN.reset(token)
    assert not ProgressBars(console)._progress.disable


def test_the_version(run: Run) -> None:
    assert run("--version") == (0, f"fdgpu {fdgpu.__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("fdgpu ex", "export"), ("fdgpu export --im", "--images"), ("fdgpu export --to re", "renumics")],
)
def test_the_shell_completes_commands_options_and_choices(typed: str, completed: str) -> None:
    words = {"_FDGPU_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    code = "import sys; sys.argv[0] = 'fdgpu'; from fdgpu.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **words}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [completed], done.stderr


def test_the_doctor_says_what_will_run_and_why(run: Run) -> None:
    code, printed, _ = run("doctor")
    assert code == 0
    for word in (*bundled_names(), "torch", "numba", "solver runs on", "embedding runs on", "bundled CLIP", "CUDA"):
        assert word in printed


def test_the_doctor_sees_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.doctor.REQUIRED", ("torch", "a_package_that_nobody_wrote"))
    code, printed, _ = run("doctor")
    assert code == 1
    assert "✗  a_package_that_nobody_wrote" in printed


def test_python_m_fdgpu_is_the_command_and_help_loads_no_torch() -> None:
    code = (
        "import runpy, sys; sys.argv = ['fdgpu', 'audit', '--help']\n"
        "try: runpy.run_module('fdgpu', run_name='__main__')\n"
        "except SystemExit as stop: print('exit', stop.code, 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "--predictions" in out
    assert out.endswith("exit 0 False\n")


def test_the_defaults_are_an_audits() -> None:
    assert (AUDIT.n_permutations, AUDIT.stop_after) == (options.PERMUTATIONS, options.STOP_AFTER)


# --- the model itself -------------------------------------------------------------------------------------------------

MODEL = """
import torch
from torchvision import transforms

class Level(torch.nn.Module):
    '''Says how dark a square is, and takes the darkest for light.'''

    def forward(self, x):
        level = x.mean(dim=(1, 2, 3)) * 255
        dark = torch.where((level < 50) | (level > 120), -1.0, 1.0)
        return torch.stack([dark, -dark], dim=1)

def make():
    return Level(), transforms.ToTensor()

def fails():
    raise RuntimeError("no weights")
"""


@pytest.fixture
def in_splits(world: Path, tmp_path: Path) -> Path:
    """The same images in folders of splits and classes, and a model in a file."""
    for row in csv.DictReader((world / "predictions.csv").read_text().splitlines()):
        into = tmp_path / "sorted" / row["split"] / row["path"]
        into.parent.mkdir(parents=True, exist_ok=True)
        (world / row["path"]).rename(into)
    (tmp_path / "own.py").write_text(MODEL)
    return tmp_path


def test_a_model_and_folders_of_classes_are_enough(run: Run, in_splits: Path) -> None:
    out, images = in_splits / "out", in_splits / "sorted"
    code, printed, complained = run(
        "audit", "--images", images, "--classifier", f"{in_splits}/own.py:make", "--out", out
    )
    assert code == 0, complained
    assert "no_errors" in printed
    assert "taken for the folders of classes in sorted order, 'dark', 'light'" in complained
    document = json.loads((out / "audit.json").read_text())
    assert document["n_images"] == {"train": 0, "val": 60, "test": 20}
    assert (document["classifier"]["preprocessing"], document["classifier"]["outputs"]) == ("ToTensor()", 2)
    assert "Answered by" in (out / "report.html").read_text()
    assert [(one["name"], one["status"]) for one in document["classes"]] == [("dark", "ok"), ("light", "no_errors")]
    assert document["classes"][0]["cv_score"] > 0.7


def test_predict_writes_what_an_audit_reads(run: Run, in_splits: Path) -> None:
    images = in_splits / "sorted"
    next(images.rglob("*.png")).write_bytes(b"broken")
    asked = ["predict", "--images", images, "--classifier", f"{in_splits}/own.py:make", "--out"]
    code, printed, complained = run(*asked, in_splits / "p.parquet")
    assert code == 0, complained
    assert "1 of 80 images have no answer, the first is" in complained
    table = pq.read_table(in_splits / "p.parquet").to_pandas()
    columns = ["path", "label", "prediction", "confidence", "true_probability", "split"]
    assert list(table.columns) == columns
    assert f"The model is right on {(table.label == table.prediction).mean():.1%} of 79 images." in printed
    assert (table.path.str.split("/").str[1] == table.label).all()
    right = table.label == table.prediction
    assert (table.true_probability[right] == table.confidence[right]).all()
    np.testing.assert_allclose(table.true_probability[~right], 1 - table.confidence[~right], atol=1e-6)
    code, printed, _ = run(*asked, in_splits / "new" / "p.csv", "--json")
    assert code == 0
    found = answer(printed)["result"]
    assert (found["table"], found["rows"], list(found["skipped"].values())) == (
        str(in_splits / "new" / "p.csv"), 79, ["is not an image"]
    )  # fmt: skip
    assert (in_splits / "new" / "p.csv").read_text().startswith('"path","label","prediction"')
    results = []
    for name in ("p.parquet", "new/p.csv"):
        code, *_ = run("audit", "--images", images, "--predictions", in_splits / name, "--out", in_splits / "out")
        assert code == 0
        results.append(json.loads((in_splits / "out" / "audit.json").read_text())["classes"])
    assert results[0] == results[1]
    examples = pq.read_table(in_splits / "out" / "examples.parquet").to_pandas()
    assert {"confidence", "true_probability"} <= set(examples.columns)


def test_labels_and_columns_of_other_names(run: Run, in_splits: Path) -> None:
    files = sorted((in_splits / "sorted").rglob("*.png"))
    with (in_splits / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("where", "what"), *((path.name, path.parent.name) for path in files)])
        for path in files:
            path.rename(in_splits / path.name)
    (in_splits / "names.txt").write_text("dark\nlight\n")
    given = [
        "--images", in_splits, "--classifier", f"{in_splits}/own.py:make", "--labels", in_splits / "labels.csv",
        "--columns", "path=where, label=what", "--class-names", in_splits / "names.txt",
    ]  # fmt: skip
    code, _, complained = run("predict", *given, "--out", in_splits / "p.parquet")
    assert code == 0, complained
    table = pq.read_table(in_splits / "p.parquet").to_pandas()
    assert sorted(table.path) == sorted(path.name for path in files)
    assert set(table.split) == {"val"}
    code, _, complained = run("audit", *given, "--out", in_splits / "out")
    assert code == 0, complained
    code, _, complained = run("audit", *given[:-2], "--out", in_splits / "out2")
    assert (code, "pass class_names in the order of its outputs" in " ".join(complained.split())) == (1, True)


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ([], 2, "pass --predictions, a table of what the model said, or --classifier, the model itself"),
        (["--predictions", "predictions.csv", "--classifier", "own.py:make"], 2, "pass --predictions, a table"),
        (["--predictions", "predictions.csv", "--labels", "predictions.csv"], 2, "pass --predictions, a table"),
        (["--predictions", "predictions.csv", "--columns", "path"], 2, "'path' is not of the form path=filename"),
        (["--predictions", "predictions.csv", "--columns", "label=tag"], 1, "column 'tag', the label by columns, is"),
        (["--classifier", "own.py:make", "--columns", "path=file"], 2, "there is no table whose columns it names"),
        (["--classifier", "resnet50"], 1, "classifier is 'resnet50': use torchvision:NAME[:WEIGHTS]"),
        (["--classifier", "own.py:fails"], 1, "raises RuntimeError (no weights): correct it there"),
        (["--classifier", "torchvision:resnet19"], 1, "torchvision has no 'resnet19'"),
    ],
)
def test_what_is_asked_and_what_is_given_go_together(
    run: Run, in_splits: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(in_splits)
    found, _, complained = run("audit", "--images", "sorted", "--out", "out", *given)
    assert message in " ".join(complained.replace("│", " ").split())
    assert found == code
    assert not (in_splits / "out").exists()


# --- after an audit ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two_audits(run: Run, world: Path) -> tuple[Path, Path]:
    """The model of the world, and one that is never wrong on dark images and always on light ones."""
    _, *rows = csv.reader((world / "predictions.csv").read_text().splitlines())
    better = [[path, label, "dark", split, sure] for path, label, _, split, sure in rows]
    with (world / "after.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "prediction", "split", "confidence"], *better])
    for table, out in (("predictions.csv", "before"), ("after.csv", "after")):
        named = ["--predictions", world / table, "--out", world / out]
        code, *_ = run("audit", "--images", world, *named, "--groups", "none", "--permutations", 39)
        assert code == 0
    return world / "before", world / "after"


def test_a_comparison_says_what_went_and_fails_where_it_is_asked_to(
    run: Run, two_audits: tuple[Path, Path], tmp_path: Path
) -> None:
    before, after = two_audits
    page = tmp_path / "page.html"
    asked = ["compare", before, after, "--out", page, "--images", tmp_path]
    code, printed, complained = run(*asked)
    assert code == 0, complained
    assert "Accuracy on the hard side" in printed
    assert "worse: accuracy on the class light fell from 100.0% to 0.0%" in complained
    code, printed, complained = run(*asked, "--fail-if-worse", "--json")
    document = json.loads(printed)
    assert (code, document["exit_code"], document["command"]) == (3, 3, "compare")
    assert "Accuracy on the hard side" in complained
    assert page.read_text().count("<img") == 8 + len(document["result"]["comparison"]["turned_right"])
    assert run("compare", before, before, "--out", page, "--fail-if-worse")[0] == 0
    code, printed, complained = run("export", after, "--to", "csv", "--out", tmp_path / "a.csv", "--json")
    assert code == 0, complained
    exported = answer(printed)["result"]
    rows = list(csv.reader((tmp_path / "a.csv").read_text().splitlines()))
    assert (exported["out"], exported["rows"]) == (str(tmp_path / "a.csv"), len(rows) - 1)
    assert [name for name in exported["frame"] if name not in ("vector", "x", "y")] == rows[0]
    code, _, complained = run("compare", before, tmp_path / "dark", "--out", page)
    assert code == 1
    assert "holds no audit.json" in complained


def test_a_repair_writes_a_manifest_for_each_way(run: Run, two_audits: tuple[Path, Path], tmp_path: Path) -> None:
    before, _ = two_audits
    for i in range(8):  # dark ones, on half of which the model fails
        (tmp_path / "pool" / "dark").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (12 * i + 3, 12 * i + 3, 12 * i + 13)).save(tmp_path / "pool" / "dark" / f"{i}.png")
    out = tmp_path / "r"
    asked = ["repair", before, "--out", out]
    code, printed, complained = run(
        *asked, "--pool", tmp_path / "pool", "--k", 3, "--weights", "--train", tmp_path / "pool", "--json"
    )
    assert code == 0, complained
    assert "pool.csv: 3 images (3 dark)" in complained.replace("\n", "")
    made = answer(printed)["result"]["manifests"]
    assert made[0] == {"file": str(out / "pool.csv"), "rows": 3, "counts": {"dark": 3}}
    assert [Path(one["file"]).name for one in made] == ["pool.csv", "weights.csv"]
    rows = [line.split(",") for line in (out / "pool.csv").read_text().splitlines()]
    assert rows[0] == ["path", "class", "decision_value", "weight", "why"]
    assert sorted(row[0] for row in rows[1:]) == [f"../pool/dark/{i}.png" for i in range(3)]
    assert {path.name for path in out.iterdir()} == {"pool.csv", "pool.json", "weights.csv", "weights.json"}
    code, _, complained = run(*asked)
    assert code == 2
    assert "say how: --pool POOL, --weights or --paint PIPELINE" in complained
    code, _, complained = run(*asked, "--paint", "org/stable-diffusion")
    assert code == 1
    assert "nothing is fetched from a network" in complained
    code, _, complained = run(*asked, "--train", tmp_path / "pool", "--paint", "bundled")
    assert code == 2
    assert "--weights" in complained


def test_a_classifier_is_trained_further_and_its_weights_load(run: Run, world: Path, tmp_path: Path) -> None:
    train, model = tmp_path / "train", tmp_path / "net.py"
    for kind in ("dark", "light"):
        shutil.copytree(world / kind, train / kind)
    model.write_text(
        "import torch\nfrom torch import nn\n"
        "def made():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))\n"
        "    return net, lambda image: torch.tensor([[[image.getpixel((0, 0))[0] / 255]]])\n"
    )
    (tmp_path / "names.txt").write_text("dark\nlight\n")
    names = ["--class-names", tmp_path / "names.txt"]
    asked = [
        "finetune",
        "--classifier",
        f"{model}:made",
        "--images",
        train,
        "--out",
        tmp_path / "t.safetensors",
        *names,
    ]
    code, printed, complained = run(*asked, "--layers", "all", "--epochs", 60, "--peak-lr", 2, "--json")
    assert code == 0, complained
    assert "Trained on 80 images and 0 that were added; 0 were weighed." in complained
    weights = str(tmp_path / "t.safetensors")
    assert answer(printed)["result"] == {"weights": weights, "n": 80, "n_added": 0, "n_weighed": 0}
    predicted = ["predict", "--images", train, "--classifier", f"{model}:made:{tmp_path / 't.safetensors'}", *names]
    code, printed, complained = run(*predicted, "--out", tmp_path / "p.csv")
    assert code == 0, complained
    assert "The model is right on 100.0% of 80 images" in printed
    code, _, complained = run(*asked, "--recipe", "none")
    assert code == 2
    assert "there is no recipe 'none'" in complained
