"""Resident memory of this process, as Linux counts its pages."""

from __future__ import annotations

from pathlib import Path


def resident(field: str) -> int:
    """Return ``VmRSS`` (now) or ``VmHWM`` (peak) of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no line {field}: this benchmark counts pages as Linux does")


def forget_peak() -> None:
    """Start the peak anew."""
    Path("/proc/self/clear_refs").write_text("5")
