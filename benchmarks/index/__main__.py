"""An index of captions from a grammar: encode, add, search directions; seconds, memory, recall against exact search.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.index [--captions 1000000] [--only kinds|audit] [--write]

The bundled CLIP encodes captions from the words of the bundled recipes, batch by batch, into an index of differences
from "a photo" (``CaptionIndex.from_captions``). 1000 directions, of fits on pictures of the bundled world, ask for
their 10 hardest captions: all at once, and some of them one by one. Recall is the share of the true ten that is found,
by an exact search of the same index. All kinds are compared on a tenth of the captions, and there also over the
captions themselves, which pictures ask for their ten nearest; flat and lists on all of them.

An audit asks one index of the captions themselves for the ten hardest and easiest of its classes, each against a
reference caption of its own (``CaptionIndex.extremes``), which looks at every caption. Beside the seconds stands the
share of these ten that a search by inner products with w / σ would have found among its first 100 and 1000.

Memory is the peak of the process while the index is made, beyond what it held before; Linux's own count of resident
pages, in a process of its own for each row. What has to be held is the index, as large as its vectors are in the file,
and one batch; the C library keeps some of what was freed (``malloc_trim`` gives it back), so that a row may show more.

torch and FAISS each bring an OpenMP of their own. With ``OMP_WAIT_POLICY=PASSIVE`` the threads of one do not spin while
the other works, or while another process does.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from benchmarks.index.an_audit import Asked, ask_as_an_audit
from benchmarks.index.measuring import Row, measure_afresh
from benchmarks.machine import machine
from benchmarks.memory import in_a_process
from benchmarks.stored import store

CLASSES, REPEATS = (20, 200), 3


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print a table."""
    table = Table(
        "kind", "captions", "encode, s", "add, s", "1000 searches, s", "one, ms", "recall@10", "of images", "index, GB",
        "batch, GB", "peak, GB", "load"
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.kind + (f" {row.probes}/{row.lists}" if row.lists else ""),
            f"{row.captions:,} x {row.dimension}",
            *(f"{seconds:.1f}" for seconds in (row.encode_seconds, row.add_seconds, row.search_seconds)),
            f"{row.one_search_ms:.1f}",
            f"{row.recall_of_directions:.3f}",
            "" if row.recall_of_images is None else f"{row.recall_of_images:.3f}",
            *(f"{gb:.3f}" for gb in (row.index_gb, row.batch_gb, row.peak_gb)),
            f"{row.load:.0f}",
        )
    console.print(table)


def show_asked(console: Console, rows: Sequence[Asked]) -> None:
    """Print a table."""
    table = Table("captions", "encode, s", "add, s", "classes", "extremes, s", "recall of 100", "of 1000", "load")
    for row in rows:
        table.add_row(
            f"{row.captions:,} x {row.dimension}",
            f"{row.encode_seconds:.1f}",
            f"{row.add_seconds:.1f}",
            str(row.directions),
            f"{row.extremes_seconds:.2f}",
            f"{row.recall_of_100:.3f}",
            f"{row.recall_of_1000:.3f}",
            f"{row.load:.0f}",
        )
    console.print(table)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--only", choices=["kinds", "audit"], help="measure this part alone")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=160)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    if arguments.only != "audit":
        kinds = compare_kinds(console, arguments.captions)
        if arguments.write:
            store("index", about, [asdict(row) for row in kinds])
    if arguments.only != "kinds":
        asked = in_a_process(ask_as_an_audit, arguments.captions, CLASSES, REPEATS)
        show_asked(console, asked)
        if arguments.write:
            store("index_of_an_audit", about, [asdict(row) for row in asked])


def compare_kinds(console: Console, captions: int) -> list[Row]:
    """Measure every kind of index on a tenth of the captions, and two on all."""
    rows: list[Row] = []
    for kind, count in (
        ("flat", captions // 10),
        ("hnsw", captions // 10),
        ("ivf", captions // 10),
        ("flat", captions),
        ("ivf", captions),
    ):
        rows.append(in_a_process(measure_afresh, kind, count, images=count < captions))
        show(console, rows[-1:])
    show(console, rows)
    return rows


if __name__ == "__main__":
    main()
