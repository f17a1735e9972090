"""Let every method look for what each setting plants, and compare.

    python -m benchmarks.discovery --seeds 0-9 [--settings A,B] [--methods A,B] [--cache DIR] [--jobs N] [--prepare]
        [--write]

The latent method was tuned on seeds from 0 to 9, and frozen before it was run on others: docs/benchmarks.md has both.
Each method is fitted on a problem's ``val`` and ranks its ``test``. The paper's forms and SpotCheck train networks,
whose answers are kept in the cache; ``--prepare`` does nothing else. Measurements are added to ``measured.jsonl`` there
as they are made, and a run that was interrupted goes on. ``--jobs`` processes share the cores. Tables give the mean and
the deviation between seeds, and the number of seeds where a line has fewer; * is a line that is better than ``fdgpu,
latent`` by more than seeds differ (a paired t interval of 95 %).
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.discovery.comparing import by_seed, rivals_ahead, stored_rows, tables
from benchmarks.discovery.methods import METHODS
from benchmarks.discovery.running import SETTINGS, TRAINED, limit_threads, measurements, prepare, read, run
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.device import cpu_count

CACHE = Path.home() / ".cache" / "fdgpu-discovery"


def seeds_of(text: str) -> range:
    """Read ``A-B``, both included, or ``A``."""
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not found:
        raise argparse.ArgumentTypeError(f"{text} holds no seed: give A-B with A at most B")
    return found


def chosen(known: tuple[str, ...], what: str, text: str) -> list[str]:
    """Read names with commas between, in the order of those known."""
    names = {name.strip() for name in text.split(",")}
    if unknown := names - set(known):
        raise argparse.ArgumentTypeError(f"{what} {', '.join(sorted(unknown))}: use {', '.join(known)}")
    return [name for name in known if name in names]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=seeds_of, required=True, metavar="A-B")
    parser.add_argument("--settings", type=lambda text: chosen(SETTINGS, "settings", text), default=list(SETTINGS))
    parser.add_argument("--methods", type=lambda text: chosen(tuple(METHODS), "methods", text), default=list(METHODS))
    parser.add_argument("--cache", type=Path, default=CACHE, help="trained problems, and what was measured")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--prepare", action="store_true", help="train what settings need, and measure nothing")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    return parser.parse_args()


def each_of(units: Sequence[tuple[str, int]], do: Callable[[str, int], None], jobs: int) -> Iterator[tuple[str, int]]:
    """Do settings and seeds, ``jobs`` at a time; yield each when it is done."""
    if jobs == 1:
        for unit in units:
            do(*unit)
            yield unit
        return
    context, threads = multiprocessing.get_context("spawn"), max(1, cpu_count() // jobs)
    with ProcessPoolExecutor(jobs, context, limit_threads, (threads,)) as pool:
        started = {pool.submit(do, *unit): unit for unit in units}
        for future in as_completed(started):
            future.result()
            yield started[future]


def main() -> None:
    """Prepare, measure, print, and with ``--write`` store."""
    asked = arguments()
    about, console, record = machine(), Console(width=200), asked.cache / "measured.jsonl"
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    settings = [name for name in asked.settings if name in TRAINED or not asked.prepare]
    units = [(name, seed) for seed in asked.seeds for name in settings]
    do = partial(prepare, folder=asked.cache)
    if not asked.prepare:
        do = partial(run, methods=asked.methods, folder=asked.cache, record=record)
    for number, (setting, seed) in enumerate(each_of(units, do, asked.jobs), 1):
        console.print(f"{number}/{len(units)} {setting}, seed {seed}")
    if asked.prepare:
        return
    rows = [
        row
        for row in measurements(read(record))
        if row.setting in settings and row.seed in asked.seeds and row.method in asked.methods
    ]
    seeds = by_seed(rows)
    for table in tables(seeds):
        console.print(table)
    console.print("\n".join(rivals_ahead(seeds)), highlight=False)
    if asked.write:
        store(f"discovery_{asked.seeds.start}-{asked.seeds.stop - 1}", about, stored_rows(seeds))


if __name__ == "__main__":
    main()
