"""fdgpu's solver on the CPU, side by side with what people run instead, in one table.

    python -m benchmarks.speed [--shapes cifar10 celeba imagenet20 imagenet50k chestxray14] [--repeats 5] [--write]
    python -m benchmarks.speed --quick      # seconds, on shapes that say nothing

- Peers: the authors' loop on one core and on all, scikit-learn on a Gram matrix, liblinear. Both sides get the same
  embeddings, already whitened.
- Peers are timed on a few classes, which the table names, since they treat one class after another; fdgpu fits all
  classes. Rounds alternate, medians are printed, and a peer that has used up its time takes part in no further round.
- Both sides' results are compared first (benchmarks.speed.comparison): there is no ratio where they differ, nor for
  liblinear, which solves another problem.

On a GPU: ``python -m benchmarks.device``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from benchmarks.machine import machine
from benchmarks.speed.data import QUICK, SHAPES
from benchmarks.speed.measuring import Effort, measure, permutation_row
from benchmarks.speed.peers import AllCores, AuthorsLoop, GramLoop, Liblinear, Peer
from benchmarks.speed.rows import Row, table
from benchmarks.stored import store
from fdgpu.device import Backend, cpu_count

BACKEND = Backend.NUMBA
PERMUTED = "imagenet20"  # the shape of the permutation test


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what makes no sense ends with the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a peer may take of the rounds of a shape")
    parser.add_argument("--permutations", type=int, default=0, help=f"also test {PERMUTED} with so many")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, one round: does it run?")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.write:
        parser.error("--quick measures nothing worth keeping: leave out --write")
    if arguments.repeats < 1 or arguments.permutations < 0:
        parser.error("--repeats has to be at least 1, --permutations at least 0")
    return arguments


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    arguments, console, about = parse(argv), Console(width=160), machine()
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    effort = Effort(1 if arguments.quick else arguments.repeats, arguments.budget)
    loop = AuthorsLoop()
    peers: list[Peer] = [loop, AllCores(loop, cpu_count()), GramLoop(), Liblinear()]
    rows: list[Row] = []
    for name, shape in (QUICK if arguments.quick else {name: SHAPES[name] for name in arguments.shapes}).items():
        console.print(f"{shape.name} …")
        rows += measure(shape, peers, BACKEND, effort)
        if arguments.permutations and (name == PERMUTED or arguments.quick):
            rows.append(permutation_row(shape, BACKEND, arguments.permutations))
    console.print(table(rows))
    if arguments.write:
        store("speed", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
