"""Beam search for the hardest captions, beside scoring every caption of the grammar.

    python -m benchmarks.growing [--quick] [--write]

Along a direction fitted to planted failures and along random ones in the bundled CLIP's space, over grammars of
WordNet's adjectives, of 8 x 10^4, 1.4 x 10^6 and 1.3 x 10^8 captions. The largest is searched only.

- *reached*: the alignment of the best caption found over that of the best caption there is; the mean over directions,
  and the worst.
- *top 10*: how many of the ten best captions are among the ten found; the mean.
- *scored*: captions that were encoded and scored, as a share of all.
- *CPU seconds*: of one search, and of scoring everything (encoded once for all directions, which flatters it); the
  processor's time, not the clock's, so that what else runs on the machine counts little.

Captions that exceed the model's context are left out of both. ``--quick`` takes the smallest grammar only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.growing.directions import Direction, directions
from benchmarks.growing.grammars import grammars
from benchmarks.machine import machine
from benchmarks.memory import forget_peak, resident
from benchmarks.stored import store
from fdgpu import CaptionGrammar, ClipEmbedder
from fdgpu.captions import grow
from fdgpu.progress import silent

BEAMS = (1, 8, 32, 128)
RANDOM = 5  # random directions
TOP = 10
AT_ONCE = 50_000  # captions of the exhaustive side that are in memory
SCORED_WHOLE = 2_000_000  # captions; a larger grammar is searched only


@dataclass(frozen=True)
class Row:
    """One line: means over directions, unless it says worst; NaN where not everything was scored."""

    grammar: str
    captions: int
    directions: str
    beam: int
    reached: float
    reached_worst: float
    top10: float
    best_alignment: float
    scored: int
    scored_share: float
    cpu_seconds: float
    cpu_seconds_all: float
    beyond_mb: float


@dataclass(frozen=True)
class Everything:
    """The best captions of a whole grammar along each direction, hardest first, and the CPU seconds that took."""

    best: dict[str, list[tuple[float, str]]]
    seconds: float


def score_everything(grammar: CaptionGrammar, clip: ClipEmbedder, along: Sequence[Direction]) -> Everything:
    """Score every caption that fits."""
    start = time.process_time()
    best: dict[str, list[tuple[float, str]]] = {one.name: [] for one in along}
    rest = filter(clip.fits, grammar)
    while chunk := list(islice(rest, AT_ONCE)):
        vectors = clip.texts(chunk, silent)
        for one in along:
            values = one.align(vectors)
            lowest = np.argsort(values)[:TOP]  # NaN, the reference, is last
            own = best[one.name] + [(float(values[i]), chunk[i]) for i in lowest if not np.isnan(values[i])]
            best[one.name] = sorted(own)[:TOP]
    return Everything(best, time.process_time() - start)


def search(
    name: str, grammar: CaptionGrammar, clip: ClipEmbedder, along: Sequence[Direction], beam: int, all_: Everything
) -> Row:
    """Search along each direction."""
    reached, shared, alignments, scored = [], [], [], []
    forget_peak()
    before, start = resident("VmRSS"), time.process_time()
    for one in along:
        grown = grow(grammar, partial(_align, one, clip), beam=beam, top=TOP, fits=clip.fits)
        scored.append(grown.n_scored)
        alignments.append(grown.captions[0].alignment)
        best = all_.best.get(one.name)
        if best:
            reached.append(alignments[-1] / best[0][0])
            shared.append(len({c.caption for c in grown.captions} & {text for _, text in best}))
    seconds = (time.process_time() - start) / len(along)
    return Row(
        name,
        len(grammar),
        along[0].name.split()[0],
        beam,
        _mean(reached),
        min(reached, default=float("nan")),
        _mean(shared),
        _mean(alignments),
        round(_mean(scored)),
        _mean(scored) / len(grammar),
        seconds,
        all_.seconds,
        max(0, resident("VmHWM") - before) / 1e6,
    )


def _align(along: Direction, clip: ClipEmbedder, texts: Sequence[str]) -> NDArray[np.float64]:
    return along.align(clip.texts(texts, silent))


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else float("nan")


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN."""
    return {name: None if value != value else value for name, value in row.items()}


def show(console: Console, rows: Sequence[Row]) -> None:
    """Print a table."""
    table = Table(
        "grammar", "captions", "directions", "beam", "reached: mean, worst", "top 10", "alignment", "scored", "share",
        "CPU s", "for all", "MB beyond",
    )  # fmt: skip
    for row in rows:
        table.add_row(
            row.grammar,
            f"{row.captions:.2e}",
            row.directions,
            str(row.beam),
            f"{row.reached:.3f}, {row.reached_worst:.3f}",
            f"{row.top10:.1f}",
            f"{row.best_alignment:+.3f}",
            str(row.scored),
            f"{row.scored_share:.2%}" if row.scored_share > 1e-3 else f"{row.scored_share:.1e}",
            f"{row.cpu_seconds:.2f}",
            f"{row.cpu_seconds_all:.0f}",
            f"{row.beyond_mb:.0f}",
        )
    console.print(table)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest grammar only")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=160)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    clip = ClipEmbedder.bundled("cpu")
    along = directions(clip, RANDOM)
    rows = []
    for name, grammar in grammars(quick=arguments.quick).items():
        whole = len(grammar) <= SCORED_WHOLE
        all_ = score_everything(grammar, clip, along) if whole else Everything({}, float("nan"))
        rows += [search(name, grammar, clip, group, beam, all_) for beam in BEAMS for group in (along[:1], along[1:])]
    show(console, rows)
    if arguments.write:
        store("growing", about, [_without_nan(asdict(row)) for row in rows])


if __name__ == "__main__":
    main()
