"""What Linux's control groups grant a process, which in a container is less than the machine has."""

from __future__ import annotations

import math
from pathlib import Path

CORES = "FDGPU_CORES"  # of processes that share a machine without groups, as the workers of a cluster do


def granted_cores(root: Path = Path("/")) -> float:
    """Return how many cores' time the control groups of this process grant; infinite if they set no limit.

    A limit of a group above holds too. In a container the group's path may be the host's, of which only the top is to
    be seen.

    Args:
        root: where ``proc`` and ``sys`` lie.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    groups, granted = root / "sys/fs/cgroup", [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            granted += [_v2(folder) for folder in _upward(groups, path)]
        elif "cpu" in controllers.split(","):
            for mount in {groups / controllers, groups / "cpu"}:
                granted += [_v1(folder) for folder in _upward(mount, path)]
    return min(granted)


def _upward(mount: Path, path: str) -> list[Path]:
    """Return the group's folder and those above it, up to the mount."""
    group = Path(path.strip("/"))
    return [mount / folder for folder in (group, *group.parents)]


def _v2(folder: Path) -> float:
    try:
        limit, period = (folder / "cpu.max").read_text().split()
        return float(limit.replace("max", "inf")) / float(period)
    except (OSError, ValueError):
        return math.inf


def _v1(folder: Path) -> float:
    try:
        limit, period = (int((folder / f"cpu.cfs_{part}_us").read_text()) for part in ("quota", "period"))
    except (OSError, ValueError):
        return math.inf
    return limit / period if limit > 0 and period > 0 else math.inf
