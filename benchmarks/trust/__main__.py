"""Are captions withheld where there is nothing to say?

    python -m benchmarks.trust [--seed 0] [--rounds 10] [--write]

The demo's model, with its right and wrong answers shuffled within every class and split, so that no caption of any
class has a reason: how many sides (hard and easy, of every class) still have a reliable caption, and what let it pass.
With all 500 validation images of a class, and with fewer. ``python -m benchmarks.demo`` counts what the same rules do
to captions that name what was planted.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import fdgpu
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu import ClipEmbedder
from fdgpu.auditing import Predictions, read_predictions
from fdgpu.demo.run import demo
from fdgpu.embedding import Embeddings
from fdgpu.embedding.sources import FileSource
from fdgpu.findings import Findings, ScoredCaption
from fdgpu.progress import Reporter

VALIDATION = (500, 150, 50)  # images of a class that directions are fitted on


class Remembering(ClipEmbedder):
    """A CLIP that embeds once: every audit here is of the same images and captions."""

    _kept_images: Embeddings | None = None
    _kept_texts: dict[tuple[str, ...], torch.Tensor] | None = None

    def embed(self, source: Any, *args: Any, **kwargs: Any) -> Embeddings:
        """Return what was computed the first time, for any source."""
        self._kept_images = self._kept_images or super().embed(source, *args, **kwargs)
        return self._kept_images

    def texts(self, captions: Iterable[str], progress: Reporter | None = None) -> torch.Tensor:
        """Return what was computed the first time for these captions."""
        self._kept_texts, key = self._kept_texts or {}, tuple(captions)
        if key not in self._kept_texts:
            self._kept_texts[key] = super().texts(list(key), progress)
        return self._kept_texts[key]


def shuffled(table: Predictions, rng: np.random.Generator) -> list[str]:
    """Return predictions that are shuffled among the images of a class and split."""
    predictions = np.array(table.predictions)
    groups = np.array([f"{label}/{split}" for label, split in zip(table.labels, table.splits, strict=True)])
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        predictions[rows] = rng.permutation(predictions[rows])
    return [str(name) for name in predictions]


def fewer(table: Predictions, n: int, rng: np.random.Generator) -> list[str]:
    """Return splits in which ``n`` images of a class stay in val; the others only whiten."""
    splits, labels = np.array(table.splits, dtype=object), np.array(table.labels)  # a name of any length
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero((labels == label) & (splits == "val")))
        splits[rows[n:]] = "train"
    return [str(name) for name in splits]


def sides(findings: Findings) -> list[tuple[ScoredCaption, ...]]:
    """Return the captions of both sides of every class that has a direction."""
    modes = [one.strongest for one in findings.classes if one.found]
    return [side for mode in modes for side in (mode.hard_captions, mode.easy_captions)]


def passed(found: list[tuple[ScoredCaption, ...]], by: str) -> NDArray[np.bool_]:
    """Return for every side whether a caption passed by ``by``, "rank" or "gap"; by either with ""."""
    return np.array([any(not c.withheld and c.evidence and by in c.evidence.decided_by for c in own) for own in found])


def run(table: Predictions, source: FileSource, embedder: ClipEmbedder, n: int, rounds: int) -> dict[str, Any]:
    """Audit shuffled answers ``rounds`` times."""
    start, found = time.perf_counter(), []
    for seed in range(rounds):
        rng = np.random.default_rng((n, seed))
        result = fdgpu.audit(
            source, table.labels, shuffled(table, rng), splits=fewer(table, n, rng), embedder=embedder, seed=seed
        )
        found += sides(result.findings)
    shares = {f"by_{by or 'either'}": round(float(passed(found, by).mean()), 4) for by in ("rank", "gap", "")}
    return {"validation": n, "sides": len(found), **shares, "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=160)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    with tempfile.TemporaryDirectory() as folder:
        demo(folder, arguments.seed)
        table = read_predictions(Path(folder) / "predictions.csv")
        source = FileSource([Path(folder) / "images" / path for path in table.paths], table.paths)
        embedder = Remembering.bundled()
        embedder.doubts = ()  # these are the pictures that it knows
        rows = [run(table, source, embedder, n, arguments.rounds) for n in VALIDATION]
    shown = Table(*rows[0])
    for row in rows:
        shown.add_row(*[str(value) for value in row.values()])
    console.print(shown)
    if arguments.write:
        store("trust", about, rows)


if __name__ == "__main__":
    main()
