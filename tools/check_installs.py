"""Resolve every extra with pip's own resolver, each in an environment of its own, and print what pip would install.

``python -m tools.check_installs`` prints the table of ``docs/install.md``; nothing is installed, and wheels alone are
taken. pip's own settings hold: ``PIP_CONFIG_FILE=/dev/null`` leaves out a machine's caps on versions. A resolution
takes minutes.

- ``--floors`` takes every floor of ``pyproject.toml`` as the version, so that what a floor promises can be installed.
- ``--cuml`` downloads the cuML that each GPU extra brings, and compares what fdgpu calls with its source.

pip reads a package's conditions on Python's version with the interpreter that runs it, and picks wheels for the Python
that was asked for: an interpreter of that version gives both.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from fdgpu.cuda import OLDEST_TRITON, version_of

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
EXTRAS = ("", "index", "decode", "plot", "wordnet", "ray", "docs", "all", "dev", "gpu-cu12", "gpu-cu13")
CUDA = {"gpu-cu12": 12, "gpu-cu13": 13}
COLUMNS = {  # heading: what may bring it
    "torch": ("torch",),
    "of CUDA": ("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime"),
    "Triton": ("triton",),
    "numba": ("numba",),
    "NumPy": ("numpy",),
    "open_clip": ("open-clip-torch",),
    "FAISS": ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cuvs"),
    "CuPy": ("cupy-cuda12x", "cupy-cuda13x"),
    "cuML": ("cuml-cu12", "cuml-cu13"),
    "diffusers": ("diffusers",),
    "scikit-learn": ("scikit-learn",),
}
CALLED = {  # what fdgpu.directions.cuml_backend and benchmarks.device pass, beside self
    ("SVC", "__init__"): {"kernel", "gamma", "C", "tol", "max_iter", "class_weight", "output_type"},
    ("SVC", "fit"): {"X", "y", "sample_weight"},
    ("LinearSVC", "__init__"): {"loss", "C", "class_weight", "output_type"},
    ("LinearSVC", "fit"): {"X", "y"},
}
SOURCES = {"SVC": "cuml/svm/svc", "LinearSVC": "cuml/svm/linear_svc"}
Versions = dict[str, str]  # by a distribution's name in lower case, with dashes


class UnresolvableError(Exception):
    """pip finds no versions that fit together."""


def resolve(requirements: Sequence[str], python: str, constraints: Sequence[str] = ()) -> Versions:
    """Return what pip would install into an empty environment.

    Raises:
        UnresolvableError: with the end of what pip said.
    """
    with TemporaryDirectory() as folder:
        report, bounds = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        bounds.write_text("\n".join(constraints))
        command = [
            *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"),
            *("--report", str(report), "--constraint", str(bounds)),
            *("--target", folder, "--python-version", python, "--only-binary=:all:", *requirements),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - pip, by this Python
        if done.returncode:
            raise UnresolvableError("\n".join(done.stderr.strip().splitlines()[-12:]))
        found = json.loads(report.read_text())["install"]
    return {_plain(one["metadata"]["name"]): one["metadata"]["version"] for one in found}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements_of(extra: str, project: Mapping[str, object]) -> list[str]:
    """Return what an extra of ``pyproject.toml`` requires, the base and extras that it names included."""
    extras: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    base: list[str] = project["dependencies"]  # type: ignore[assignment]
    return [*base, *_expanded(extra, extras)] if extra else list(base)


def _expanded(extra: str, extras: Mapping[str, list[str]]) -> Iterator[str]:
    for requirement in extras[extra]:
        own = re.fullmatch(r"fdgpu\[(.*)\]", requirement)
        if own is None:
            yield requirement
        else:
            for named in own[1].split(","):
                yield from _expanded(named.strip(), extras)


def floors(requirements: Sequence[str]) -> list[str]:
    """Return a constraint for each requirement with a floor: the highest floor of a package, as its version."""
    found: dict[str, list[int]] = {}
    for requirement in requirements:
        parsed = re.match(r"([\w.-]+).*?>=\s*([\d.]+)", requirement)
        if parsed is not None:
            name, floor = _plain(parsed[1]), [int(part) for part in parsed[2].split(".")]
            found[name] = max(floor, found.get(name, floor))
    return [f"{name}=={'.'.join(map(str, floor))}" + ("" if len(floor) > 2 else ".*") for name, floor in found.items()]


def problems(extra: str, found: Versions) -> list[str]:
    """Say what is wrong with what resolved, although pip is content."""
    said = []
    if version_of(found["triton"]) < OLDEST_TRITON:
        said.append(f"Triton {found['triton']} does not compile the kernels")
    asked = CUDA.get(extra)
    built = version_of(_cell(found, COLUMNS["of CUDA"]) or "0.0")[0]
    if asked is not None and built != asked:
        said.append(f"its torch is of CUDA {built}, not {asked}")
    return said


def _cell(found: Versions, names: Sequence[str]) -> str:
    """Return the version of the first that is there; torch's own CUDA 12 packages stand before cuML's CUDA 13."""
    return next((found[name] for name in names if name in found), "")


def table(resolved: Mapping[tuple[str, str], Versions]) -> Iterator[str]:
    """Yield the lines of a markdown table of what resolved for ``(extra, Python)``; equal lines are one."""
    yield "| extra | Python | " + " | ".join(COLUMNS) + " |"
    yield "|---" * (2 + len(COLUMNS)) + "|"
    rows: dict[tuple[str, ...], list[str]] = {}
    for (extra, python), found in resolved.items():
        cells = (f"`{extra}`" if extra else "none", *(_cell(found, names) for names in COLUMNS.values()))
        rows.setdefault(cells, []).append(python)
    for (extra, *versions), pythons in rows.items():
        yield f"| {extra} | {', '.join(pythons)} | " + " | ".join(versions) + " |"


# --- cuML's signatures ----------------------------------------------------------------------------------------------


def cuml_lacks(wheel: Path) -> list[str]:
    """Return what fdgpu passes to cuML's classes and a wheel of cuML does not take; the wheel is read, not imported."""
    lacking = []
    with zipfile.ZipFile(wheel) as files:
        names = files.namelist()
        for (kind, method), passed in CALLED.items():
            source = next(name for name in names if re.fullmatch(rf"{SOURCES[kind]}\.(py|pyx)", name))
            taken = taken_by(files.read(source).decode(), kind, method)
            lacking += [f"{kind}.{method}({name}=)" for name in sorted(passed - taken)]
    return lacking


