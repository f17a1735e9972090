"""Comparisons of kernels with their references, in a child process whose kernels are interpreted."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.bare import ROOT

FILES = sorted(
    file.relative_to(ROOT).as_posix()
    for file in (ROOT / "tests").rglob("test_*.py")
    if "\n@comparison\n" in file.read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def outcomes() -> list[str]:
    """A line for each comparison of all files: they share a child, which takes seconds to start."""
    command = [sys.executable, "-m", "pytest", *FILES, "-m", "gpu", "-q", "-rA", "-p", "no:cacheprovider", "--color=no"]
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    env.pop("PYTEST_ADDOPTS", None)  # a filter meant for this session is not the child's
    child = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=3000.0, check=False)
    lines = child.stdout.splitlines()
    if child.returncode or "skipped" in lines[-1]:
        pytest.fail(
            f"{' '.join(command)} ended with {child.returncode}:\n{child.stdout}\n{child.stderr}", pytrace=False
        )
    return lines


def test_there_are_such_files() -> None:
    assert len(FILES) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_the_comparisons_of_a_file_hold(file: str, outcomes: list[str]) -> None:
    """A file whose comparisons were all lost fails, so that an empty run cannot pass."""
    assert any(line.startswith(f"PASSED {file}::") for line in outcomes)
