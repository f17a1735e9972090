"""What is required is broken where it is missing; what an extra brings is absent, with the command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fdgpu.doctor import EXTRAS, OPTIONAL, REQUIRED, State, examine, healthy


@pytest.mark.parametrize(
    ("module", "detail"),
    [
        ("faiss", "not installed, for an index of captions or images (pip install 'fdgpu[index]')"),
        ("diffusers", "not installed, for decoding directions into pictures (pip install 'fdgpu[decode]')"),
    ],
)
def test_what_an_extra_brings_may_be_absent(module: str, detail: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    lines = examine()
    (line,) = [line for line in lines if line.name == module]
    assert (line.state, line.detail) == (State.ABSENT, detail)
    assert healthy(lines)
    assert ("caption index runs on" in {line.name for line in lines}) == (module != "faiss")


def test_one_that_is_there_and_cannot_be_imported_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_clashing_library.py").write_text("raise ImportError('built for another torch')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("fdgpu.doctor.REQUIRED", ("torch", "a_clashing_library"))
    lines = examine()
    assert [(line.name, line.detail) for line in lines if line.state is State.BROKEN] == [
        ("a_clashing_library", "cannot be imported (built for another torch)")
    ]
    assert not healthy(lines)


def test_no_module_is_looked_at_twice() -> None:
    looked_at = [*REQUIRED, *EXTRAS, *OPTIONAL]
    assert len(looked_at) == len(set(looked_at))
