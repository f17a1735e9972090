"""What each stage of a job takes: seconds, bytes through the system's calls, and memory at its peak."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.memory import forget_peak, resident


@dataclass(frozen=True)
class Usage:
    """What a stage took.

    Attributes:
        seconds: by the clock, a device's work included.
        cores: seconds that cores of the processor have worked for it: of two in one second, two.
        read: bytes that the process asked the system for, from the disk or from the page cache; of files that it maps
            into memory none.
        written: bytes that it gave the system.
        host: bytes that were resident at most, beyond those of the process when the meter was made.
        device: bytes that torch held on the device at most; None without one.
    """

    seconds: float = 0.0
    cores: float = 0.0
    read: int = 0
    written: int = 0
    host: int = 0
    device: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Return what a stage took that was gone on with."""
        device = [one for one in (self.device, other.device) if one is not None]
        return Usage(
            self.seconds + other.seconds,
            self.cores + other.cores,
            self.read + other.read,
            self.written + other.written,
            max(self.host, other.host),
            max(device, default=None),
        )


class Meter:
    """A reporter (:class:`fdgpu.progress.Reporter`): a stage lasts from its first report to that of another.

    Args:
        device: whose memory is looked at.
        stages: report → the stage that it belongs to; by default a stage of its own.

    Attributes:
        usage: of each stage, in the order in which they began. One that began again is added up.
    """

    def __init__(self, device: str | torch.device = "cpu", stages: Mapping[str, str] | None = None) -> None:
        self.device, self.stages = torch.device(device), dict(stages or {})
        self.usage: dict[str, Usage] = {}
        self._open: str | None = None
        self._start = self._worked = 0.0
        self._read = self._written = 0
        self._base = resident("VmRSS")

    def __call__(self, stage: str, done: int, total: int | None) -> None:  # noqa: ARG002 - how far it is plays no part
        """Begin a stage with its first report."""
        self.begin(self.stages.get(stage, stage))

    def begin(self, stage: str) -> None:
        """Begin a stage, unless it is the one that lasts."""
        if stage == self._open:
            return
        self.end()
        self._open = stage
        self.usage.setdefault(stage, Usage())
        forget_peak()
        if self._on_device:
            torch.cuda.reset_peak_memory_stats(self.device)
        self._read, self._written = transferred()
        self._start, self._worked = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """End the stage that lasts."""
        if self._open is None:
            return
        if self._on_device:
            torch.cuda.synchronize(self.device)  # what a stage has asked for is its own
        seconds, cores = time.perf_counter() - self._start, time.process_time() - self._worked
        read, written = transferred()
        self.usage[self._open] += Usage(
            seconds,
            cores,
            read - self._read,
            written - self._written,
            max(0, resident("VmHWM") - self._base),
            torch.cuda.max_memory_allocated(self.device) if self._on_device else None,
        )
        self._open = None

    def divide(self, stage: str, part: str, seconds: float) -> None:
        """Make some seconds of a stage a stage of its own; bytes stay with the first, memory is that of both."""
        whole = self.usage[stage]
        cores = whole.cores * seconds / whole.seconds
        divided: dict[str, Usage] = {}
        for name, usage in self.usage.items():
            divided[name] = usage
            if name == stage:
                divided[stage] = replace(whole, seconds=whole.seconds - seconds, cores=whole.cores - cores)
                divided[part] = Usage(seconds, cores, 0, 0, whole.host, whole.device)
        self.usage = divided

    @property
    def _on_device(self) -> bool:
        return self.device.type == "cuda"


def transferred() -> tuple[int, int]:
    """Return how many bytes this process has read and written by the system's calls."""
    counted = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counted["rchar"]), int(counted["wchar"])
