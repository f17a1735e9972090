"""Memory and time of fits on large classes and large sets, on the CPU backend.

    python -m benchmarks.scale [--quick] [--write]

- *one class*: 100 000 samples x 512 in one class, whose Gram matrix would take 40 GB.
- *many classes*: 1000 classes x 1300 x 512, the size of ImageNet's training set.

Memory is what the process holds at its peak during ``fit`` beyond what it held before, embeddings included; Linux's own
count of resident pages, with the peak reset just before. ``--quick`` takes a tenth of each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.memory import forget_peak, resident
from benchmarks.speed.data import Shape, make
from benchmarks.stored import store
from fdgpu import FailureDirections

D = 512


@dataclass(frozen=True)
class Row:
    """One line: GB are 10^9 bytes."""

    name: str
    classes: int
    samples_a_class: int
    embeddings_gb: float
    beyond_gb: float
    seconds: float
    solver: str
    converged: bool
    mean_cv_score: float


def measure(name: str, classes: int, samples: int) -> Row:
    """Fit once and look at the peak."""
    problem = make(Shape.even("", classes, samples, D))
    forget_peak()
    before = resident("VmRSS")
    start = time.perf_counter()
    fit = FailureDirections(backend="numba").fit(problem.x, problem.labels, problem.right)
    seconds = time.perf_counter() - start
    return Row(
        name,
        classes,
        samples,
        problem.x.nbytes / 1e9,
        (resident("VmHWM") - before) / 1e9,
        seconds,
        ", ".join(sorted(set(fit.solver_))),
        bool(fit.converged_.all()),
        float(np.mean(fit.cv_score_)),
    )


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print a table."""
    table = Table("", "classes", "samples", "embeddings, GB", "beyond them, GB", "seconds", "solver", "solved", "CV")
    for row in rows:
        table.add_row(
            row.name,
            str(row.classes),
            str(row.samples_a_class),
            f"{row.embeddings_gb:.2f}",
            f"{row.beyond_gb:.2f}",
            f"{row.seconds:.0f}",
            row.solver,
            "all" if row.converged else "not all",
            f"{row.mean_cv_score:.3f}",
        )
    console.print(table)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples, and of the classes")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    small = 10 if arguments.quick else 1
    about, console = machine(), Console(width=140)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    warm = make(Shape.even("", 2, 64, D))
    FailureDirections(backend="numba").fit(warm.x, warm.labels, warm.right)  # what is compiled once is not counted
    rows = [
        measure("one class", 1, 100_000 // small),
        measure("many classes", 1000 // small, 1300),
    ]
    show(console, rows)
    if arguments.write:
        store("scale", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
