"""The lines of the table: a stage of an audit, how much went through it, and what it took."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.imagenet_scale.meter import Usage
from fdgpu.directions.testing import TESTING
from fdgpu.files import writable_folder, write_atomically

GB = 1e9
REPORTS = {  # what an audit reports → the stage of the table
    "embed images": "embed",
    "compare images": "embed",
    "sort errors": "near-duplicates",
    "group images": "near-duplicates",
    "fit directions": "fit",
    TESTING: "fit",  # a batch of classes after the other: its seconds are divided by the fit's own clock
    "decision values": "decisions",
    "embed captions": "captions",
    "score captions": "captions",
    "gather findings": "page",
    "write the report": "page",
}
HEADER = ("stage", "of", "seconds", "of cores", "a second", "read, GB", "written, GB", "host, GB", "device, GB")


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        stage: of the audit.
        count: of what went through it.
        unit: what that is.
        seconds: by the clock.
        core_seconds: of the processor's cores, of which two work two in one second.
        read_gb: 10^9 bytes that were read, from the disk or from the page cache.
        written_gb: 10^9 bytes that were written.
        host_gb: 10^9 bytes that the process held at most, beyond what it held before the first stage.
        device_gb: 10^9 bytes that torch held on the device at most; None without one.
    """

    stage: str
    count: int
    unit: str
    seconds: float
    core_seconds: float
    read_gb: float
    written_gb: float
    host_gb: float
    device_gb: float | None

    @classmethod
    def of(cls, stage: str, count: int, unit: str, usage: Usage) -> Row:
        """Return the line of a stage."""
        device = None if usage.device is None else usage.device / GB
        sizes = (usage.read / GB, usage.written / GB, usage.host / GB)
        return cls(stage, count, unit, usage.seconds, usage.cores, *sizes, device)

    @property
    def cells(self) -> list[str]:
        """The line as text."""
        return [
            self.stage,
            f"{self.count:,} {self.unit}",
            *(f"{one:.3g}" if one < 1000 else f"{one:,.0f}" for one in (self.seconds, self.core_seconds)),
            _figure(self.count / self.seconds) if self.seconds else "",
            *("–" if one < 5e-4 else f"{one:.3f}" for one in (self.read_gb, self.written_gb)),
            f"{self.host_gb:.2f}",
            "–" if self.device_gb is None else f"{self.device_gb:.2f}",
        ]


def markdown(about: Mapping[str, str], rows: Sequence[Row]) -> str:
    """Return the table, and above it what it was measured on."""
    told = [f"- {name}: {value}" for name, value in about.items()]
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells for row in rows)]
    return "\n".join([*told, "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def write(folder: Path, about: Mapping[str, str], rows: Sequence[Row]) -> None:
    """Write ``stages.md`` and ``stages.json``."""
    writable_folder(folder)
    kept = {"machine": dict(about), "rows": [asdict(row) for row in rows]}
    write_atomically(folder / "stages.json", json.dumps(kept, indent=1) + "\n")
    write_atomically(folder / "stages.md", markdown(about, rows))


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
