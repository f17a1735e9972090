"""Run the demo at several seeds, and compare the audits of both methods with what was planted.

python -m benchmarks.demo [--seeds 0 1 2 3 4] [--methods svm latent] [--write]

The model of a seed is trained once.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from benchmarks.demo.trusting import count_captions
from benchmarks.machine import machine
from benchmarks.stored import store
from fdgpu.demo import run as demo_run
from fdgpu.demo.base_model import train_base_model


@contextmanager
def trained_once() -> Iterator[None]:
    """Let demos of one seed share their model."""
    models: dict[int, Any] = {}

    def once(pictures: Any, labels: Any, seed: int, **settings: Any) -> Any:
        if seed not in models:
            models[seed] = train_base_model(pictures, labels, seed, **settings)
        return models[seed]

    with patch.object(demo_run, "train_base_model", once):
        yield


def run(seed: int, method: str) -> dict[str, Any]:
    """Run one demo and sum it up."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result, accuracy = demo_run.demo(folder, seed, method=method)
        seconds = time.perf_counter() - start
    planted = [entry.planted for entry in result.findings.classes if entry.planted is not None]
    return {
        "seed": seed,
        "method": method,
        "accuracy": round(accuracy, 4),
        "named_first": sum(p.named_at == 1 for p in planted),
        "named_in_three": sum(p.named_at is not None and p.named_at <= 3 for p in planted),
        "planted": len(planted),
        **count_captions(result),
        "minority_by_direction": round(sum(p.share_by_decision for p in planted) / len(planted), 4),
        "minority_by_confidence": round(sum(p.share_by_confidence for p in planted) / len(planted), 4),
        "lowest_by_direction": min(p.share_by_decision for p in planted),
        "lowest_by_confidence": min(p.share_by_confidence for p in planted),
        "seconds": round(seconds, 1),
        **{stage: round(s, 2) for stage, s in result.findings.timings.items()},
    }


def main() -> None:
    """Measure, print, and with ``--write`` store under ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", default=["svm", "latent"], choices=["svm", "latent"])
    parser.add_argument("--write", action="store_true", help="store CSV and JSON under benchmarks/results")
    arguments = parser.parse_args()
    about = machine()
    console = Console(width=160)
    console.print("  ".join(f"{name} {value}" for name, value in about.items()))
    rows = []
    for seed in arguments.seeds:
        with trained_once():
            for method in arguments.methods:
                rows.append(run(seed, method))
                console.print(rows[-1])
                if arguments.write:  # after every audit: a run that is interrupted keeps what it has
                    store("demo", about, rows)
    names = list(rows[0])
    for columns in (names[:6], [*names[:2], *names[6:16]], [*names[:2], *names[16:21]]):
        table = Table(*columns)
        for row in rows:
            table.add_row(*[str(row[column]) for column in columns])
        console.print(table)


if __name__ == "__main__":
    main()
