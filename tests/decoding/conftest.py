"""One thread for every test of decoding."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def one_thread_each(one_thread: None) -> None:
    """Take one thread, and give the others back."""
