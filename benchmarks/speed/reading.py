"""Gigabytes of vectors a second from a store in the page cache, beside dd and pyarrow on the same files.

    python -m benchmarks.speed.reading [--gigabytes 1] [--repeats 7] [--folder F] [--write]

# bytes: n x d x 4, once. dd reads all of the files, as blocks of 8 MiB, into one buffer; each of the others gives the
rows, as a program takes them. Rounds alternate. What is read is compared with what pyarrow reads before anything is
timed.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.stored import store as store_figures
from fdgpu.store import EmbeddingStore

DIMENSION, SHARD = 512, 4096
SCATTERED = 2  # one row in so many

Ways = dict[str, tuple[Callable[[], None], float]]  # what reads, and the share of the vectors that it gives


def written(folder: Path, gigabytes: float) -> EmbeddingStore:
    """Write a store of random vectors, and all of its files one after the other for dd."""
    store = EmbeddingStore.create(folder / "store", DIMENSION, shard_rows=SHARD)
    rng, shards = np.random.default_rng(0), max(1, round(gigabytes * 1e9 / (4 * DIMENSION * SHARD)))
    for shard in range(shards):
        ids = [f"{shard}/{row}" for row in range(SHARD)]
        store.append(ids, rng.standard_normal((SHARD, DIMENSION), np.float32))
    with (folder / "whole").open("wb") as whole:
        for one in store.shards:
            whole.write(one.path.read_bytes())
    return store


def check(store: EmbeddingStore) -> None:
    """Compare what is read with what pyarrow reads.

    Raises:
        RuntimeError: where they differ.
    """
    blocks = store.rows().blocks(SHARD)
    for shard, block in zip(store.shards, blocks, strict=True):
        column = pq.read_table(shard.path, columns=["vector"]).column(0).combine_chunks()
        if not np.array_equal(column.flatten().to_numpy(), block.numpy().ravel()):
            raise RuntimeError(f"{shard.path} is read differently by pyarrow")


def ways(store: EmbeddingStore, whole: Path) -> Ways:
    """Return what is compared, by name."""
    rows = store.rows()
    some = np.sort(np.random.default_rng(0).choice(len(store), len(store) // SCATTERED, replace=False))

    def dd() -> None:
        subprocess.run(["dd", f"if={whole}", "of=/dev/null", "bs=8M", "status=none"], check=True)  # noqa: S603, S607

    def pyarrow() -> None:
        for shard in store.shards:
            pq.read_table(shard.path, columns=["vector"])

    def blocks(size: int) -> Callable[[], None]:
        def run() -> None:
            for _ in rows.blocks(size):
                pass

        return run

    def take() -> None:
        for start in range(0, len(some), SHARD):
            rows.take(some[start : start + SHARD])

    return {
        "dd": (dd, 1.0),
        "pyarrow": (pyarrow, 1.0),
        f"blocks({SHARD:,})": (blocks(SHARD), 1.0),
        f"blocks({2 * SHARD:,})": (blocks(2 * SHARD), 1.0),  # as passes over a whole store ask for them on the CPU
        f"blocks({16 * SHARD:,})": (blocks(16 * SHARD), 1.0),  # as they do on CUDA, into pinned memory
        f"take, one row in {SCATTERED}": (take, 1 / SCATTERED),
    }


def measure(compared: Ways, total: float, repeats: int) -> dict[str, list[float]]:
    """Return GB/s of each way, a round after the other."""
    rates: dict[str, list[float]] = {name: [] for name in compared}
    for _ in range(repeats):
        for name, (run, share) in compared.items():
            start = time.perf_counter()
            run()
            rates[name].append(total * share / (time.perf_counter() - start) / 1e9)
    return rates


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of vectors; they have to fit into memory twice")
    parser.add_argument("--repeats", type=int, default=7, help="rounds")
    parser.add_argument("--folder", type=Path, help="where to write; by default that of temporary files")
    parser.add_argument("--write", action="store_true", help="also store figures under benchmarks/results")
    arguments, console = parser.parse_args(argv), Console(width=120)
    console.print("  ".join(f"{name} {value}" for name, value in machine().items()))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        store = written(Path(folder), arguments.gigabytes)
        check(store)
        compared = ways(store, Path(folder) / "whole")
        rates = measure(compared, len(store) * DIMENSION * 4, arguments.repeats)
    dd = rates["dd"]
    of_dd = {
        name: statistics.median(one / other for one, other in zip(own, dd, strict=True)) for name, own in rates.items()
    }
    if arguments.write:
        rows = [
            {"way": name, "median": statistics.median(own), "least": min(own), "most": max(own), "of dd": of_dd[name]}
            for name, own in rates.items()
        ]
        store_figures("reading", machine(), rows)
    table = Table(caption=f"{len(store):,} vectors of {DIMENSION} float32; the ratio is that of a round, its median")
    for column in ("way", "GB/s", "from", "to", "of dd's"):
        table.add_column(column)
    for name, own in rates.items():
        table.add_row(name, f"{statistics.median(own):.2f}", f"{min(own):.2f}", f"{max(own):.2f}", f"{of_dd[name]:.0%}")
    console.print(table)


if __name__ == "__main__":
    main()
