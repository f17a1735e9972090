"""Examples in docstrings run, and give what they show."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from fdgpu.repair import augmentation, selection, training_recipe


@pytest.mark.parametrize("module", [augmentation, selection, training_recipe], ids=lambda module: module.__name__)
def test_an_example_gives_what_it_shows(module: ModuleType) -> None:
    failed, attempted = doctest.testmod(module)
    assert attempted > 0
    assert failed == 0
