"""fdgpu's solver and kernels, side by side with what people run instead, in one table.

    python -m benchmarks.speed [--shapes cifar10 celeba imagenet20 imagenet50k chestxray14] [--repeats 5] [--write]
    python -m benchmarks.speed --device     # everything for a GPU host
    python -m benchmarks.speed --quick      # a minute, on shapes that say nothing

- Peers: the authors' loop on one core and on all, scikit-learn on a Gram matrix, liblinear, and with a GPU cuML's SVC
  and LinearSVC in a loop where cuML is installed. Both sides get the same embeddings, already whitened; on a GPU, fdgpu
  goes from arrays on the device to arrays on the device.
- Peers are timed on a few classes, which the table names, since they treat one class after another; fdgpu fits all
  classes. Rounds alternate, medians are printed, and a peer that has used up its time takes part in no further round.
- Both sides' results are compared first (benchmarks.speed.comparison): there is no ratio where they differ, nor for
  liblinear, which solves another problem.
- Kernels: bytes and operations counted (benchmarks.speed.counts), and their shares of the device's measured copy
  bandwidth and matmul rate.
- Without a GPU, what an H100 would take is predicted from counts (benchmarks.speed.predicted), and says so; that and
  caption scoring need the package triton, which comes with torch.
- ``--profile`` adds where the time of one fit goes.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from benchmarks.machine import machine
from benchmarks.speed import caption_scoring, predictions
from benchmarks.speed.ceilings import measure_ceilings
from benchmarks.speed.cuml_peers import cuml_peers, why_no_cuml
from benchmarks.speed.data import Shape
from benchmarks.speed.fitting import device_of
from benchmarks.speed.measuring import Effort, measure
from benchmarks.speed.peers import AllCores, AuthorsLoop, GramLoop, Liblinear, Peer
from benchmarks.speed.permutations import permutation_row
from benchmarks.speed.predicted import H100
from benchmarks.speed.profiling import Profile, profile, profile_table
from benchmarks.speed.roofline import Paths, Yardstick, kernel_rows
from benchmarks.speed.rows import Row, table
from benchmarks.speed.shapes import QUICK, SHAPES
from benchmarks.stored import store
from fdgpu.device import choose_backend, cpu_count
from fdgpu.directions.parameters import SolverSettings
from fdgpu.errors import BackendError

SETTINGS = SolverSettings()
PERMUTED = "imagenet20"  # the shape of the permutation test
DEVICE_PERMUTATIONS = 1000


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; what cannot run here ends with the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="NAME")
    parser.add_argument("--repeats", type=int, default=5, help="rounds")
    parser.add_argument("--budget", type=float, default=20.0, help="seconds a peer may take of the rounds of a shape")
    parser.add_argument("--backend", choices=("auto", "numba", "triton"), default="auto")
    parser.add_argument("--device", action="store_true", help="--backend triton --permutations 1000 --profile")
    parser.add_argument("--permutations", type=int, default=0, help=f"also test {PERMUTED} with so many")
    parser.add_argument("--profile", action="store_true", help="also print where the time of one fit goes")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, one round: does it run?")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args(argv)
    if arguments.quick and arguments.write:
        parser.error("--quick measures nothing worth keeping: leave out --write")
    if arguments.repeats < 1 or arguments.permutations < 0:
        parser.error("--repeats has to be at least 1, --permutations at least 0")
    if arguments.device:
        arguments.backend, arguments.profile = "triton", True
        arguments.permutations = arguments.permutations or DEVICE_PERMUTATIONS
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


def predicts(backend: str) -> bool:
    """Say whether there is no device, so that one is predicted; the kernels that it would run are needed for that."""
    return backend == "numba" and importlib.util.find_spec("triton") is not None


def lines_of(shape: Shape, peers: Sequence[Peer], effort: Effort, against: Yardstick) -> tuple[list[Row], Profile]:
    """Measure one shape: fdgpu and its peers, its kernels, and without a device what one would take."""
    measured = measure(shape, peers, against.backend, effort)
    profiled = profile(shape, measured.problem, against.backend)
    paths = Paths.of(measured, SETTINGS)
    rows = [*measured.rows, *kernel_rows(measured, paths, SETTINGS, against)]
    if predicts(against.backend):
        rows += predictions.fit_rows(shape, paths, SETTINGS, profiled.host, H100())
    return rows, profiled


def permutation_lines(shape: Shape, backend: str, permutations: int) -> list[Row]:
    """Measure the permutation test if it was asked for, and predict it where there is no device."""
    rows = [permutation_row(shape, backend, permutations)] if permutations else []
    if predicts(backend):
        rows += predictions.permutation_rows(shape, SETTINGS, permutations or DEVICE_PERMUTATIONS, H100())
    return rows


def caption_lines(against: Yardstick, few: bool) -> list[Row]:
    """Measure caption scoring, and predict it where there is no device; without Triton there is neither."""
    if against.backend == "triton":
        return [caption_scoring.caption_row(caption_scoring.FEW if few else caption_scoring.IMAGENET, against)]
    if predicts(against.backend):
        return [caption_scoring.caption_row(caption_scoring.FEW, against), predictions.captions_row(H100())]
    return []


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    arguments = parse(argv)
    console = Console(width=210)
    backend, quick = arguments.backend, arguments.quick
    effort = Effort(1 if quick else arguments.repeats, arguments.budget)
    device = device_of(backend)
    ceilings = measure_ceilings(device, effort.rounds, scale=1 / 32 if quick else 1.0)
    about = machine() | {
        "copy, GB/s": f"{ceilings.copy / 1e9:.4g}",
        "matmul, GFLOP/s": f"{ceilings.matmul / 1e9:.4g}",
    }
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    against = Yardstick(backend, device, ceilings, effort.rounds)
    peers = peers_for(backend, console)
    shapes = QUICK if quick else {name: SHAPES[name] for name in arguments.shapes}
    rows: list[Row] = []
    profiles = []
    for name, shape in shapes.items():
        console.print(f"{shape.name} …")
        lines, profiled = lines_of(shape, peers, effort, against)
        rows += lines
        profiles.append(profiled)
        if name == PERMUTED or quick:
            rows += permutation_lines(shape, backend, arguments.permutations)
    rows += caption_lines(against, few=quick)
    console.print(table(rows))
    if arguments.profile:
        console.print(profile_table(profiles))
    if arguments.write:
        store("speed" if backend == "numba" else "speed-gpu", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
