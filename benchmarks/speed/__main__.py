"""The solver against the authors' loop on the same cores.

    python -m benchmarks.speed [--repeats 5] [--write]

Both sides fit the same embeddings, already whitened. The loop takes its time on a few classes and is scaled to all
of them, since it treats one class after another; fdgpu fits all classes. Rounds alternate (loop, fdgpu, loop, …), so
that a machine that slows down slows both; medians are printed. A row whose results differ prints no ratio:

- w at the C that fdgpu chose, against libsvm's w at that C: at most 2e-3 relative;
- scores at every C where libsvm's intercept is not decided by rounding: equal to 1e-6, but for held-out samples whose
  decision value is so near zero that it may fall on either side within the solvers' tolerance;
- the best of these C, where no such sample is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.svm import SVC

from benchmarks.machine import machine
from benchmarks.speed.data import Problem, Shape, make
from benchmarks.speed.peers import authors_loop, held_out
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
    scores_compared: int
    ratio: float | None


@dataclass(frozen=True)
class Comparison:
    """Largest relative difference of w, largest difference of a score, how many were compared, and the verdict."""

    w: float
    score: float
    scores_compared: int
    equal: bool


Found = dict[int, tuple[NDArray[np.float64], dict[float, SVC]]]


def measure(shape: Shape, repeats: int) -> Row:
    """Time both sides in turn and compare what they found."""
    problem = make(shape)
    fit = FailureDirections(whiten=False)
    fit.fit(problem.x, problem.labels, problem.right)  # compiles
    classes = range(TIMED_CLASSES[shape.samples])
    loop, ours = [], []
    found: Found = {}
    for _ in range(repeats):
        start = time.perf_counter()
        for k in classes:
            rows = problem.labels == k
            found[k] = authors_loop(problem.x[rows], problem.right[rows], fit.Cs, fit.cv)
        loop.append((time.perf_counter() - start) / len(classes))
        start = time.perf_counter()
        fit.fit(problem.x, problem.labels, problem.right)
        ours.append((time.perf_counter() - start) / shape.classes)
    compared = compare(problem, fit, found)
    loop_s, fdgpu_s = statistics.median(loop), statistics.median(ours)
    ratio = loop_s / fdgpu_s if compared.equal else None
    return Row(shape.name, loop_s, fdgpu_s, compared.w, compared.score, compared.scores_compared, ratio)


def compare(problem: Problem, fit: FailureDirections, found: Found) -> Comparison:
    """Compare w at the C that fdgpu chose, every comparable score, and which of the comparable C is best."""
    result = Comparison(0.0, 0.0, 0, True)
    for k, (scores, refits) in found.items():
        rows = problem.labels == k
        x, right = problem.x[rows], problem.right[rows]
        theirs, ours = refits[float(fit.C_[k, 0])].coef_[0], fit.coef_[k, 0]
        w = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        own = fit.cv_scores_[k, 0]
        peers = [held_out(x, right, c, fit.cv) for c in fit.Cs]
        known = [i for i, peer in enumerate(peers) if peer.determined]
        doubt = np.array([peer.doubt(right, fit.tol) for peer in peers])
        difference = np.abs(own - scores)
        same = bool((difference[known] <= doubt[known] + 1e-6).all())
        if not doubt[known].any():
            same &= int(np.argmax(own[known])) == int(np.argmax(scores[known]))
        result = Comparison(
            max(result.w, w),
            max(result.score, float(difference[known].max(initial=0.0))),
            result.scores_compared + len(known),
            result.equal and same and w <= LARGEST_DIFFERENCE,
        )
    return result


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
    table = Table(
        "shape", "authors' loop, ms a class", "fdgpu, ms a class", "w differs by", "scores by", "compared", "ratio"
    )
    for row in rows:
        ratio = f"{row.ratio:.0f}x" if row.ratio is not None else "results differ"
        table.add_row(
            row.shape,
            f"{row.loop_s * 1e3:.1f}",
            f"{row.fdgpu_s * 1e3:.2f}",
            f"{row.w_difference:.1e}",
            f"{row.score_difference:.1e}",
            str(row.scores_compared),
            ratio,
        )
    console.print(table)
    if arguments.write:
        store("speed", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
