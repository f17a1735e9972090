"""What a run measured, line by line: on disk from the first line on, so that a run that is killed loses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fdgpu.files import writable_folder, write_atomically

DIFFERENT = "results differ"
HEADER = ("part", "what", "ours", "against", "theirs", "differ by", "ratio", "peak GB", "note")


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        part: the part of the run.
        what: what was measured, with its sizes.
        ours: fdgpu's figure, in ``unit``; None where there is none, and ``note`` says why.
        unit: "s" (less is better), or a rate such as "images/s".
        against: whose figure ``theirs`` is: another program's, or what the device can do at most.
        theirs: that figure, in the same unit.
        difference: how far the two results lie apart, before anything was timed.
        ratio: how many times as fast fdgpu is, where both found the same.
        share: of what the device can do at most.
        peak_gb: device memory that torch held at most since the part began, in 10^9 bytes; None without a device.
        note: the rest, in words.
    """

    part: str
    what: str
    ours: float | None = None
    unit: str = ""
    against: str = ""
    theirs: float | None = None
    difference: float | None = None
    ratio: float | None = None
    share: float | None = None
    peak_gb: float | None = None
    note: str = ""


def beside(part: str, what: str, ours: float, against: str, theirs: float, difference: float, most: float) -> Row:
    """Return the line of two that did the same work in so many seconds; no ratio where they differ by more than most.

    A difference that is NaN is one.
    """
    same = difference <= most
    ratio = theirs / ours if same else None
    note = "" if same else f"{DIFFERENT}: by {difference:.1e}, at most {most:.0e} is allowed"
    return Row(part, what, ours, "s", against, theirs, difference, ratio, note=note)


def below(part: str, what: str, rate: float, unit: str, against: str, ceiling: float, note: str = "") -> Row:
    """Return the line of a rate below what the device can do at most."""
    return Row(part, what, rate, unit, against, ceiling, share=rate / ceiling, note=note)


@dataclass
class Record:
    """The lines of a run; every one that is added is written to ``device.json`` and ``device.md`` of a folder."""

    folder: Path
    about: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        writable_folder(self.folder)
        self.write()

    def add(self, row: Row) -> None:
        """Keep one more line."""
        self.rows.append(row)
        self.write()

    def write(self) -> None:
        """Write both files whole."""
        kept = {"about": self.about, "seconds": self.seconds, "rows": [asdict(row) for row in self.rows]}
        write_atomically(self.folder / "device.json", json.dumps(kept, indent=1) + "\n")
        write_atomically(self.folder / "device.md", self.markdown())

    def markdown(self) -> str:
        """Return the table, and above it what it was measured on."""
        about = [f"- {name}: {value}" for name, value in self.about.items()]
        spent = ", ".join(f"{part} {seconds:.0f}" for part, seconds in self.seconds.items())
        lines = [_line(HEADER), _line(["---"] * len(HEADER)), *(_line(cells(row)) for row in self.rows)]
        return "\n".join([*about, f"- seconds of each part: {spent or 'none yet'}", "", *lines, ""])


def cells(row: Row) -> list[str]:
    """Return a line as text."""
    ratio = f"{row.ratio:.3g}x" if row.ratio is not None else "" if row.share is None else f"{row.share:.1%}"
    return [
        row.part,
        row.what,
        _figure(row.ours, row.unit),
        row.against,
        _figure(row.theirs, row.unit),
        "" if row.difference is None else f"{row.difference:.1e}",
        ratio,
        "" if row.peak_gb is None else f"{row.peak_gb:.3g}",
        row.note,
    ]


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    if unit == "s" and value < 1:
        return f"{1e3 * value:.3g} ms"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}"


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(text.split()).replace("|", "/") for text in texts) + " |"
