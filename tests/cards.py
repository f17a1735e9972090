"""Stand-ins for CUDA cards and drivers, which the machine that tests run on lacks."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import torch

CUDA_13 = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"  # torch 2.14


def show_card(
    monkeypatch: pytest.MonkeyPatch, name: str, capability: tuple[int, int], *, built: str = CUDA_13, count: int = 1
) -> None:
    """Let torch say that cards are there, and that it was built for ``built``; nothing computes on them."""

    def torch_warns(*_: Any) -> tuple[int, int]:  # as torch does of a card that it has no code for
        import warnings

        warnings.warn(f"{name} is not compatible with the current PyTorch installation", UserWarning, stacklevel=2)
        return capability

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", torch_warns)
    monkeypatch.setattr(torch._C, "_cuda_getArchFlags", lambda: built, raising=False)


def show_no_card(monkeypatch: pytest.MonkeyPatch, said: str, *, wheel: str | None = "13.0") -> None:
    """Let a torch that was built for CUDA ``wheel`` find no device, and say ``said`` of it as it starts CUDA."""

    def is_available() -> bool:
        import warnings

        warnings.warn(f"CUDA initialization: {said} (Triggered internally at CUDAFunctions.cpp)", stacklevel=2)
        return False

    def init() -> NoReturn:
        raise RuntimeError(said)

    monkeypatch.setattr(torch.version, "cuda", wheel)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "init", init)
