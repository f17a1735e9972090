"""The batched loop beside the same net called direction by direction, at equal steps and with equal noise."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.decoding.plain import PlainPipeline
from fdgpu.decoding import Decoder
from fdgpu.decoding.bundled_net import BundledNet
from fdgpu.decoding.grid import decode_grid

TOLERANCE = {torch.float32: 2e-3, torch.float16: 5e-2}  # of a picture's entry in [0, 1], after every step


@dataclass(frozen=True)
class Job:
    """k classes x (2 a + 1) rotations x s seeds."""

    references: Tensor
    directions: Tensor
    alphas: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    guidance: float


def row(net: BundledNet, job: Job, repeats: int = 3) -> dict[str, Any]:
    """Decode both ways, compare, and time each; a ratio only where the pictures are the same."""
    decoder = Decoder(net, 256)
    pipeline = PlainPipeline(net.net, net.scheduler)
    together = _grid(decoder, job)
    apart = _call_by_call(pipeline, together.vectors, job, len(job.seeds))
    difference = float((together.pictures.flatten(0, 2) - apart).abs().max())
    same = difference <= TOLERANCE[net.dtype]
    seconds = {
        "one batch": _fastest(lambda: _grid(decoder, job), net.device, repeats),
        "a direction a call": _fastest(
            lambda: _call_by_call(pipeline, together.vectors, job, len(job.seeds)), net.device, repeats
        ),
        "a picture a call": _fastest(lambda: _call_by_call(pipeline, together.vectors, job, 1), net.device, 1),
    }
    ours = seconds["one batch"]
    return {
        "pictures": len(apart),
        "steps": job.steps,
        "seeds": len(job.seeds),
        "dtype": str(net.dtype).removeprefix("torch."),
        "largest difference": difference,
        **{f"{name}, s": round(value, 3) for name, value in seconds.items()},
        "ratio, a direction a call": round(seconds["a direction a call"] / ours, 2) if same else None,
        "ratio, a picture a call": round(seconds["a picture a call"] / ours, 2) if same else None,
    }


def _grid(decoder: Decoder, job: Job) -> Any:
    return decode_grid(
        decoder,
        job.references,
        job.directions,
        alphas=job.alphas,
        seeds=job.seeds,
        steps=job.steps,
        guidance=job.guidance,
    )


def _call_by_call(pipeline: PlainPipeline, vectors: Tensor, job: Job, seeds_a_call: int) -> Tensor:
    parts = []
    for vector in vectors.flatten(0, 1):
        for start in range(0, len(job.seeds), seeds_a_call):
            chosen = job.seeds[start : start + seeds_a_call]
            generators = [torch.Generator().manual_seed(seed) for seed in chosen]
            parts.append(pipeline(vector[None].to(pipeline.device), job.steps, job.guidance, generators))
    return torch.cat(parts).to(vectors.device)


def _fastest(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)
