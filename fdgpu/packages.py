"""Which packages are installed, in which version, and what else computes: asked without importing any of them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import torch

from fdgpu.cuda import card_name, driver_version, quietly
from fdgpu.version import __version__

DISTRIBUTIONS = {  # what may bring a module, where the name is another
    "open_clip": ("open_clip_torch",),
    "PIL": ("pillow",),
    "sklearn": ("scikit-learn",),
    "faiss": ("faiss-cpu", "faiss-gpu-cu12", "faiss-gpu-cuvs"),
    "cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy"),
    "cuml": ("cuml-cu12", "cuml-cu13"),
}
COMPUTING = ("torch", "triton", "numba", "numpy", "scipy", "open_clip", "diffusers", "faiss", "cupy", "cuml")


def installed(module: str) -> dict[str, str]:
    """Return the version of every distribution that is installed and brings ``module``: more than one lie over it."""
    return dict(_installed(DISTRIBUTIONS.get(module, (module,))))


def _installed(distributions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for distribution in distributions:
        try:
            yield distribution, version(distribution)
        except PackageNotFoundError:
            continue


def versions(device: torch.device | None = None) -> dict[str, str]:
    """Return the versions of all that computes, by name; what is not here is left out.

    Args:
        device: whose card is named; None is the current CUDA device. A device that is no CUDA device has none.
    """
    found = {"fdgpu": __version__, "python": platform.python_version()}
    for module in COMPUTING:
        found |= installed(module)
    asked = {"cuda": torch.version.cuda, "driver": driver_version()}
    if (device is None or device.type == "cuda") and quietly(torch.cuda.is_available):
        asked["card"] = card_name(device)
    return found | {name: value for name, value in asked.items() if value is not None}
