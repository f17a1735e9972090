"""Plant slices, let every method look for them, and compare.

    python -m benchmarks.slices [--seeds 1] [--samples 30000] [--settings N] [--directions R] [--write]

Every method is fitted on one half of a setting's samples and proposes slices of the other half. Precision is of the top
10 or 25 of the proposal that matches best, so methods with more proposals have more chances: their number stands
in the table, and ``random`` shows what 25 chances alone are worth. A slice is found when precision@10 is at least
0.8; correlation plants two slices a setting, and its figures are means over both. Seconds are of fitting and scoring.
``--settings`` takes the first N of the grid, in which families change fastest, then d' of what is planted, strengths
and seeds. The whole grid, 30 settings a seed, takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.discovery.planting import grid, plant
from benchmarks.machine import machine
from benchmarks.slices.contenders import Measurement, contenders, measure, warm_up
from benchmarks.slices.summary import losses, summarise
from benchmarks.stored import store


def stored_rows(rows: Sequence[Measurement], samples: int) -> list[dict[str, Any]]:
    """Return what is kept: a row for every method, family, strength and separation, averaged over seeds."""
    cells = summarise(rows, lambda row: (row.method, row.family, row.strength, row.separation))
    return [
        {"method": method, "family": family, "strength": strength, "separation": separation, "samples": samples}
        | {name: round(value, 4) for name, value in asdict(summary).items()}
        for (method, family, strength, separation), summary in cells.items()
    ]


def table(rows: Sequence[Measurement]) -> Table:
    """Lay out family x method, with the share found at each separation beside the share found overall."""
    separations = sorted({row.separation for row in rows}, reverse=True)
    at = [f"at d' {separation:g}" for separation in separations]
    result = Table("family", "method", "settings", "precision@10", "precision@25", "found", *at, "proposals", "seconds")
    split = summarise(rows, lambda row: (row.family, row.method, row.separation))
    for family in dict.fromkeys(row.family for row in rows):
        own = summarise([row for row in rows if row.family == family], lambda row: row.method)
        for number, (method, s) in enumerate(own.items()):
            cells = [split.get((family, method, separation)) for separation in separations]
            result.add_row(
                "" if number else family,
                method,
                str(s.settings),
                f"{s.precision_10:.2f}",
                f"{s.precision_25:.2f}",
                f"{s.found:.0%}",
                *[f"{cell.found:.0%}" if cell else "" for cell in cells],
                f"{s.proposals:.0f}",
                f"{s.seconds:.2f}",
                end_section=number == len(own) - 1,
            )
    return result


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--samples", type=int, default=30_000, help="of a setting; half to fit, half to score")
    parser.add_argument("--settings", type=int, help="only so many settings")
    parser.add_argument("--directions", type=int, default=1, help="let fdgpu take part with so many as well")
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    settings = grid(arguments.seeds, arguments.samples)[: arguments.settings]
    if not settings:
        parser.error("there is nothing to measure: --seeds and --settings have to be at least 1")
    about = machine()
    console = Console(width=140)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    taking_part = contenders(arguments.directions)
    warm_up(taking_part)
    rows: list[Measurement] = []
    for number, setting in enumerate(settings, 1):
        planted = plant(setting)
        for contender in taking_part:
            rows += measure(contender, setting, planted)
        console.print(f"{number}/{len(settings)} {setting.family} {setting.strength:g}, d' {setting.separation:g}")
    console.print(table(rows))
    console.print(losses(rows), highlight=False)
    if arguments.write:
        store("slices", about, stored_rows(rows, arguments.samples))


if __name__ == "__main__":
    main()
