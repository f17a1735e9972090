"""Parts of a run that go wrong, each in its way."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from benchmarks.device.record import Row
from benchmarks.device.run import Setting


def works(setting: Setting) -> Iterator[Row]:
    yield Row("works", f"on {setting.device}", 1.0, "s")


def raises(_: Setting) -> Iterator[Row]:
    yield Row("raises", "before it raises", 1.0, "s")
    raise ValueError("a kernel did something wrong")


def dies(_: Setting) -> Iterator[Row]:
    yield Row("dies", "before it dies", 1.0, "s")
    time.sleep(0.2)  # until the row has gone
    os.kill(os.getpid(), signal.SIGSEGV)


def hangs(_: Setting) -> Iterator[Row]:
    time.sleep(3600)
    yield Row("hangs", "never")
