"""Quotas of control groups, of both versions, as Linux writes them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fdgpu import device
from fdgpu.cgroups import granted_cores


def laid_out(root: Path, own: str, files: dict[str, str]) -> Path:
    for name, text in {
        "proc/self/cgroup": own,
        **{f"sys/fs/cgroup/{name}": text for name, text in files.items()},
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000\n", "a/b/cpu.max": "max 100000\n"}, 2),
        ("0::/system.slice/docker-1.scope\n", {"cpu.max": "400000 100000\n"}, 4),  # the host's path, in a container
        (
            "4:cpu,cpuacct:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "50000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            0.5,
        ),
        ("4:cpu,cpuacct:/docker/1\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("1:cpuset:/\n0::/\n", {}, math.inf),
        ("0::/\n", {"cpu.max": "unheard of"}, math.inf),
    ],
)
def test_the_quota_is_found(own: str, files: dict[str, str], cores: float, tmp_path: Path) -> None:
    assert granted_cores(laid_out(tmp_path, own, files)) == cores


def test_a_machine_without_control_groups(tmp_path: Path) -> None:
    assert granted_cores(tmp_path) == math.inf


@pytest.mark.parametrize(("granted", "count"), [(0.3, 1), (1.5, 2), (math.inf, 4), (64.0, 4)])
def test_threads_are_no_more_than_paid_for(granted: float, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(device, "granted_cores", lambda: granted)
    assert device.cpu_count() == count
