"""Run the paper's experiments on the bundled world, several seeds each, with the paper's number beside ours.

    python -m benchmarks.paper spurious superclasses --offline [--seeds 0 1 2 3 4] [--write]

``--offline`` is each experiment's matching form on what ships with fdgpu. ``--write`` stores
``benchmarks/results/paper/NAME.json``, ``.csv`` and ``.svg``, after every seed, so that a run that is broken off keeps
what it has. One seed takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.paper import spurious, superclasses
from benchmarks.paper.charts import draw
from benchmarks.paper.experiment import Experiment
from benchmarks.paper.results import Figure, Summary
from benchmarks.stored import FOLDER, store
from fdgpu import ClipEmbedder

EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in (spurious, superclasses)}


def table(experiment: Experiment, summaries: Sequence[Summary]) -> Table:
    """Lay out mean, deviation and the paper's number."""
    result = Table("measure", "method", "at", "mean", "deviation", "seeds", "paper", title=experiment.name)
    for s in summaries:
        at = "" if s.at is None else f"{s.at:g}"
        paper = "" if s.paper is None else f"{s.paper:.3f}"
        result.add_row(s.measure, s.method, at, f"{s.mean:.3f}", f"{s.deviation:.3f}", str(len(s.values)), paper)
    return result


def keep(experiment: Experiment, about: dict[str, str], summaries: Sequence[Summary]) -> None:
    """Write figures and plot."""
    store(f"paper/{experiment.name}", about, [summary.row() for summary in summaries])
    draw(FOLDER / "paper" / f"{experiment.name}.svg", summaries, experiment.panels)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results/paper``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=list(EXPERIMENTS))
    parser.add_argument("--offline", action="store_true", help="on the bundled world")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--write", action="store_true", help="store JSON, CSV and SVG under benchmarks/results/paper")
    arguments = parser.parse_args()
    if not arguments.offline:
        parser.error("only the offline form is there yet: add --offline")
    about, console, clip = machine(), Console(width=140), ClipEmbedder.bundled()
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    for name in arguments.names:
        experiment, seeds = EXPERIMENTS[name], list[list[Figure]]()
        for seed in arguments.seeds:
            start = time.perf_counter()
            seeds.append(experiment.run(clip, experiment.document["offline"], seed))
            console.print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s")
            if arguments.write:
                keep(experiment, about, experiment.summary(seeds))
        console.print(table(experiment, experiment.summary(seeds)))


if __name__ == "__main__":
    main()
