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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.paper.charts import draw
from benchmarks.paper.deferred import Deferred
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
from fdgpu.errors import FdgpuError

PAPERS_CLIP = "ViT-B-32:openai"
CLIP_HELP = (
    f"MODEL:PRETRAINED of open_clip, or bundled. With --data it is the paper's {PAPERS_CLIP} unless it is given, and "
    "for decoding its pipeline's ViT-L-14:openai; celeba decodes faces with --clip ViT-L-14:openai alone"
)

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


class SeedError(FdgpuError):
    """What one seed ran into, and which one it was."""


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
    """Return the sets of any seed: on the bundled world, or from files, which are looked at before CLIP is loaded."""
    if data is None:
        return experiment.offline(ClipEmbedder.from_name(clip or "bundled"), experiment.document["offline"])
    settings = experiment.document["on_files"]
    return experiment.on_files(Deferred(clip or settings.get("clip", PAPERS_CLIP)), settings, data)


def measure(
    experiment: Experiment,
    world_of: WorldOf,
    seeds: Sequence[int],
    console: Console,
    write: Callable[[Sequence[Summary]], None] | None = None,
) -> None:
    """Measure and write seed after seed, and print the table of those that are done, also where one fails.

    Raises:
        SeedError: names the seed.
    """
    figures: list[list[Figure]] = []
    try:
        for seed in seeds:
            start = time.perf_counter()
            try:
                figures.append(experiment.run(world_of(seed)))
            except FdgpuError as error:
                raise SeedError(f"{experiment.name}, seed {seed}: {message_of(error)}") from error
            console.print(f"{experiment.name}, seed {seed}: {time.perf_counter() - start:.0f} s")
            if write is not None:
                write(experiment.summary(figures))
    finally:
        if figures:
            console.print(table(experiment, experiment.summary(figures)))


def message_of(error: FdgpuError) -> str:
    """Return an error's words; one of a process that loads images comes with that process's traceback before it."""
    text = str(error).strip()
    return text.splitlines()[-1].partition(": ")[2] if "Traceback (most recent call last)" in text else text


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=list(EXPERIMENTS))
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--offline", action="store_true", help="on the bundled world")
    where.add_argument("--data", type=Path, help="the folder that holds the data set, or the data set's own")
    parser.add_argument("--clip", help=CLIP_HELP)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--write", action="store_true", help="store JSON, CSV and SVG under benchmarks/results/paper")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results/paper``."""
    parser = command_line()
    arguments = parser.parse_args(argv)
    if min(arguments.seeds) < 0 or len(set(arguments.seeds)) < len(arguments.seeds):
        given = " ".join(map(str, arguments.seeds))
        parser.error(f"argument --seeds: {given}: give whole numbers of at least 0, each once")
    about, console = machine(), Console(width=140)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    try:
        # all of them before the first runs: what is missing is reported at once, and not after hours
        ready = {name: worlds(EXPERIMENTS[name], arguments.data, arguments.clip) for name in arguments.names}
        for name in list(ready):
            experiment, stored = EXPERIMENTS[name], name if arguments.offline else f"{name}_files"
            write = partial(keep, stored, experiment, about) if arguments.write else None
            measure(experiment, ready.pop(name), arguments.seeds, console, write)
    except FdgpuError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


if __name__ == "__main__":
    main()
