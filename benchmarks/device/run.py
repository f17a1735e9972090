"""The parts of a run in a process of their own: one that fails, hangs or takes its process down costs only itself.

A device on which a kernel has failed answers nothing more in the same process, and Triton's compiler has been seen to
end its process. So after a failure the parts that are left go on in a new one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch

from benchmarks.device.record import Record, Row
from benchmarks.device.sizes import Sizes
from fdgpu.device import Backend

Part = tuple[str, str]  # its name, which is its function's, and its module
GB = 1e9
PATIENCE_S = 10  # for a process that has done its parts to end
PARTS = {  # in the order of a run, each a generator of rows in a module that is loaded when its turn comes
    "tests": "benchmarks.device.whole",
    "solver": "benchmarks.device.solving",
    "permutations": "benchmarks.device.solving",
    "alignment": "benchmarks.device.vectors",
    "captions": "benchmarks.device.vectors",
    "images": "benchmarks.device.vectors",
    "audit": "benchmarks.device.whole",
    "index": "benchmarks.device.vectors",
    "decoding": "benchmarks.device.whole",
    "cuml": "benchmarks.device.solving",
}


@dataclass(frozen=True)
class Setting:
    """Where is measured, how much, and below which cap of device memory in 10^9 bytes."""

    device: str
    sizes: Sizes
    memory_gb: float | None = None

    @property
    def backend(self) -> Backend:
        """The solver on that device."""
        return Backend.NUMBA if self.device == "cpu" else Backend.TRITON

    def cap_memory(self) -> None:
        """Hold torch below the cap: from there on it is out of memory, as on a smaller card."""
        if self.memory_gb is not None:
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, self.memory_gb * GB / total))


def measure_parts(parts: Mapping[str, str], setting: Setting, record: Record, budget_s: float) -> None:
    """Measure parts, each a generator in a module, until the seconds are spent; what is left out is in the record."""
    end = time.monotonic() + budget_s
    left = list(parts.items())
    while left and time.monotonic() < end:
        left = _in_a_process(left, setting, record, end)
    for part, _ in left:
        record.add(Row(part, "", note=f"left out: the {budget_s:g} s of the run were spent"))


def _in_a_process(parts: list[Part], setting: Setting, record: Record, end: float) -> list[Part]:
    """Measure parts in one process until one fails; return those that are left after it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(parts, setting, theirs))
    process.start()
    theirs.close()  # ours then ends where the process does
    start = time.monotonic()
    try:
        for i, (part, _) in enumerate(parts):
            failure = _rows_of_a_part(ours, record, end)
            record.seconds[part] = time.monotonic() - start
            start = time.monotonic()
            if failure is not None:
                process.join(timeout=2)  # where it is about to end
                died = f"; its process ended with {process.exitcode}" if process.exitcode else ""
                record.add(Row(part, "", note=f"failed: {failure}{died}"))
                return parts[i + 1 :]
            record.write()
        process.join(timeout=PATIENCE_S)
        return []
    finally:
        if process.is_alive():
            _end_with_its_children(process)


def _end_with_its_children(process: BaseProcess) -> None:
    """End a process, and the pools and tests that it has started: they would go on, and hold the terminal."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()  # one that leads no group yet, as while it starts, has started nobody
    process.join()


def _rows_of_a_part(messages: Connection, record: Record, end: float) -> str | None:
    """Take rows as they come until the part is done; return why it failed, or None."""
    try:
        while messages.poll(max(0.0, end - time.monotonic())):
            message = messages.recv()
            if not isinstance(message, Row):
                return None if message is None else str(message)
            record.add(message)
    except EOFError:
        return "it gave no reason"
    return "the seconds of the run were spent"


def _work(parts: Sequence[Part], setting: Setting, messages: Connection) -> None:
    """Send the rows of each part, and None after each; or the reason of the first failure, and end."""
    os.setsid()  # a group of its own, which can be ended as one
    if setting.device == "cpu":
        torch.set_num_threads(1)  # at such sizes threads spend the time in waiting for each other
    for part, module in parts:
        try:
            if setting.device == "cuda":
                setting.cap_memory()
                torch.cuda.reset_peak_memory_stats()
            for row in getattr(import_module(module), part)(setting):
                messages.send(replace(row, peak_gb=_peak_gb(setting)))
            if setting.device == "cuda":
                torch.cuda.synchronize()  # what a kernel did wrong is this part's
                torch.cuda.empty_cache()  # what other libraries allocate finds room
        except Exception as error:  # whatever it is, the other parts go on
            messages.send(f"{type(error).__name__}: {error}")
            return
        messages.send(None)


def _peak_gb(setting: Setting) -> float | None:
    return torch.cuda.max_memory_allocated() / GB if setting.device == "cuda" else None
