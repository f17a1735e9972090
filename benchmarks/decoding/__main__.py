"""Decode directions in one batch beside one call a direction, at equal steps and noise.

    python -m benchmarks.decoding [--folder FOLDER] [--quick] [--write]

10 classes x 7 rotations, with one and with four seeds, by the bundled decoder and by a small Kandinsky; the pictures
are compared first. How hard the decoded pictures are for a model is ``python -m benchmarks.paper decoding``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from benchmarks.decoding import speed
from benchmarks.decoding.plain import PlainPipeline, call_kandinsky, small_kandinsky
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.decoding import Decoder
from fdgpu.decoding.decoder import FOLDER, WEIGHTS, BundledNet


def measure_speed(
    net: BundledNet,
    weights: Path,
    classes: int = 10,
    seeds: Sequence[int] = (1, 4),
    steps: int | None = None,
    repeats: int = 3,
) -> Iterator[dict[str, Any]]:
    """Time the bundled net with each number of seeds, and a Kandinsky of random weights with one."""
    pipeline = PlainPipeline.beside(net, weights)
    for count in seeds:
        job = _job(net.space.dimension, classes, count, steps or net.steps)
        yield speed.row(Decoder(net), pipeline, job, net.device, net.dtype, repeats)
    kandinsky = small_kandinsky(64, 128).to(net.device)
    decoder = Decoder.from_diffusers(kandinsky, length=1.0, batch_size=32)
    job = _job(decoder.dimension, classes, 1, steps or 10)
    yield speed.row(decoder, partial(call_kandinsky, kandinsky), job, net.device, net.dtype, repeats)


def _job(dimension: int, classes: int, seeds: int, steps: int) -> speed.Job:
    """Random references and directions: speed does not depend on them."""
    generator = torch.Generator().manual_seed(0)
    references, directions = F.normalize(torch.randn(2, classes, dimension, generator=generator), dim=2)
    return speed.Job(references, directions, (0.1, 0.2, 0.3), tuple(range(seeds)), steps, 2.0)


def show(console: Console, title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*["–" if value is None else str(value) for value in row.values()])
    console.print(table)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the decoder's weights")
    parser.add_argument("--quick", action="store_true", help="two classes and one seed")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=180)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    net = BundledNet.load("auto", arguments.folder)
    few: dict[str, Any] = {"classes": 2, "seeds": (1,)} if arguments.quick else {}
    timed = list(measure_speed(net, arguments.folder / WEIGHTS, **few))
    show(console, "speed", timed)
    if arguments.write:
        store("decoding", about, timed)


if __name__ == "__main__":
    main()
