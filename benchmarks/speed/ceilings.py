"""What the device can do at most, measured: bytes a second of a copy, operations a second of a matrix product."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.speed.clock import kernel_seconds

COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30}  # far beyond the last cache
SIDE = {"cpu": 2048, "cuda": 8192}  # of the matrices: large enough that launching them costs nothing


@dataclass(frozen=True)
class Ceilings:
    """Copy bandwidth in bytes a second, read and written; matmul rate in operations a second, a multiply-add is two."""

    copy: float
    matmul: float


def measure_ceilings(device: torch.device, repeats: int = 5, scale: float = 1.0) -> Ceilings:
    """Copy and multiply in torch.

    The product is in float32, on CUDA with TF32 allowed, which is what the Gram kernel is made of there.

    Args:
        device: where.
        repeats: how often; the median counts.
        scale: of both sizes, below 1 for a try.
    """
    n = int(COPY_BYTES[device.type] * scale) // 4
    source, target = torch.zeros(n, device=device), torch.zeros(n, device=device)  # written, so that pages are there
    copy_s = kernel_seconds(lambda: target.copy_(source), device, repeats)
    side = max(512, int(SIDE[device.type] * scale))
    a = torch.randn(side, side, device=device)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        matmul_s = kernel_seconds(lambda: a @ a, device, repeats)
    finally:
        torch.set_float32_matmul_precision(precision)
    return Ceilings(2 * 4 * n / copy_s, 2 * side**3 / matmul_s)
