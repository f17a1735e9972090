"""What the device can do at most, measured: bytes a second of a copy, operations a second of a matrix product."""

from __future__ import annotations

import torch

from benchmarks.speed.clock import kernel_seconds

COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # far beyond the last cache
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: large enough that launching them costs nothing


def copy_rate(device: torch.device, rounds: int, scale: float = 1.0) -> float:
    """Return bytes a second, read and written; ``scale`` below 1 is for a try."""
    n = int(COPY_BYTES[device.type] * scale) // 4
    source, target = torch.zeros(n, device=device), torch.zeros(n, device=device)  # written, so that pages are there
    return 2 * 4 * n / kernel_seconds(lambda: target.copy_(source), device, rounds)


def matmul_rate(device: torch.device, dtype: torch.dtype, rounds: int, scale: float = 1.0) -> float:
    """Return operations a second, a multiply-add is two; on CUDA a float32 product is allowed TF32."""
    side = max(256, int(SIDE[device.type] * scale))
    a = torch.randn(side, side, device=device).to(dtype)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        return 2 * side**3 / kernel_seconds(lambda: a @ a, device, rounds)
    finally:
        torch.set_float32_matmul_precision(precision)
