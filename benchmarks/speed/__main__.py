"""The solver against the authors' loop on the same cores.

    python -m benchmarks.speed [--repeats 5] [--write]

Both sides fit the same embeddings, already whitened. The loop takes its time on a few classes and is scaled to all
of them, since it treats one class after another; fdgpu fits all classes. Rounds alternate (loop, fdgpu, loop, …), so
that a machine that slows down slows both; medians are printed. A row whose results differ prints no ratio:

- w at the C that fdgpu chose, against libsvm's w at that C: at most 2e-3 relative;
- scores wherever some alpha is free at that C in the loop, so that libsvm's b is not decided by rounding: equal up to
  the held-out samples that lie within the tolerance of zero.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.speed.data import Problem, Shape, make
from benchmarks.speed.peers import authors_loop
from benchmarks.stored import store
from fdgpu import FailureDirections

SHAPES = (
    Shape("20 classes of 256 x 512", 20, 256, 512),
    Shape("10 classes of 1000 x 512 (CIFAR-10)", 10, 1000, 512),
)
TIMED_CLASSES = {256: 3, 1000: 1}
LARGEST_DIFFERENCE = 2e-3


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds are a class's."""

    shape: str
    loop_s: float
    fdgpu_s: float
    w_difference: float
    score_difference: float
    equal: bool
    ratio: float | None


def measure(shape: Shape, repeats: int) -> Row:
    """Time both sides in turn and compare what they found."""
    problem = make(shape)
    fit = FailureDirections(whiten=False)
    fit.fit(problem.x, problem.labels, problem.right)  # compiles
    classes = range(TIMED_CLASSES[shape.samples])
    loop, ours, found = [], [], {}
    for _ in range(repeats):
        start = time.perf_counter()
        for k in classes:
            rows = problem.labels == k
            found[k] = authors_loop(problem.x[rows], problem.right[rows], fit.Cs, fit.cv)
        loop.append((time.perf_counter() - start) / len(classes))
        start = time.perf_counter()
        fit.fit(problem.x, problem.labels, problem.right)
        ours.append((time.perf_counter() - start) / shape.classes)
    w_difference, score_difference, equal = compare(problem, fit, found)
    ratio = statistics.median(loop) / statistics.median(ours) if equal else None
    return Row(
        shape.name, statistics.median(loop), statistics.median(ours), w_difference, score_difference, equal, ratio
    )


def compare(problem: Problem, fit: FailureDirections, found: dict) -> tuple[float, float, bool]:
    """Return the largest relative difference of w, of comparable scores, and whether both are small enough."""
    w_worst, score_worst, equal = 0.0, 0.0, True
    for k, (scores, refits) in found.items():
        cost = float(fit.C_[k, 0])
        theirs, ours = refits[cost].coef_[0], fit.coef_[k, 0]
        w_worst = max(w_worst, float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)))
        rows = problem.labels == k
        for place, c in enumerate(fit.Cs):
            if not _has_free_sample(refits[c], problem.right[rows]):
                continue
            difference = abs(float(fit.cv_scores_[k, 0, place]) - scores[place])
            score_worst = max(score_worst, difference)
            near = np.abs(refits[c].decision_function(problem.x[rows])) < fit.tol
            smallest = min(problem.right[rows].sum(), (~problem.right[rows]).sum())
            equal &= difference <= 1e-6 + (near.sum() + 2) / (2 * smallest)
    return w_worst, score_worst, equal and w_worst <= LARGEST_DIFFERENCE


def _has_free_sample(svm: object, right: np.ndarray) -> bool:
    n = len(right)
    weight = n / (2 * np.where(right[svm.support_], right.sum(), (~right).sum()))
    share = np.abs(svm.dual_coef_[0]) / (svm.C * weight)
    return bool((share < 1 - 1e-9).sum() > 2)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about = machine()
    rows = [measure(shape, arguments.repeats) for shape in SHAPES]
    console = Console(width=140)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    table = Table("shape", "authors' loop, ms a class", "fdgpu, ms a class", "w differs by", "scores by", "ratio")
    for row in rows:
        ratio = f"{row.ratio:.0f}x" if row.ratio is not None else "results differ"
        table.add_row(
            row.shape,
            f"{row.loop_s * 1e3:.1f}",
            f"{row.fdgpu_s * 1e3:.2f}",
            f"{row.w_difference:.1e}",
            f"{row.score_difference:.1e}",
            ratio,
        )
    console.print(table)
    if arguments.write:
        store("speed", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
