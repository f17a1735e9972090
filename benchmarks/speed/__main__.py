"""fdgpu's solver and kernels, side by side with what people run instead, in one table.

    python -m benchmarks.speed [--shapes cifar10 celeba imagenet20 imagenet50k chestxray14] [--repeats 5] [--write]
    python -m benchmarks.speed --quick      # a minute, on shapes that say nothing

- Peers: the authors' loop on one core and on all, scikit-learn on a Gram matrix, liblinear, and with a GPU cuML's SVC
  and LinearSVC in a loop where cuML is installed. Both sides get the same embeddings, already whitened; on a GPU, fdgpu
  goes from arrays on the device to arrays on the device.
- Peers are timed on a few classes, which the table names, since they treat one class after another; fdgpu fits all
  classes. Rounds alternate, medians are printed, and a peer that has used up its time takes part in no further round.
- Both sides' results are compared first (benchmarks.speed.comparison): there is no ratio where they differ, nor for
  liblinear, which solves another problem.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from benchmarks.machine import machine
from benchmarks.speed.cuml_peers import cuml_peers, why_no_cuml
from benchmarks.speed.measuring import Effort, measure
from benchmarks.speed.peers import AllCores, AuthorsLoop, GramLoop, Liblinear, Peer
from benchmarks.speed.rows import Row, table
from benchmarks.speed.shapes import QUICK, SHAPES
from benchmarks.stored import store
from fdgpu.device import choose_backend, cpu_count
from fdgpu.errors import BackendError


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what cannot run here ends with the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a peer may take of the rounds of a shape")
    parser.add_argument("--backend", choices=("auto", "numba", "triton"), default="auto")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, one round: does it run?")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.write:
        parser.error("--quick measures nothing worth keeping: leave out --write")
    if arguments.repeats < 1:
        parser.error("--repeats has to be at least 1")
    try:
        arguments.backend = choose_backend(arguments.backend).name
    except BackendError as error:
        parser.error(str(error))
    return arguments


def peers_for(backend: str, console: Console) -> list[Peer]:
    """Return who takes part, and say who does not."""
    loop = AuthorsLoop()
    peers: list[Peer] = [loop, AllCores(loop, cpu_count()), GramLoop(), Liblinear()]
    if backend == "triton":
        missing = why_no_cuml()
        if not missing:
            return [*peers, *cuml_peers()]
        console.print(f"{missing}: its loops are left out")
    return peers


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    arguments = parse(argv)
    console = Console(width=210)
    backend, quick = arguments.backend, arguments.quick
    effort = Effort(1 if quick else arguments.repeats, arguments.budget)
    about = machine()
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    peers = peers_for(backend, console)
    shapes = QUICK if quick else {name: SHAPES[name] for name in arguments.shapes}
    rows: list[Row] = []
    for shape in shapes.values():
        console.print(f"{shape.name} …")
        rows += measure(shape, peers, backend, effort).rows
    console.print(table(rows))
    if arguments.write:
        store("speed" if backend == "numba" else "speed-gpu", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
