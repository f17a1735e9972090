"""What Ray costs: embedding and a fit by two workers, a node each, beside one process; a core each, of one machine.

    python -m benchmarks.scale.cluster [--images 2048] [--classes 24] [--write]

- *embed*: JPEGs of 320 pixels, embedded by the bundled CLIP into a store; workers that have loaded it already.
- *fit*: classes of 500 samples x 512, each with 200 permutations.
- *start*: until the workers have imported torch and loaded the CLIP, once a job.

Each process computes with one thread, so that both find the same to the bit: else there is no figure. By the clock two
workers take half as long at best. Processor seconds are those of the process and of its workers: other work on the
machine hardly moves them, and their ratio is what sending and writing costs. Those of Ray's own processes are not in
it. Rounds alternate, and the best of each counts.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image
from ray.cluster_utils import Cluster as Nodes
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.machine import machine
from benchmarks.speed.data import Shape, make
from benchmarks.stored import store
from fdgpu import ClipEmbedder, Cluster, FailureDirections, ImageSource
from fdgpu.cgroups import CORES
from fdgpu.embedding import image_source
from fdgpu.progress import silent
from fdgpu.store import fill
from fdgpu.store.pieces import Workers

NODES, BATCH, SIDE, SHARD = 2, 64, 320, 256
MEMORY = 1 << 28  # of each node's objects


@dataclass(frozen=True)
class Row:
    """One line: seconds by the clock and of processors, and the cluster's processor seconds by those of one process."""

    stage: str
    size: str
    one_process: float | None
    cluster: float
    one_process_cpu: float | None = None
    cluster_cpu: float | None = None
    ratio_cpu: float | None = None


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """Start two nodes of a core each."""
    cores: dict[str, Any] = {"num_cpus": 1, "object_store_memory": MEMORY}
    nodes = Nodes(initialize_head=True, head_node_args={**cores, "include_dashboard": False})
    nodes.add_node(**cores)
    try:
        with Cluster.connect(nodes.address) as cluster:
            yield cluster
    finally:
        ray.shutdown()
        nodes.shutdown()


def processor_seconds(cluster: Cluster) -> float:
    """Return what this process and the workers have used, each of which is asked until all have answered."""
    used: dict[int, float] = {}
    while len(used) < cluster.share.workers:
        used |= dict(own for _, own in cluster.deal(_usage, range(8)))
    return sum(used.values()) + time.process_time()


def _usage() -> Callable[[int], tuple[int, float]]:
    return lambda _: (os.getpid(), time.process_time())


def seconds(cluster: Cluster, work: Callable[[], object]) -> tuple[float, float]:
    """Return how long something takes by the clock, and how long processors work on it."""
    used, start = processor_seconds(cluster), time.perf_counter()
    work()
    took = time.perf_counter() - start
    return took, processor_seconds(cluster) - used


def compared(stage: str, size: str, one: Sequence[tuple[float, float]], many: Sequence[tuple[float, float]]) -> Row:
    """Return the best of both."""
    (clock, cpu), (clock_many, cpu_many) = ((min(own) for own in zip(*side, strict=True)) for side in (one, many))
    return Row(stage, size, clock, clock_many, cpu, cpu_many, cpu_many / cpu)


def embedding(cluster: Cluster, images: int, rounds: int) -> list[Row]:
    """Embed pictures by one process and by two, each into stores of its own.

    Raises:
        RuntimeError: if the stores differ.
    """
    with TemporaryDirectory() as made:
        folder = Path(made) / "images"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for i in range(images):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{i:06d}.jpg", quality=90)
        source, own = image_source(folder), _bundled()

        def go(into: Path, by: Workers | None, some: ImageSource = source) -> Callable[[], object]:
            return lambda: fill(into, some, own, silent, shard_rows=SHARD, workers=by)

        workers = Workers(cluster, _bundled)
        begun = time.perf_counter()
        go(Path(made) / "start", workers, image_source(sorted(folder.iterdir())[:1]))()
        starting = time.perf_counter() - begun
        one, many = [], []
        for at in range(rounds):
            stores = [Path(made) / f"{side}{at}" for side in ("one", "many")]
            one.append(seconds(cluster, go(stores[0], None)))
            many.append(seconds(cluster, go(stores[1], workers)))
            if written(stores[0]) != written(stores[1]):
                raise RuntimeError("the stores differ: there is no figure")
    return [Row("start", f"{NODES} workers", None, starting), compared("embed", f"{images:,} images", one, many)]


def _bundled() -> ClipEmbedder:
    return ClipEmbedder.bundled(device="cpu", batch_size=BATCH)


def written(folder: Path) -> dict[str, bytes]:
    """Return the files of a store."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fitting(cluster: Cluster, classes: int, rounds: int) -> Row:
    """Fit by one process and by two.

    Raises:
        RuntimeError: if the fits differ.
    """
    problem = make(Shape.even("", classes, 500, 512))

    def fit(by: Cluster | None) -> FailureDirections:
        estimator = FailureDirections(n_permutations=200, backend="numba")
        return estimator.fit(problem.x, problem.labels, problem.right, cluster=by)

    if fit(None).coef_.tobytes() != fit(cluster).coef_.tobytes():  # which compiles, too
        raise RuntimeError("the fits differ: there is no figure")
    one, many = [], []
    for _ in range(rounds):
        one.append(seconds(cluster, lambda: fit(None)))
        many.append(seconds(cluster, lambda: fit(cluster)))
    return compared("fit", f"{classes} classes x 500 x 512", one, many)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="store the figures under benchmarks/results")
    arguments = parser.parse_args(argv)
    os.environ[CORES] = "1"  # as each worker has
    threadpool_limits(1)
    torch.set_num_threads(1)
    with two_nodes() as cluster:
        rows = [
            *embedding(cluster, arguments.images, arguments.rounds),
            fitting(cluster, arguments.classes, arguments.rounds),
        ]
    about = {**machine(), "ray": ray.__version__}
    table = Table("stage", "size", "one process, s", "two workers, s", "processors, s", "two, s", "ratio of these")
    for row in rows:
        figures = (row.one_process, row.cluster, row.one_process_cpu, row.cluster_cpu, row.ratio_cpu)
        table.add_row(row.stage, row.size, *("–" if own is None else f"{own:.2f}" for own in figures))
    Console(width=160).print(about, table)
    if arguments.write:
        store("cluster", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
