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


ONE_AFTER_THE_OTHER = """
import json
import fdgpu, numpy as np

def said(do):
    try:
        return do()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

rows, names = np.eye(4, dtype="float32"), list("abcd")
print(json.dumps({
    "names": said(lambda: all(getattr(fdgpu, name) is not None for name in fdgpu.__all__)),
    "nearest": said(lambda: fdgpu.VectorIndex(rows, names).search(rows[2:3] + 0.1 * rows[1:2], 2).ids.tolist()),
    "decoder": said(lambda: fdgpu.Decoder.bundled("cpu")),
    "graph": said(lambda: fdgpu.VectorIndex(rows, names, kind="hnsw")),
}))
"""


@pytest.fixture(scope="module")
def said(bare: BareEnvironment) -> dict[str, object]:
    """What calls answered or raised, in one process without any extra: each starts anew for seconds."""
    done = bare.python(ONE_AFTER_THE_OTHER)
    assert done.returncode == 0, done.stderr
    answers: dict[str, object] = json.loads(done.stdout)
    return answers


def test_every_public_name_is_there_without_any_extra(said: dict[str, object]) -> None:
    assert said["names"] is True


def test_the_doctor_is_content_without_any_extra(bare: BareEnvironment) -> None:
    done = bare.fdgpu("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fdgpu[index]" in done.stdout
    assert "fdgpu[decode]" in done.stdout


def test_an_index_is_exact_without_faiss(said: dict[str, object]) -> None:
    assert said["nearest"] == [[2, 1]]


@pytest.mark.parametrize(("call", "extra"), [("decoder", "decode"), ("graph", "index")])
def test_a_missing_extra_is_named(said: dict[str, object], call: str, extra: str) -> None:
    assert f"pip install 'fdgpu[{extra}]'" in str(said[call])


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