def taken_by(source: str, kind: str, method: str) -> set[str]:
    """Return the names of what a method takes, from Python's or Cython's source."""
    of_class = re.search(rf"^class {kind}\b.*?(?=^class |\Z)", source, re.MULTILINE | re.DOTALL)
    written = of_class and re.search(rf"def {method}(\(.*?\))\s*(->[^:]*)?:", of_class[0], re.DOTALL)
    if not written:
        raise ValueError(f"no {kind}.{method} is written there")
    # Cython's own types are no Python
    arguments = ast.parse(f"def read{written[1]}: ...").body[0].args  # type: ignore[attr-defined]
    return {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}


def download(name: str, version: str, python: str, folder: Path) -> Path:
    """Download one wheel."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"),
        *("--python-version", python, "--dest", str(folder), f"{name}=={version}"),
    ]
    subprocess.run(command, check=True)  # noqa: S603 - pip, by this Python
    (wheel,) = folder.glob(f"{name.replace('-', '_')}*.whl")
    return wheel


def main() -> int:
    """Resolve, print the table, and return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", nargs="+", default=EXTRAS, help="'' is none")
    parser.add_argument("--pythons", nargs="+", default=PYTHONS)
    parser.add_argument("--floors", action="store_true", help="take every floor as the version")
    parser.add_argument("--cuml", action="store_true", help="compare cuML's signatures, from its wheels")
    asked = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    resolved, wrong = {}, []
    for extra in asked.extras:
        required = requirements_of(extra, project)
        for python in asked.pythons:
            place = f"{extra or 'none'} on Python {python}"
            print(f"resolving {place}", file=sys.stderr, flush=True)
            try:
                found = resolve(required, python, floors(required) if asked.floors else ())
            except UnresolvableError as error:
                wrong.append(f"{place}: {error}")
                continue
            resolved[extra, python] = found
            wrong += [f"{place}: {problem}" for problem in problems(extra, found)]
    print("\n".join(table(resolved)))
    if asked.cuml:
        wrong += _compare_cuml(resolved)
    for problem in wrong:
        print(problem, file=sys.stderr)
    return 1 if wrong else 0


def _compare_cuml(resolved: Mapping[tuple[str, str], Versions]) -> Iterator[str]:
    for (extra, python), found in resolved.items():
        for name in COLUMNS["cuML"]:
            if name in found:
                with TemporaryDirectory() as folder:
                    lacking = cuml_lacks(download(name, found[name], python, Path(folder)))
                print(f"{name} {found[name]} ({extra}, Python {python}): {'lacks' if lacking else 'takes all'}")
                yield from (f"{name} {found[name]} lacks {one}" for one in lacking)


if __name__ == "__main__":
    sys.exit(main())
