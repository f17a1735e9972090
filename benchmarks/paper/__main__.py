"""Run the paper's experiments, several seeds each, with the paper's number beside ours.

    python -m benchmarks.paper celeba cifar100 --offline [--seeds 0 1 2 3 4] [--write]
    python -m benchmarks.paper celeba --data FOLDER [--clip ViT-B-32:openai] [--write]

``--offline`` is each experiment's matching form on what ships with fdgpu; ``--data`` reads the data set's own files.
``--write`` stores ``benchmarks/results/paper/NAME.json``, ``.csv`` and ``.svg``, after every seed, so that a run that
is broken off keeps what it has. Offline one seed takes a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.paper.charts import draw
from benchmarks.paper.experiment import Experiment, WorldOf
from benchmarks.paper.experiments import (
    celeba,
    chestxray14,
    cifar10,
    cifar100,
    coloured_mnist,
    decoding,
    imagenet,
    imagenet_c,
)
from benchmarks.paper.results import Figure, Summary
from benchmarks.stored import FOLDER, store
from fdgpu import ClipEmbedder
from fdgpu.errors import InputError

PAPERS_CLIP = "ViT-B-32:openai"

MODULES = (  # in the paper's order
    celeba,
    cifar100,
    cifar10,
    decoding,
    imagenet,
    coloured_mnist,
    imagenet_c,
    chestxray14,
)
EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in MODULES}


def table(experiment: Experiment, summaries: Sequence[Summary]) -> Table:
    """Lay out mean, deviation and the paper's number."""
    result = Table("measure", "method", "at", "mean", "deviation", "seeds", "paper", title=experiment.name)
    for s in summaries:
        at = "" if s.at is None else f"{s.at:g}"
        paper = "" if s.paper is None else f"{s.paper:.3f}"
        result.add_row(s.measure, s.method, at, f"{s.mean:.3f}", f"{s.deviation:.3f}", str(len(s.values)), paper)
    return result


def keep(name: str, experiment: Experiment, about: dict[str, str], summaries: Sequence[Summary]) -> None:
    """Write figures and plot."""
    store(f"paper/{name}", about, [summary.row() for summary in summaries])
    draw(FOLDER / "paper" / f"{name}.svg", summaries, experiment.panels)


def worlds(experiment: Experiment, data: Path | None, clip: str | None) -> WorldOf:
    """Return the sets of any seed: on the bundled world, or from files."""
    if data is None:
        return experiment.offline(ClipEmbedder.from_name(clip or "bundled"), experiment.document["offline"])
    if experiment.on_files is None:
        raise InputError(f"{experiment.name} reads no files yet: run it with --offline")
    return experiment.on_files(ClipEmbedder.from_name(clip or PAPERS_CLIP), experiment.document["on_files"], data)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results/paper``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=list(EXPERIMENTS))
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--offline", action="store_true", help="on the bundled world")
    where.add_argument("--data", type=Path, help="the folder that holds the data set")
    parser.add_argument("--clip", help="MODEL:PRETRAINED of open_clip; the paper's ViT-B-32:openai with --data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--write", action="store_true", help="store JSON, CSV and SVG under benchmarks/results/paper")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=140)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    for name in arguments.names:
        experiment, seeds = EXPERIMENTS[name], list[list[Figure]]()
        try:
            world_of = worlds(experiment, arguments.data, arguments.clip)
        except InputError as error:
            parser.error(str(error))
        for seed in arguments.seeds:
            start = time.perf_counter()
            seeds.append(experiment.run(world_of(seed)))
            console.print(f"{name}, seed {seed}: {time.perf_counter() - start:.0f} s")
            if arguments.write:
                stored = name if arguments.offline else f"{name}_files"
                keep(stored, experiment, about, experiment.summary(seeds))
        console.print(table(experiment, experiment.summary(seeds)))


if __name__ == "__main__":
    main()
