"""What is installed: an audit needs no extra, a missing one is named, the wheel is small and holds what it should."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

import fdgpu
from tests.bare import ROOT, BareEnvironment, project

LARGEST_WHEEL = 28_200_000  # bytes


def test_the_bare_environment_is_bare(bare: BareEnvironment) -> None:
    assert {"torch", "open-clip-torch", "pydantic", "scipy"} <= bare.names
    assert not {"diffusers", "faiss-cpu", "accelerate", "scikit-learn", "transformers", "wn", "jax"} & bare.names
    absent = ("diffusers", "faiss", "accelerate", "sklearn", "transformers", "wn", "matplotlib")
    said = bare.python(f"from importlib.util import find_spec; print([m for m in {absent} if find_spec(m)])")
    assert said.stdout.strip() == "[]", said.stderr


def test_an_audit_runs_without_any_extra(bare: BareEnvironment, photos: Path) -> None:
    done = bare.fdgpu(
        "audit", "--images", photos / "photos", "--predictions", photos / "predictions.csv", "--out", photos / "report",
        "--model", "bundled",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((photos / "report" / "audit.json").read_text())
    assert [one["name"] for one in document["classes"]] == ["cat", "dog"]
    assert (photos / "report" / "report.html").stat().st_size > 10_000


def test_every_public_name_is_there_without_any_extra(bare: BareEnvironment) -> None:
    done = bare.python("import fdgpu; print(all(getattr(fdgpu, name) is not None for name in fdgpu.__all__))")
    assert done.stdout.strip() == "True", done.stderr


def test_the_doctor_is_content_without_any_extra(bare: BareEnvironment) -> None:
    done = bare.fdgpu("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fdgpu[index]" in done.stdout
    assert "fdgpu[decode]" in done.stdout


def test_an_index_is_exact_without_faiss(bare: BareEnvironment) -> None:
    code = (
        "import fdgpu, numpy as np; rows = np.eye(4, dtype='float32'); "
        "found = fdgpu.VectorIndex(rows, list('abcd')).search(rows[2:3] + 0.1 * rows[1:2], 2); "
        "print(found.ids.tolist())"
    )
    done = bare.python(code)
    assert done.stdout.strip() == "[[2, 1]]", done.stderr


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import fdgpu; fdgpu.Decoder.bundled('cpu')", "decode"),
        ("import fdgpu, numpy as np; fdgpu.VectorIndex(np.eye(4), list('abcd'), kind='hnsw')", "index"),
    ],
)
def test_a_missing_extra_is_named(bare: BareEnvironment, code: str, extra: str) -> None:
    done = bare.python(code)
    assert done.returncode == 1
    assert f"pip install 'fdgpu[{extra}]'" in done.stderr


def test_decoding_on_the_command_line_names_its_extra(bare: BareEnvironment, photos: Path) -> None:
    done = bare.fdgpu(
        "audit",
        "--images",
        photos / "photos",
        "--predictions",
        photos / "predictions.csv",
        "--out",
        photos / "out",
        "--model",
        "bundled",
        "--decode",
    )
    assert done.returncode == 1
    assert "pip install 'fdgpu[decode]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_extras_never_bring_two_builds_of_faiss() -> None:
    extras = project()["optional-dependencies"]
    builds = {name: [line for line in lines if line.startswith("faiss")] for name, lines in extras.items()}
    assert {name: len(lines) for name, lines in builds.items() if lines} == {"index": 1, "gpu-cu12": 1, "gpu-cu13": 1}
    assert extras["all"] == ["fdgpu[decode,index,plot,wordnet]"]


# --- what is built ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows, in a folder where a build may leave what it likes."""
    folder = tmp_path_factory.mktemp("checkout") / "fdgpu"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            (folder / name).symlink_to((ROOT / name).readlink())
        elif (ROOT / name).is_file():
            shutil.copy2(ROOT / name, folder / name)
    return folder


def build(kind: str, checkout: Path) -> Path:
    """Build what pip and PyPI get, by the project's own build backend."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}('dist'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return checkout / "dist" / done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_wheel_is_small_and_holds_what_runs(checkout: Path) -> None:
    wheel = build("wheel", checkout)
    assert wheel.stat().st_size <= LARGEST_WHEEL
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names} == {"fdgpu", f"fdgpu-{fdgpu.__version__}.dist-info"}
    assert {"fdgpu/py.typed", "fdgpu/kernels/smo_numba.py", "fdgpu/report/templates/page.html"} <= names
    assert {f"fdgpu/demo/photographs/{split}/coat.png" for split in ("base", "val", "test")} <= names
    licences = {name for name in names if name.endswith("LICENSE")}
    assert len([name for name in licences if "dist-info" in name]) == 3
    assert not [name for name in names if "/clip/" in name and name.endswith(".png")]


@pytest.mark.slow
def test_the_source_distribution_can_be_tested(checkout: Path) -> None:
    with tarfile.open(build("sdist", checkout)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "README.md", "tests/conftest.py", "tests/test_packaging.py", "kernels/smo_numba.py"} <= names
    assert {"benchmarks/__init__.py", "docs/architecture.md", "tools/train_clip.py", "CHANGELOG.md"} <= names
