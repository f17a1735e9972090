"""What keeps torch, and the kernels that Triton compiles, from a CUDA device: asked before anything is computed."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch

from fdgpu.extras import install

OLDEST_CAPABILITY = (7, 0)  # Volta
OLDEST_OF_CUDA_13 = (7, 5)  # Turing
OLDEST_TRITON = (3, 5)  # the compilers of 3.0 to 3.4 crash in the solver's loop within a loop
DRIVER = Path("/proc/driver/nvidia/version")
GPU_EXTRAS = f"{install('gpu-cu12')} for CUDA 12, or 'fdgpu[gpu-cu13]' for CUDA 13"
T = TypeVar("T")


def why_no_cuda(device: torch.device | None = None) -> str | None:
    """Say what keeps torch from computing on a CUDA device, and what to do; None if nothing does.

    Nothing is computed: that a build of torch has no code for the card is read from what it was built for.

    Args:
        device: None is the current CUDA device.
    """
    if not quietly(torch.cuda.is_available):
        return f"no CUDA device ({_why_none_answers()})"
    if torch.version.hip is not None:  # its architectures have other names, and torch itself checks them
        return None
    capability, built = capability_of(device), architectures()
    if not built or runs_on(capability, built):
        return None
    has_code = f"this torch has no code for {card_name(device)}, only for {', '.join(built)}"
    return f"{has_code}; {_wheel_for(capability, built)}"


def why_no_triton(device: torch.device | None = None) -> str | None:
    """Say what keeps the Triton kernels from a CUDA device, and what to do; None if nothing does."""
    missing = why_no_cuda(device)
    if missing is not None:
        return missing
    if capability_of(device) < OLDEST_CAPABILITY:
        return f"{card_name(device)} is too old for the kernels, which need sm_70 or newer"
    return why_triton_does_not_compile()


def why_triton_does_not_compile() -> str | None:
    """Say what is wrong with the installed Triton, and what to do; None if nothing is. Needs no device."""
    try:
        import triton
    except ImportError as error:
        return f"Triton cannot be imported ({error}); PyPI's torch for Linux brings it: pip install --upgrade torch"
    if version_of(triton.__version__) < OLDEST_TRITON:
        return (
            f"Triton is {triton.__version__}, and its compiler crashes on these kernels before 3.5: "
            "pip install --upgrade 'torch>=2.9', which brings a newer one"
        )
    return None


def architectures() -> list[str]:
    """Return what the installed torch was built for, such as ``["sm_80", "compute_90"]``; needs no device."""
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
    return flags.split() if flags else []


def runs_on(capability: tuple[int, int], built: Sequence[str]) -> bool:
    """Whether any of the architectures that were built for runs on a device of ``capability``.

    Machine code (``sm_80``) runs within its major version on the same and higher minor ones; PTX (``compute_80``) is
    compiled on any newer device. Ending in ``a`` both are of one capability alone, in ``f`` of one major version.
    """
    return any(_runs(capability, architecture) for architecture in built)


def _runs(capability: tuple[int, int], architecture: str) -> bool:
    parsed = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
    if parsed is None:
        return False
    kind, major, minor, ending = parsed.groups()
    built = int(major), int(minor)
    if ending == "a":
        return capability == built
    if kind == "compute" and not ending:
        return capability >= built
    return capability[0] == built[0] and capability >= built


def capability_of(device: torch.device | None = None) -> tuple[int, int]:
    """Return the compute capability, (8, 0) of an A100; torch's own warning of a card it has no code for is ours."""
    major, minor = quietly(lambda: torch.cuda.get_device_capability(device))
    return major, minor


def card_name(device: torch.device | None = None) -> str:
    """Return a card's name and architecture: ``"NVIDIA A100 (sm_80)"``."""
    major, minor = capability_of(device)
    return f"{torch.cuda.get_device_name(device)} (sm_{major}{minor})"


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver, as the kernel has it loaded; None if there is none."""
    try:
        said = DRIVER.read_text()
    except OSError:
        return None
    found = re.search(r"Kernel Module\b.*?\s(\d+(?:\.\d+)+)\s", said)
    return found[1] if found else None


def serving_extra(capability: tuple[int, int]) -> str:
    """Return the extra whose torch has code for the card."""
    return "gpu-cu13" if capability >= OLDEST_OF_CUDA_13 else "gpu-cu12"


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor of a version such as ``"3.5.1+git"``."""
    major, minor = re.findall(r"\d+", text)[:2]
    return int(major), int(minor)


def quietly(ask: Callable[[], T]) -> T:
    """Ask torch about CUDA without the warnings in which it says once what is said here every time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return ask()


def _wheel_for(capability: tuple[int, int], built: Sequence[str]) -> str:
    """Say how to get a torch with code for the card: an older one for what CUDA 13 dropped, else a newer one."""
    if capability < OLDEST_CAPABILITY:
        return "use device='cpu'"
    newer = all(capability > newest for newest in map(_capability_named, built))
    upgrade = "--upgrade " if newer else ""
    return install(serving_extra(capability)).replace("install ", f"install {upgrade}")


def _capability_named(architecture: str) -> tuple[int, int]:
    digits = re.findall(r"\d+", architecture)[0]
    return int(digits[:-1]), int(digits[-1])


def _why_none_answers() -> str:
    """Say why no device answers; torch's own words are kept only where they are not understood."""
    wheel = torch.version.cuda
    if wheel is None:
        return "this torch was built without CUDA; install a CUDA build of torch"
    try:
        quietly(torch.cuda.init)
        said = "torch finds none"
    except (RuntimeError, AssertionError) as error:
        said = str(error)
    too_old = re.search(r"driver on your system is too old \(found version (\d+)\)", said)
    if too_old:
        return _older_driver(int(too_old[1]), wheel)
    if "Found no NVIDIA driver" in said:
        return f"no NVIDIA driver is installed; this torch needs one that serves CUDA {wheel}"
    if "No CUDA GPUs are available" in said and "CUDA_VISIBLE_DEVICES" in os.environ:
        return f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}, which shows no device; unset it"
    return f"{said.partition('. ')[0].strip()}; nvidia-smi shows what the driver sees"


def _older_driver(found: int, wheel: str) -> str:
    """Say what to do about a driver that serves CUDA ``found``, 12040 for 12.4, where torch was built for a later."""
    serves = found // 1000, found % 1000 // 10
    other = f", or {install('gpu-cu12')}" if serves[0] == 12 and version_of(wheel)[0] > 12 else ""
    return (
        f"the NVIDIA driver serves CUDA {serves[0]}.{serves[1]} at most, and this torch was built for CUDA {wheel}; "
        f"update the driver{other}"
    )
