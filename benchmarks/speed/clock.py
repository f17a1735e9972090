"""Seconds, on the host and on a device that goes on computing while the host does."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Return the wall-clock time of one call, from an idle device to an idle device."""
    settle(device)
    start = time.perf_counter()
    run()
    settle(device)
    return time.perf_counter() - start


def kernel_seconds(run: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Return the median time of what one call launches, after a call that compiles and warms up.

    On CUDA it is taken between two events in the stream, which leaves out the wait for the device at the end.
    """
    run()
    times = [_between_events(run) if device.type == "cuda" else seconds(run, device) for _ in range(repeats)]
    return statistics.median(times)


def _between_events(run: Callable[[], object]) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3


def settle(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
