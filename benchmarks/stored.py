"""Where figures are kept: JSON and CSV with the machine, versions and commit they were measured on."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


def store(name: str, about: dict[str, str], rows: Sequence[dict[str, Any]]) -> None:
    """Write ``results/NAME.json`` and ``results/NAME.csv``; a name may have a folder in it."""
    (FOLDER / name).parent.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps({"machine": about, "rows": list(rows)}, indent=1) + "\n")
    with (FOLDER / f"{name}.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
