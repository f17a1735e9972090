"""Mend the demo's model in every way, at several seeds: minority accuracy before and after.

python -m benchmarks.demo.mended [--seeds 0 1 2] [--write]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.demo.run import demo


def run(seed: int) -> list[dict[str, Any]]:
    """Run one demo with its repairs; a row a way."""
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        demo(folder, seed, repair=True)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        ways = json.loads((Path(folder) / "mended.json").read_text())["ways"]
    return [
        {
            "seed": seed,
            "way": one["way"],
            **{
                f"{what}_{when}": round(one[what][f"right_{when}"] / one[what]["n"], 4)
                for what in ("minority", "overall")
                for when in ("before", "after")
            },
            "change_low": round(one["minority"]["change"]["low"], 4),
            "change_high": round(one["minority"]["change"]["high"], 4),
            "p_value": one["minority"]["p_value"],
            "failures": one["failures"],
            "seconds": round(one["seconds"], 1),
            "demo_seconds": round(wall, 1),
            "demo_cpu_seconds": round(cpu, 1),
        }
        for one in ways
    ]


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console, rows = machine(), Console(width=160), list[dict[str, Any]]()
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    for seed in arguments.seeds:
        rows += run(seed)
        if arguments.write:  # after every seed: a run that is interrupted keeps what it has
            store("mended", about, rows)
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)


if __name__ == "__main__":
    main()
