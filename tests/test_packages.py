"""What is installed is told by its own name and version, without importing it."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from fdgpu import cuda
from fdgpu.extras import installed
from fdgpu.fingerprint import COMPUTING, versions
from fdgpu.version import __version__
from tests.cards import show_card

# As the driver of closed and of open source write it
PROPRIETARY = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\nGCC version: 11.4"
)
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.124.06  Release Build  (a@b)\nGCC: 12"


def test_versions_of_what_computes() -> None:
    found = versions(torch.device("cpu"))
    assert (found["fdgpu"], found["python"]) == (__version__, platform.python_version())
    assert (found["numpy"], found["torch"]) == (np.__version__, version("torch"))
    assert found["open_clip_torch"] == version("open_clip_torch")
    assert found.get("cuda") == torch.version.cuda
    assert "card" not in found


def test_the_card_is_named_only_where_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    show_card(monkeypatch, "Tesla V100", (7, 0))
    for device in (None, torch.device("cuda"), torch.device("cuda:0")):
        assert versions(device)["card"] == "Tesla V100 (sm_70)"
    assert "card" not in versions(torch.device("cpu"))


@pytest.mark.parametrize(
    ("said", "driver"), [(PROPRIETARY, "535.54.03"), (OPEN, "570.124.06"), ("neither", None), (None, None)]
)
def test_the_driver(said: str | None, driver: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if said is not None:
        (tmp_path / "version").write_text(said)
    monkeypatch.setattr(cuda, "DRIVER", tmp_path / "version")
    assert versions().get("driver") == driver


def test_builds_that_lie_over_each_other_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fdgpu.extras.version", lambda _: "1.0")
    assert installed("faiss") == {"faiss-cpu": "1.0", "faiss-gpu-cu12": "1.0", "faiss-gpu-cuvs": "1.0"}
    assert installed("numpy") == {"numpy": "1.0"}


def test_nothing_is_imported_that_is_slow_to_import() -> None:
    code = "import sys; from fdgpu.fingerprint import versions; versions(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not (set(COMPUTING) - {"torch", "numpy"}) & set(done.stdout.split())
