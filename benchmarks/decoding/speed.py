"""The batched loop beside the same pipeline called direction by direction, at equal steps and with equal noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fdgpu.decoding import DecodedGrid, Decoder, decode_grid

TOLERANCE = {torch.float32: 2e-3, torch.float16: 5e-2}  # of a picture's entry in [0, 1], after every step

Call = Callable[[Tensor, "Job", list[torch.Generator]], Tensor]


@dataclass(frozen=True)
class Job:
    """k classes x (2 a + 1) rotations x s seeds."""

    references: Tensor
    directions: Tensor
    alphas: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    guidance: float


def row(decoder: Decoder, call: Call, job: Job, device: torch.device, dtype: torch.dtype, repeats: int = 3) -> Any:
    """Decode both ways, compare, and time each; a ratio only where the pictures are the same.

    Args:
        decoder: decodes all of the job in batches.
        call: the pipeline's own call, for one vector (1, d) with a generator a picture.
        job: what to decode.
        device: where it computes.
        dtype: in which precision.
        repeats: the fastest of so many counts.
    """
    together = _grid(decoder, job)
    vectors = together.vectors.flatten(0, 1)
    apart = _call_by_call(call, vectors, job, len(job.seeds))
    difference = float((together.pictures.flatten(0, 2).cpu() - apart.cpu()).abs().max())
    ours = _fastest(lambda: _grid(decoder, job), device, repeats)
    a_direction = _fastest(lambda: _call_by_call(call, vectors, job, len(job.seeds)), device, repeats)
    a_picture = _fastest(lambda: _call_by_call(call, vectors, job, 1), device, 1)
    same = difference <= TOLERANCE[dtype]
    return {
        "pipeline": decoder.name,
        "pictures": len(apart),
        "seeds a direction": len(job.seeds),
        "steps": job.steps,
        "dtype": str(dtype).removeprefix("torch."),
        "largest difference": difference,
        "in batches, s": round(ours, 3),
        "a direction a call, s": round(a_direction, 3),
        "a picture a call, s": round(a_picture, 3),
        "ratio, a direction a call": round(a_direction / ours, 2) if same else None,
        "ratio, a picture a call": round(a_picture / ours, 2) if same else None,
    }


def _grid(decoder: Decoder, job: Job) -> DecodedGrid:
    return decode_grid(
        decoder,
        job.references,
        job.directions,
        alphas=job.alphas,
        seeds=job.seeds,
        steps=job.steps,
        guidance=job.guidance,
    )


def _call_by_call(call: Call, vectors: Tensor, job: Job, seeds_a_call: int) -> Tensor:
    parts = []
    for vector in vectors:
        for start in range(0, len(job.seeds), seeds_a_call):
            chosen = job.seeds[start : start + seeds_a_call]
            parts.append(call(vector[None], job, [torch.Generator().manual_seed(seed) for seed in chosen]))
    return torch.cat(parts)


def _fastest(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
