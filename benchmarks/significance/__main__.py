"""Do the p-values hold, and are as many failure modes found as were planted?

    python -m benchmarks.significance [--quick] [--groups | --audits | --methods] [--write]

- *null*: classes without a failure; the share of p ≤ 0.05 should be 0.05.
- *groups* (``--groups`` for these alone): classes without a failure whose samples are frames of objects, of equal and
  unequal number, all frames of an object with one answer or not; with ``groups=`` and frame by frame.
- *audits* (``--audits`` for these alone): whole audits of random answers as they run by default, of pictures that
  differ and of six frames of each object; the share that call any class significant should be at most 0.05.
- *methods* (``--methods`` for these alone): the false discoveries and failures found of both methods at q ≤ 0.05, where
  20 % of the classes have a failure, easy and hard to see; hidden classes are told the losses.
- *discovery*: 80 % of the classes without a failure and 20 % with one, at q ≤ 0.05: the share of false discoveries,
  and the share of planted failures that are found.
- *early stop*: the same classes with the sequential rule: permutations that it saves, and verdicts that it changes.
- *modes*: classes with none to three independent failure modes, of equal and unequal size, apart and overlapping: how
  many are found, the cosine to each, and the precision of its 50 hardest samples.
- *time*: 1000 classes of 256 x 512 with 200 permutations each.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.significance.audits import any_significant, seen_pictures
from benchmarks.significance.planting import Classes, draw_classes, draw_frames, draw_modes
from benchmarks.speed.data import Shape, make
from benchmarks.stored import store
from fdgpu import FailureDirections

LEVEL = 0.05
METHODS = {"svm": False, "latent": True}  # whether it is told the losses
FRAMES: tuple[tuple[str, tuple[int, ...], float], ...] = (
    ("six frames of each object", (6,), 0.0),
    ("two, five or eight frames", (2, 5, 8), 0.0),
    ("six frames, a sixth of them turned", (6,), 1 / 6),
    ("two to four frames, a tenth of them turned", (2, 3, 4), 0.1),
)
TOP = 50
SETTINGS: tuple[tuple[str, tuple[float, ...], float], ...] = (
    ("none", (), 0.0),
    ("one", (0.3,), 0.0),
    ("two", (0.2, 0.2), 0.0),
    ("two, unequal", (0.3, 0.1), 0.0),
    ("two, overlapping (cosine 0.5)", (0.2, 0.2), 0.5),
    ("three", (0.15, 0.15, 0.15), 0.0),
)


@dataclass(frozen=True)
class Calibration:
    """One line about p-values."""

    name: str
    classes: int
    figure: str
    value: float
    seconds: float


@dataclass(frozen=True)
class ModesFound:
    """One line about modes: planted and found over the seeds, the worst and mean cosine, mean precision."""

    planted: str
    strength: float
    seeds: int
    found: str
    share_right: float
    mean_cosine: float
    worst_cosine: float
    precision_50: float
    seconds_a_class: float


def timed(estimator: FailureDirections, data: Classes) -> tuple[FailureDirections, float]:
    """Fit, and return the seconds."""
    start = time.perf_counter()
    estimator.fit(data.x, data.labels, data.right)
    return estimator, time.perf_counter() - start


def null(classes: int) -> list[Calibration]:
    """Return the share of small p-values where there is nothing to find."""
    data = draw_classes(classes, 100, 64, 0.2, 0.0, 0.0, seed=0)
    fit, seconds = timed(FailureDirections(n_permutations=200), data)
    return [
        Calibration("null, n = 100, 20 % errors", classes, f"share of p <= {level}", share, seconds)
        for level in (0.01, 0.05, 0.1, 0.5)
        for share in [float((fit.p_value_ <= level).mean())]
    ]


def grouped(classes: int) -> list[Calibration]:
    """Return the share of small p-values where there is nothing to find and samples are frames of objects."""
    rows = []
    for what, sizes, turned in FRAMES:
        data, groups = draw_frames(classes, 30, 64, sizes, 0.3, turned, seed=2)
        for how, of in (("frame by frame", None), ("in groups", groups)):
            start = time.perf_counter()
            fit = FailureDirections(n_permutations=199).fit(data.x, data.labels, data.right, groups=of)
            seconds, p = time.perf_counter() - start, fit.p_value_[:, 0]
            tested = p[np.isfinite(p)]
            rows.append(
                Calibration(
                    f"{what}, {how}", len(tested), "share of p <= 0.05", float((tested <= 0.05).mean()), seconds
                )
            )
    return rows


def audits(runs: int) -> list[Calibration]:
    """Return the share of audits of random answers in which any class is called significant."""
    rows = []
    for what, objects, frames, grouped in (
        ("100 pictures a class", 100, 1, True),
        ("20 objects a class in six frames", 20, 6, True),
        ("the same frames, --groups none", 20, 6, False),
    ):
        pictures = seen_pictures(objects, frames)
        start = time.perf_counter()
        found = any_significant(pictures, 0.3, runs, grouped=grouped)
        share = float((found > 0).mean())
        rows.append(Calibration(f"ten classes, {what}", runs, "share of audits", share, time.perf_counter() - start))
    return rows


def discovery(classes: int) -> list[Calibration]:
    """Return the false discovery rate and the power of a mix, and what the sequential rule changes."""
    data = draw_classes(classes, 100, 64, 0.2, 0.2, 2.0, seed=1)
    fit, seconds = timed(FailureDirections(n_permutations=200, fdr=LEVEL), data)
    early, early_seconds = timed(FailureDirections(n_permutations=200, fdr=LEVEL, stop_after=20), data)
    found = fit.significant_[:, 0]
    changed = float((found != early.significant_[:, 0]).mean())
    name = "80 % null, 20 % planted"
    return [
        Calibration(
            name, classes, "false discoveries", float((found & ~data.planted).sum() / max(1, found.sum())), seconds
        ),
        Calibration(name, classes, "planted that are found", float(found[data.planted].mean()), seconds),
        Calibration(
            f"{name}, early stop", classes, "permutations drawn", float(early.n_permutations_.mean()), early_seconds
        ),
        Calibration(f"{name}, early stop", classes, "verdicts changed", changed, early_seconds),
    ]


def methods(classes: int, worlds: int) -> list[Calibration]:
    """Return of both methods the false discovery rate, a mean over worlds, and the share of failures found."""
    rows = []
    for shift, (method, told) in product((2.0, 1.4), METHODS.items()):
        false, hits, start = [], [], time.perf_counter()
        for seed in range(20, 20 + worlds):
            data = draw_classes(classes, 100, 64, 0.2, 0.2, shift, seed)
            fit = FailureDirections(method=method, n_permutations=200, fdr=LEVEL)
            found = fit.fit(data.x, data.labels, data.right, loss=losses(data, seed) if told else None).significant_[
                :, 0
            ]
            false.append(float((found & ~data.planted).sum() / max(1, found.sum())))
            hits.append(float(found[data.planted].mean()))
        name, seconds = f"{method}, shift {shift:g}, {worlds} worlds", time.perf_counter() - start
        error = float(np.std(false, ddof=1) / np.sqrt(worlds)) if worlds > 1 else float("nan")
        rows += [
            Calibration(name, classes, "false discoveries", float(np.mean(false)), seconds),
            Calibration(name, classes, "their standard error", error, seconds),
            Calibration(name, classes, "planted that are found", float(np.mean(hits)), seconds),
        ]
    return rows


def losses(data: Classes, seed: int) -> NDArray[np.float64]:
    """Draw (n,) losses of the true class: its probability is anything above a half where the model is right."""
    probability = np.random.default_rng([seed, 1]).uniform(1e-3, 0.5, len(data.right))
    return -np.log(np.where(data.right, 1 - probability, probability))


def large(classes: int) -> list[Calibration]:
    """Time an ImageNet's worth of classes with 200 permutations each."""
    problem = make(Shape.even("", classes, 256, 512))
    data = Classes(problem.x, problem.labels, problem.right, np.ones(classes, bool))
    rows = []
    for stop_after in (0, 20):
        _, seconds = timed(FailureDirections(n_permutations=200, stop_after=stop_after), data)
        name = "256 x 512 a class, 200 permutations" + (", early stop" if stop_after else "")
        rows.append(Calibration(name, classes, "seconds", seconds, seconds))
    return rows


