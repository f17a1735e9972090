"""A library that is not installed is named with the extra that brings it."""

from __future__ import annotations

import json
import sys

import pytest

from fdgpu.errors import FdgpuError, MissingExtraError
from fdgpu.extras import require


def test_a_library_that_is_there_is_returned() -> None:
    assert require("json", "decode", "decoding") is json


@pytest.mark.parametrize("module", ["a_library_that_nobody_wrote", "a_library_that_nobody_wrote.part"])
def test_one_that_is_not_says_what_to_install(module: str) -> None:
    with pytest.raises(
        MissingExtraError, match=r"decoding needs a_library_that_nobody_wrote.*'fdgpu\[decode\]'"
    ) as got:
        require(module, "decode", "decoding")
    assert isinstance(got.value, FdgpuError)
    assert isinstance(got.value, ImportError)


def test_one_that_lacks_something_of_its_own_says_so_itself(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("libraries")
    (folder / "half_a_library.py").write_text("import a_library_that_nobody_wrote")
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_nobody_wrote") as got:
        require("half_a_library", "decode", "decoding")
    assert not isinstance(got.value, MissingExtraError)
    assert "half_a_library" not in sys.modules
