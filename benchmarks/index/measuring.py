"""One row of the table: an index of a kind is made and asked, in a process of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import torch

from benchmarks.index.world import REFERENCE, Questions, captions, questions
from benchmarks.memory import forget_peak, resident
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
    forget_peak()
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
    if chosen is None or dimension is None:
        raise RuntimeError(f"an index of {count} captions has no kind: nothing was added")
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


def measure_afresh(kind: str, count: int, *, images: bool) -> Row:
    """Do the same in a new process, whose memory no other row has used."""
    clip = ClipEmbedder.bundled()
    asked = questions(clip, 1000)
    measure(clip, "flat", 2 * BATCH, asked, images=False)  # what is compiled and allocated once is not counted
    return measure(clip, kind, count, asked, images)


def recall_of_images(clip: ClipEmbedder, texts: Sequence[str], kind: str, asked: Questions) -> float:
    """Return the recall of an index of the captions themselves, which pictures are looked up in."""
    index = CaptionIndex.from_captions(texts, clip, batch_size=BATCH, kind=kind, progress=silent)
    return index.recall(asked.images[:SOME], K)


def stored_bytes(index: CaptionIndex) -> int:
    """Return how large the vectors are in a file, links and ids included."""
    with TemporaryDirectory() as folder:
        index.save(Path(folder) / "index")
        entries = ZipFile(Path(folder) / "index").infolist()
        return sum(entry.file_size for entry in entries if entry.filename.startswith("vectors."))
