"""Time and memory to read and check a table of predictions.

    python -m benchmarks.scale.table [--rows 1000000] [--rounds 5] [--write]

- *plain*: ``path,label,prediction,split,confidence`` of 1000 classes, as pandas writes it.
- *quoted*: the same, every text in quotes.
- *a fault*: the same, and the last confidence is no number: the error has to name its line.

Seconds are the median of the rounds. Memory is what the process holds at its peak beyond what it held before, each in a
new process, as Linux counts resident pages.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from benchmarks.memory import forget_peak, in_a_process, resident
from benchmarks.stored import store
from fdgpu.auditing.columns.inputs import check_inputs
from fdgpu.auditing.columns.predictions import read_predictions
from fdgpu.errors import InputError


@dataclass(frozen=True)
class Row:
    """One line: MB are 10^6 bytes."""

    name: str
    rows: int
    file_mb: float
    read_seconds: float
    check_seconds: float
    beyond_mb: float


def write(path: Path, rows: int, quoting: int, last: str) -> None:
    """Write a table whose last confidence is ``last``."""
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 1000, (2, rows)).tolist()
    splits, confidence = rng.choice(["train", "val", "test"], rows).tolist(), rng.random(rows).round(4).tolist()
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC if quoting else csv.QUOTE_MINIMAL)
        table.writerow(["path", "label", "prediction", "split", "confidence"])
        for i in range(rows):
            sure = confidence[i] if i < rows - 1 else last
            table.writerow([f"{splits[i]}/{i:07d}.jpg", f"n{labels[i]:08d}", f"n{guesses[i]:08d}", splits[i], sure])


def once(path: Path) -> tuple[float, float, float]:
    """Return the seconds to read and to check, and the bytes; of a table with a fault the seconds until it is named."""
    read_predictions_of_a_few(path)  # what is imported and started at the first call
    forget_peak()
    before, start = resident("VmRSS"), time.perf_counter()
    try:
        table = read_predictions(path)
    except InputError as error:
        seconds = time.perf_counter() - start
        if f"line {len(path.read_bytes().splitlines())}" not in str(error):
            raise
        return seconds, float("nan"), float(resident("VmHWM") - before)
    read = time.perf_counter()
    columns = {name: table.column(name) for name in ("label", "prediction", "split", "confidence")}
    check_inputs(columns["label"], columns["prediction"], None, columns["split"], columns["confidence"])
    return read - start, time.perf_counter() - read, float(resident("VmHWM") - before)


def read_predictions_of_a_few(path: Path) -> None:
    """Read the first lines of a table."""
    few = path.with_name("few.csv")
    with path.open("rb") as stream:
        few.write_bytes(b"".join(stream.readline() for _ in range(100)))
    read_predictions(few)


def measure(name: str, rows: int, rounds: int, *, quoting: int = 0, last: str = "0.5") -> Row:
    """Read one table several times, each in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.csv"
        write(path, rows, quoting, last)
        found = np.array([in_a_process(once, path) for _ in range(rounds)])
        read, check, beyond = np.median(found, axis=0)
        return Row(name, rows, path.stat().st_size / 1e6, float(read), float(check), float(beyond) / 1e6)


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about, console = machine(), Console(width=130)
    rows = [
        measure("plain", arguments.rows, arguments.rounds),
        measure("quoted", arguments.rows, arguments.rounds, quoting=1),
        measure("a fault", arguments.rows, arguments.rounds, last="sure"),
    ]
    table = Table("", "rows", "file, MB", "read, s", "check, s", "beyond, MB")
    for row in rows:
        numbers = (row.file_mb, row.read_seconds, row.check_seconds, row.beyond_mb)
        table.add_row(row.name, f"{row.rows:,}", *(f"{number:.2f}" for number in numbers))
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    console.print(table)
    if arguments.write:
        store("tables", about, [asdict(row) for row in rows])


if __name__ == "__main__":
    main()
