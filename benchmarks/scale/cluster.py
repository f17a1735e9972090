"""What Ray costs: embedding and a fit by two workers, a node each, beside one process, all on this machine.

    python -m benchmarks.scale.cluster [--images 4096] [--classes 40] [--write]

- *embed*: JPEGs of 320 pixels, embedded by the bundled CLIP into a store; workers that have loaded it already.
- *fit*: classes of 500 samples x 512, each with 200 permutations.
- *start*: until the workers have imported torch and loaded the CLIP, once a job.

One process uses all cores, a worker the same share of them as its node has, so that a ratio of 1 is no overhead. Rounds
alternate, and the best of each counts. There is no ratio unless both find the same: stores with the same ids, pictures
and reasons, and vectors that differ by less than 1e-5 (sums over several threads are rounded otherwise than over one);
fits that are equal to the bit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
from PIL import Image
from ray.cluster_utils import Cluster as Nodes
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.speed.data import Shape, make
from benchmarks.stored import store
from fdgpu import ClipEmbedder, Cluster, EmbeddingStore, FailureDirections
from fdgpu.device import cpu_count
from fdgpu.embedding import image_source
from fdgpu.progress import silent
from fdgpu.store import fill
from fdgpu.store.pieces import Workers

NODES, BATCH, SIDE, SHARD = 2, 64, 320, 256
ROUNDED = 1e-5
MEMORY = 1 << 28  # of each node's objects


@dataclass(frozen=True)
class Row:
    """One line: seconds of both sides, and the cluster's by those of one process."""

    stage: str
    size: str
    one_process: float | None
    cluster: float
    ratio: float | None


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """Start two nodes that divide the cores."""
    cores: dict[str, Any] = {"num_cpus": max(1, cpu_count() // NODES), "object_store_memory": MEMORY}
    nodes = Nodes(initialize_head=True, head_node_args={**cores, "include_dashboard": False})
    nodes.add_node(**cores)
    try:
        with Cluster.connect(nodes.address) as cluster:
            yield cluster
    finally:
        ray.shutdown()
        nodes.shutdown()


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def embedding(cluster: Cluster, images: int, rounds: int) -> list[Row]:
    """Embed pictures by one process and by two, each into stores of its own."""
    with TemporaryDirectory() as made:
        folder = Path(made) / "images"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for i in range(images):
            coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
            coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{i:06d}.jpg", quality=90)
        source, own = image_source(folder), ClipEmbedder.bundled(batch_size=BATCH)
        workers = Workers(cluster, _bundled)
        some = image_source(sorted(folder.iterdir())[:1])
        starting = seconds(lambda: fill(Path(made) / "start", some, own, silent, shard_rows=SHARD, workers=workers))
        sides: dict[str, list[float]] = {"one": [], "cluster": []}
        for at in range(rounds):
            for side, by in (("one", None), ("cluster", workers)):
                into = Path(made) / f"{side}{at}"
                took = seconds(lambda into=into, by=by: fill(into, source, own, silent, shard_rows=SHARD, workers=by))  # type: ignore[misc]
                sides[side].append(took)
        same_stores(*(EmbeddingStore.open(Path(made) / f"{side}0") for side in sides))
    one, many = (min(own) for own in sides.values())
    return [
        Row("start", f"{NODES} workers", None, starting, None),
        Row("embed", f"{images:,} images", one, many, many / one),
    ]


def _bundled() -> ClipEmbedder:
    return ClipEmbedder.bundled(batch_size=BATCH)


def same_stores(one: EmbeddingStore, other: EmbeddingStore) -> None:
    """Refuse a ratio of stores that differ.

    Raises:
        RuntimeError: if they do.
    """
    for column in ("id", "picture", "skipped"):
        if one.column(column) != other.column(column):
            raise RuntimeError(f"the stores differ in {column}: there is no ratio")
    every = np.arange(len(one))
    most = float((one.rows().take(every) - other.rows().take(every)).abs().max())
    if most > ROUNDED:
        raise RuntimeError(f"the vectors differ by up to {most:g}: there is no ratio")


def fitting(cluster: Cluster, classes: int, rounds: int) -> Row:
    """Fit by one process and by two."""
    problem = make(Shape.even("", classes, 500, 512))
    fits: dict[str, FailureDirections] = {}
    sides: dict[str, list[float]] = {"one": [], "cluster": []}
    for _ in range(rounds + 1):  # the first is to compile
        for side, by in (("one", None), ("cluster", cluster)):
            fits[side] = FailureDirections(n_permutations=200, backend="numba")

            def fit(own: FailureDirections = fits[side], by: Cluster | None = by) -> object:
                return own.fit(problem.x, problem.labels, problem.right, cluster=by)

            sides[side].append(seconds(fit))
    if fits["one"].coef_.tobytes() != fits["cluster"].coef_.tobytes():
        raise RuntimeError("the fits differ: there is no ratio")
    one, many = (min(own[1:]) for own in sides.values())
    return Row("fit", f"{classes} classes x 500 x 512", one, many, many / one)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--classes", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="store the figures under benchmarks/results")
    arguments = parser.parse_args(argv)
    with two_nodes() as cluster:
        rows = [
            *embedding(cluster, arguments.images, arguments.rounds),
            fitting(cluster, arguments.classes, arguments.rounds),
        ]
    about = {**machine(), "ray": ray.__version__}
    table = Table("stage", "size", "one process, s", "two workers, s", "ratio")
    for row in rows:
        figures = (row.one_process, row.cluster, row.ratio)
        table.add_row(row.stage, row.size, *("–" if own is None else f"{own:.2f}" for own in figures))
    Console(width=160).print(about, table)
    if arguments.write:
        store("cluster", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
