"""What is asked of pip, what its answer is held against, and cuML's signatures read from its sources."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import check_installs
from tools.check_installs import (
    COLUMNS,
    EXTRAS,
    ROOT,
    UnresolvableError,
    cuml_lacks,
    floors,
    main,
    problems,
    requirements_of,
    resolve,
    table,
    taken_by,
)

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GOOD = {"torch": "2.9.1", "triton": "3.5.1", "nvidia-cuda-runtime-cu12": "12.8.90", "cuml-cu12": "26.2.0"}
SVC = """
class SVC(Base):
    def __init__(
        self, *, C=1.0, kernel="rbf", gamma="scale", tol=1e-3, max_iter=-1, class_weight=None, output_type=None
    ):
        pass

    @generate_docstring()
    def fit(self, X, y, sample_weight=None) -> "SVC":
        pass
"""
LINEAR = """
class Parameters:
    def __init__(self, C, only_here): pass


class LinearSVC(Base):
    def __init__(self, *, penalty="l2", loss="squared_hinge", C=1.0, class_weight=None, output_type=None):
        pass

    def fit(self, X, y, sample_weight=None, *, convert_dtype=True):
        pass
"""


def wheel(folder: Path, svc: str, linear: str, ending: str = "py") -> Path:
    path = folder / "cuml.whl"
    with zipfile.ZipFile(path, "w") as files:
        files.writestr(f"cuml/svm/svc.{ending}", svc)
        files.writestr("cuml/svm/linear_svc.py", linear)
    return path


@pytest.mark.parametrize("ending", ["py", "pyx"])
def test_what_cuml_takes(ending: str, tmp_path: Path) -> None:
    cython = "from libcpp cimport bool\ncdef extern from 'x.hpp': pass\n" if ending == "pyx" else ""
    assert cuml_lacks(wheel(tmp_path, cython + SVC, LINEAR, ending)) == []
    assert taken_by(LINEAR, "LinearSVC", "fit") == {"self", "X", "y", "sample_weight", "convert_dtype"}


def test_what_cuml_no_longer_takes(tmp_path: Path) -> None:
    svc = SVC.replace('gamma="scale", ', "").replace("sample_weight=None", "weights=None")
    assert cuml_lacks(wheel(tmp_path, svc, LINEAR)) == ["SVC.__init__(gamma=)", "SVC.fit(sample_weight=)"]
    with pytest.raises(ValueError, match=r"no SVC\.refit is written there"):
        taken_by(SVC, "SVC", "refit")


def test_an_extra_brings_the_base_and_what_it_names() -> None:
    assert requirements_of("", PROJECT) == PROJECT["dependencies"]
    extras = PROJECT["optional-dependencies"]
    of_all = requirements_of("all", PROJECT)
    assert {*of_all} == {
        *PROJECT["dependencies"],
        *extras["decode"],
        *extras["index"],
        *extras["plot"],
        *extras["wordnet"],
    }
    assert {*of_all} < {*requirements_of("dev", PROJECT)}
    assert {*EXTRAS} == {"", *extras}


def test_every_heading_is_of_a_package_that_some_extra_requires_or_torch_brings() -> None:
    required = {one.lower() for extra in EXTRAS for one in floors(requirements_of(extra, PROJECT))}
    named = {one.split("==")[0] for one in required} | {"triton"}
    assert all(named & {*names} for heading, names in COLUMNS.items() if heading != "of CUDA")


def test_the_highest_floor_of_a_package_is_its_version() -> None:
    asked = ["torch>=2.9", "torch>=2.11,<3", "open_clip_torch>=3.0.2", "torchvision", "faiss-gpu-cuvs>=1.14.1,!=1.15.1"]
    assert floors(asked) == ["torch==2.11.*", "open-clip-torch==3.0.2", "faiss-gpu-cuvs==1.14.1"]


@pytest.mark.parametrize(
    ("extra", "changed", "said"),
    [
        ("gpu-cu12", {}, []),
        ("gpu-cu13", {}, ["its torch is of CUDA 12, not 13"]),
        ("", {"triton": "3.4.0"}, ["Triton 3.4.0 does not compile the kernels"]),
        # cuML brings a runtime of its own beside torch's
        ("gpu-cu13", {"nvidia-cuda-runtime": "13.5.37"}, ["its torch is of CUDA 12, not 13"]),
    ],
)
def test_what_pip_does_not_see(extra: str, changed: dict[str, str], said: list[str]) -> None:
    assert problems(extra, GOOD | changed) == said


def test_equal_lines_are_one() -> None:
    _, _, *lines = table({("gpu-cu12", "3.11"): GOOD, ("gpu-cu12", "3.12"): GOOD, ("", "3.12"): {"torch": "2.15.0"}})
    assert [line.split(" | ")[:3] for line in lines] == [
        ["| `gpu-cu12`", "3.11, 3.12", "2.9.1"],
        ["| none", "3.12", "2.15.0"],
    ]


def test_the_table_in_the_docs_has_its_columns_and_every_gpu_extra() -> None:
    text = (ROOT / "docs" / "install.md").read_text().partition("<!-- tools.check_installs -->\n")[2]
    header, _, *lines = text.partition("\n<!-- end -->")[0].splitlines()
    assert header == next(table({}))
    assert {line.split(" | ")[0].strip("|` ") for line in lines} >= {"none", "all", "gpu-cu12", "gpu-cu13"}


def pip_that_answers(code: int, found: dict[str, str], asked: list[list[str]]) -> object:
    def run(command: list[str], **_: object) -> SimpleNamespace:
        asked.append(command)
        report = Path(command[command.index("--report") + 1])
        report.write_text(json.dumps({"install": [{"metadata": {"name": n, "version": v}} for n, v in found.items()]}))
        return SimpleNamespace(returncode=code, stderr="ERROR: ResolutionImpossible")

    return run


def test_pip_is_asked_for_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", pip_that_answers(0, {"Open_Clip.torch": "3.3.0"}, asked))
    assert resolve(["torch>=2.9"], "3.13") == {"open-clip-torch": "3.3.0"}
    (command,) = asked
    assert command[-1] == "torch>=2.9"
    assert command[command.index("--python-version") + 1] == "3.13"
    assert {"--dry-run", "--ignore-installed"} <= {*command}
    monkeypatch.setattr(subprocess, "run", pip_that_answers(1, {}, asked))
    with pytest.raises(UnresolvableError, match="ResolutionImpossible"):
        resolve(["torch>=2.9"], "3.13")


def test_the_whole_run_fails_where_anything_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(subprocess, "run", pip_that_answers(0, GOOD, []))
    monkeypatch.setattr(check_installs, "download", lambda *_: wheel(tmp_path, SVC, LINEAR))
    monkeypatch.setattr(sys, "argv", ["check_installs", "--cuml", "--pythons", "3.12", "--extras", "gpu-cu12"])
    assert main() == 0
    out = capsys.readouterr().out
    assert "| `gpu-cu12` | 3.12 | 2.9.1 | 12.8.90 | 3.5.1 |" in out
    assert "cuml-cu12 26.2.0 (gpu-cu12, Python 3.12): takes all" in out
    monkeypatch.setattr(sys, "argv", ["check_installs", "--pythons", "3.12", "--extras", "gpu-cu13"])
    assert main() == 1
    assert "gpu-cu13 on Python 3.12: its torch is of CUDA 12, not 13" in capsys.readouterr().err
    monkeypatch.setattr(subprocess, "run", pip_that_answers(1, {}, []))
    assert main() == 1
