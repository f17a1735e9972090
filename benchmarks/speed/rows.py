"""One line of the table, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

OTHER_OBJECTIVE = "other objective"
DIFFERENT = "results differ"


@dataclass(frozen=True)
class Row:
    """One line; seconds are a class's, and None where the line has none.

    Attributes:
        shape: classes x samples x dimensions.
        line: what was timed: fdgpu's whole fit, or a peer.
        kind: "fdgpu" or "peer".
        device: what computed.
        timed: the classes that were timed, of all.
        rounds: how often; seconds are medians.
        peer_s: the peer's.
        fdgpu_s: fdgpu's, of a whole fit; for a ragged shape's peers, on the classes of the peer.
        total_s: fdgpu's, of all classes together.
        w_difference, score_difference, scores_compared: see :mod:`benchmarks.speed.comparison`.
        ratio: peer_s / fdgpu_s where both solve the same problem and found the same.
        result: the last column, in words.
    """

    shape: str
    line: str
    kind: str
    device: str
    timed: str
    rounds: int = 0
    peer_s: float | None = None
    fdgpu_s: float | None = None
    total_s: float | None = None
    w_difference: float | None = None
    score_difference: float | None = None
    scores_compared: int | None = None
    ratio: float | None = None
    result: str = ""


def table(rows: Sequence[Row]) -> Table:
    """Lay out all lines, a section a shape, which is named in its first line."""
    result = Table(caption="ms are a class's; scores by: the largest difference (of so many)")
    for name in ("shape", "line", "classes", "rounds", "peer\nms", "fdgpu\nms", "w by", "scores by"):
        result.add_column(name, no_wrap=name not in ("shape", "classes"))
    result.add_column("result")
    shape = ""
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        result.add_row(
            row.shape.replace(": ", "\n") if row.shape != shape else "",
            row.line,
            row.timed,
            str(row.rounds) if row.rounds else "",
            milliseconds(row.peer_s),
            milliseconds(row.fdgpu_s),
            "" if row.w_difference is None else f"{row.w_difference:.0e}",
            "" if row.score_difference is None else f"{row.score_difference:.0e} ({row.scores_compared})",
            row.result,
            end_section=following is None or following.shape != row.shape,
        )
        shape = row.shape
    return result


def duration(seconds: float, digits: int = 3) -> str:
    """Return seconds in words, rounded: "44.1 ms", "15.7 s"."""
    value, unit = (seconds, "s") if seconds >= 1 else (seconds * 1e3, "ms")
    return f"{float(f'{value:.{digits}g}'):g} {unit}"


def milliseconds(value: float | None) -> str:
    """Return seconds as milliseconds of three digits; nothing for None."""
    if value is None:
        return ""
    value *= 1e3
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
