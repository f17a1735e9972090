"""An index of captions from a grammar: encode, add, search directions; seconds, memory, recall against exact search.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.index [--captions 1000000] [--write]

The bundled CLIP encodes captions from the words of the bundled recipes, batch by batch, into an index of differences
from "a photo" (``CaptionIndex.from_captions``). 1000 directions, of fits on pictures of the bundled world, ask for
their 10 hardest captions: all at once, and some of them one by one. Recall is the share of the true ten that is found,
by an exact search of the same index. All kinds are compared on a tenth of the captions, and there also over the
captions themselves, which pictures ask for their ten nearest; flat and lists on all of them.

Memory is the peak of the process while the index is made, beyond what it held before; Linux's own count of resident
pages. What has to be held is the index, as large as its vectors are in the file, and one batch; the C library keeps
some of what was freed (``malloc_trim`` gives it back), so that a row may show more, and one after a larger one less.

torch and FAISS each bring an OpenMP of their own. With ``OMP_WAIT_POLICY=PASSIVE`` the threads of one do not spin while
the other works, or while another process does.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.index.world import REFERENCE, Questions, captions, questions
from benchmarks.machine import machine
from benchmarks.scale.__main__ import resident
from benchmarks.stored import store
from fdgpu import CaptionIndex, ClipEmbedder
from fdgpu.progress import silent

K, BATCH = 10, 16384
ONE_BY_ONE = 50
SOME = 200  # questions that recall is measured on: an exact search looks at every vector


class Clock:
    """An embedder that adds up the time that it takes."""

    def __init__(self, clip: ClipEmbedder) -> None:
        self.clip, self.seconds = clip, 0.0

    def texts(self, texts: Sequence[str], progress: Any) -> torch.Tensor:
        """Encode, on the clock."""
        start = time.perf_counter()
        vectors = self.clip.texts(texts, progress)
        self.seconds += time.perf_counter() - start
        return vectors


@dataclass(frozen=True)
class Row:
    """One line: GB are 10^9 bytes, a search is of 10 captions."""

    kind: str
    lists: int
    probes: int
    captions: int
    dimension: int
    encode_seconds: float
    add_seconds: float
    directions: int
    search_seconds: float
    one_search_ms: float
    recall_of_directions: float
    recall_of_images: float | None
    index_gb: float
    batch_gb: float
    peak_gb: float
    load: float


def measure(clip: ClipEmbedder, kind: str, count: int, asked: Questions, images: bool) -> Row:
    """Make an index of a kind, ask it, and measure both."""
    texts, clock = captions(clip, count), Clock(clip)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, start = resident("VmRSS"), time.perf_counter()
    index = CaptionIndex.from_captions(
        texts, clock, batch_size=BATCH, reference=REFERENCE, scale=asked.scale, kind=kind, progress=silent
    )
    made, peak = time.perf_counter() - start, resident("VmHWM") - before
    start = time.perf_counter()
    index.hardest(asked.directions, K)
    search_seconds = time.perf_counter() - start
    start = time.perf_counter()
    for w in asked.directions[:ONE_BY_ONE]:
        index.hardest(w[None], K)
    one = (time.perf_counter() - start) / ONE_BY_ONE
    recall_of_directions, size = index.recall(-asked.directions[:SOME], K), stored_bytes(index)
    chosen, dimension = index.kind_, index.dimension
    del index
    return Row(
        kind,
        chosen.lists,
        chosen.probes,
        count,
        dimension,
        clock.seconds,
        made - clock.seconds,
        len(asked.directions),
        search_seconds,
        1e3 * one,
        recall_of_directions,
        recall_of_images(clip, texts, kind, asked) if images else None,
        size / 1e9,
        4 * BATCH * dimension / 1e9,
        peak / 1e9,
        os.getloadavg()[0],
    )


def recall_of_images(clip: ClipEmbedder, texts: Sequence[str], kind: str, asked: Questions) -> float:
    """Return the recall of an index of the captions themselves, which pictures are looked up in."""
    index = CaptionIndex.from_captions(texts, clip, batch_size=BATCH, kind=kind, progress=silent)
    return index.recall(asked.images[:SOME], K)


def stored_bytes(index: CaptionIndex) -> int:
    """Return how large the vectors are in a file, links and ids included."""
    with TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        return ZipFile(Path(folder) / "index").getinfo("vectors.faiss").file_size


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


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=160)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    clip = ClipEmbedder.bundled()
    asked = questions(clip, 1000)
    measure(clip, "flat", 2 * BATCH, asked, images=False)  # what is compiled and allocated once is not counted
    rows: list[Row] = []
    for kind, count in (
        ("flat", arguments.captions // 10),
        ("hnsw", arguments.captions // 10),
        ("ivf", arguments.captions // 10),
        ("flat", arguments.captions),
        ("ivf", arguments.captions),
    ):
        rows.append(measure(clip, kind, count, asked, images=count < arguments.captions))
        show(console, rows[-1:])
    show(console, rows)
    if arguments.write:
        store("index", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