def modes(name: str, shares: Sequence[float], overlap: float, strength: float, seeds: int) -> ModesFound:
    """Count the modes found in classes that have ``len(shares)``."""
    counts, cosines, precisions = [], [], []
    start = time.perf_counter()
    for seed in range(seeds):
        data = draw_modes(1200, 256, shares, overlap, strength, seed)
        fit = FailureDirections(n_directions=4, n_permutations=199)
        ids = np.zeros(len(data.x), int)
        fit.fit(data.x, ids, data.right)
        kept = int(fit.n_directions_[0]) if fit.significant_[0, 0] else 0
        counts.append(kept)
        if not (kept and len(shares)):
            continue
        alike = np.abs(fit.directions_[0, :kept] @ data.directions.T)
        for mode, j in enumerate(alike.argmax(axis=0)):
            hardest = np.argsort(fit.decision_function(data.x, ids, direction=int(j)))[:TOP]
            cosines.append(float(alike[j, mode]))
            precisions.append(float(data.member[mode][hardest].mean()))
    seconds = (time.perf_counter() - start) / seeds
    return ModesFound(
        name,
        strength,
        seeds,
        " ".join(map(str, counts)),
        float(np.mean(np.array(counts) == len(shares))),
        float(np.mean(cosines)) if cosines else float("nan"),
        min(cosines, default=float("nan")),
        float(np.mean(precisions)) if precisions else float("nan"),
        seconds,
    )


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the classes, two seeds")
    parser.add_argument("--groups", action="store_true", help="only the part about groups")
    parser.add_argument("--audits", action="store_true", help="only the part about whole audits")
    parser.add_argument("--methods", action="store_true", help="only both methods' false discoveries")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=150)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    small = 10 if arguments.quick else 1
    make_warm = draw_classes(4, 60, 64, 0.2, 0.5, 1.0, seed=9)
    FailureDirections(n_permutations=2, n_directions=2, nested=True).fit(make_warm.x, make_warm.labels, make_warm.right)
    if arguments.audits:
        whole = audits(1200 // small)
        show(console, "audits of random answers", whole)
        if arguments.write:
            store("significance_audits", about, [asdict(row) for row in whole])
        return
    if arguments.methods:
        both = methods(1000 // small, 2 if arguments.quick else 5)
        show(console, "false discoveries", both)
        if arguments.write:
            store("significance_methods", about, [asdict(row) for row in both])
        return
    in_groups = grouped(1000 // small)
    show(console, "p-values of grouped samples", in_groups)
    if arguments.groups:
        if arguments.write:
            store("significance_groups", about, [asdict(row) for row in in_groups])
        return
    calibrated = [*null(2000 // small), *in_groups, *discovery(1000 // small), *large(1000 // small)]
    show(console, "p-values", calibrated)
    found = [
        modes(name, shares, overlap, strength, 2 if arguments.quick else 10)
        for name, shares, overlap in SETTINGS
        for strength in ((1.0, 0.5) if shares else (0.0,))
    ]
    show(console, "failure modes", found)
    if arguments.write:
        store("significance", about, [asdict(row) for row in calibrated])
        store("modes", about, [asdict(row) for row in found])


def show(console: Console, title: str, rows: Sequence[Any]) -> None:
    """Print a table."""
    records = [asdict(row) for row in rows]
    table = Table(*records[0], title=title)
    for record in records:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in record.values()))
    console.print(table)


if __name__ == "__main__":
    main()
