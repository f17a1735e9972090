"""The latent method beside the SVM, in one run, with what a roofline says of it.

    python -m benchmarks.speed.hidden_classes [--classes 1000] [--permutations 200] [--permuted 100] [--repeats 3]
        [--write]

Classes of 256 samples in 512 dimensions, as of ImageNet's validation set and a CLIP's; a tenth of each is a planted
hidden class on which margins are smaller. Whole fits of ``FailureDirections`` are timed, in turns. Permutations are
timed on fewer classes; their seconds are those of the fit with them, less those of the fit without, and grow with the
classes. The roofline counts the products, which cannot be left out, at the speed of a product of large matrices here.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu import FailureDirections
from fdgpu.directions.latent import EXCHANGED
from fdgpu.directions.parameters import LATENT_COSTS
from fdgpu.kernels.hidden_classes import FULL, QUICK, Effort

SAMPLES, DIMENSIONS, SHARE = 256, 512, 0.1
TESTED = 2  # shrinkages of a test
FOLDS = 2


@dataclass(frozen=True)
class Row:
    """One method and task; seconds of all classes, median and range of the rounds.

    Attributes:
        method: "latent" or "svm".
        task: "fit", or how many permutations.
        classes: that were timed.
        seconds: median.
        least: of the rounds.
        most: of the rounds.
        ms_a_class: of the median.
        bound: least seconds by the roofline; None where it was not counted.
    """

    method: str
    task: str
    classes: int
    seconds: float
    least: float
    most: float
    ms_a_class: float
    bound: float | None


def world(classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw vectors (N, d), labels, right or wrong, and losses (N,)."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat_interleave(SAMPLES)
    x = torch.randn(len(labels), DIMENSIONS, generator=draw)
    hidden = torch.rand(len(labels), generator=draw) < SHARE
    x += 4 * hidden[:, None] * torch.nn.functional.normalize(torch.randn(classes, DIMENSIONS, generator=draw))[labels]
    margin = 1.5 + 1.5 * torch.randn(len(labels), generator=draw) - 2.5 * hidden
    return torch.nn.functional.normalize(x), labels, margin > 0, torch.nn.functional.softplus(-margin).double()


def seconds(method: str, classes: int, permutations: int) -> float:
    """Time a whole fit."""
    x, labels, right, loss = world(classes)
    start = time.perf_counter()
    directions = FailureDirections(method=method, n_permutations=permutations)
    directions.fit(x, labels, right, loss=loss if method == "latent" else None)
    return time.perf_counter() - start


def operations(n: int, shrinkages: int, effort: Effort) -> float:
    """Count those of one search's products with the smoothers, where no problem settles early."""
    return 2.0 * n**2 * shrinkages * (effort.starts * effort.iterations + 2)


def bound(classes: int, permutations: int) -> float:
    """Return the seconds that products, inverses and scatters take at the speed of a large product."""
    wide, held = len(LATENT_COSTS), SAMPLES * (FOLDS - 1) // FOLDS
    work = 0.0
    for n, parts in ((SAMPLES, 1), (held, FOLDS)):
        labellings = 1 + EXCHANGED if n == SAMPLES else 1
        work += parts * (2.0 * n**2 * DIMENSIONS + wide * 2.0 * n**3 + labellings * operations(n, wide, FULL))
        work += (n == held) * parts * (1 + permutations) * operations(n, TESTED, QUICK)
    return classes * work / product_speed()


def product_speed() -> float:
    """Operations a second of a large product in float32, on all threads."""
    a, took = torch.randn(2048, 2048), []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        took.append(time.perf_counter() - start)
    return 2 * 2048.0**3 / min(took)


def measured(method: str, task: str, classes: int, took: Sequence[float], least: float | None) -> Row:
    """Sum rounds up."""
    middle = statistics.median(took)
    return Row(method, task, classes, middle, min(took), max(took), 1000 * middle / classes, least)


def main() -> None:
    """Measure in turns, print, and with ``--write`` store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--permutations", type=int, default=200)
    parser.add_argument("--permuted", type=int, default=100, help="classes of the test")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    asked, about, console = parser.parse_args(), machine(), Console(width=120)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    plain: dict[str, list[float]] = {"latent": [], "svm": []}
    tested: dict[str, list[float]] = {"latent": [], "svm": []}
    for method in plain:
        seconds(method, 8, 4)  # compiles
    for _ in range(asked.repeats):
        for method in plain:
            plain[method].append(seconds(method, asked.classes, 0))
            alone = seconds(method, asked.permuted, 0)
            tested[method].append(max(0.0, seconds(method, asked.permuted, asked.permutations) - alone))
    task, base = f"{asked.permutations} permutations", bound(asked.permuted, 0)
    rows = [measured(name, "fit", asked.classes, took, None) for name, took in plain.items()]
    rows += [measured(name, task, asked.permuted, took, None) for name, took in tested.items()]
    rows[0] = Row(**{**asdict(rows[0]), "bound": bound(asked.classes, 0)})
    rows[2] = Row(**{**asdict(rows[2]), "bound": bound(asked.permuted, asked.permutations) - base})
    table = Table("method", "task", "classes", "seconds", "range", "ms a class", "roofline, s")
    for row in rows:
        least = "" if row.bound is None else f"{row.bound:.2f}"
        table.add_row(
            row.method, row.task, str(row.classes), f"{row.seconds:.2f}", f"{row.least:.2f} to {row.most:.2f}",
            f"{row.ms_a_class:.2f}", least,
        )  # fmt: skip
    console.print(table)
    if asked.write:
        store("hidden_classes_speed", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
