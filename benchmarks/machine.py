"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from threadpoolctl import threadpool_info

from fdgpu.device import cpu_count
from fdgpu.version import __version__

PACKAGES = (
    "numpy", "numba", "scikit-learn", "torch", "triton", "open_clip_torch", "diffusers", "cupy-cuda12x", "cupy-cuda13x",
    "cuml-cu12", "cuml-cu13", "faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cuvs", "pillow", "torchcodec", "torchvision",
    "ffcv", "cleanlab",
)  # fmt: skip


def machine() -> dict[str, str]:
    """Return processor, device, versions and commit."""
    return {
        "processor": _processor(),
        "cores": str(cpu_count()),
        "blas threads": str(max((pool["num_threads"] for pool in threadpool_info()), default=1)),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "fdgpu": __version__,
        **_installed(PACKAGES),
        "commit": _commit(),
    }


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in names:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit, and say so if the tree differs from it in more than stored results.

    A copy of the tree without its history takes it from the environment: ``COMMIT=$(git rev-parse --short HEAD)``.
    """
    root = Path(__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603, S607

    try:
        commit = git("rev-parse", "--short", "HEAD")
    except FileNotFoundError:
        commit = ""
    if not commit:
        return os.environ.get("COMMIT", "unknown")
    return commit + (
        " with changes"
        if git("status", "--porcelain", "--", ":/", ":(exclude)results", ":(exclude,top)results")
        else ""
    )
