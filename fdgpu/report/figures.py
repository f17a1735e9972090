"""The geometry of the charts: data in, positions and words out; ``templates/figures.html`` draws them.

Colours are roles ("hard", "easy", "plain"), which the style sheet turns into colours for light and for dark;
each role also has its own dash and marker, so that no line is told from another by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fdgpu.findings import Curve, Histogram
from fdgpu.report.formats import fixed, percent, plural
from fdgpu.report.scales import LinearScale

WIDTH, HEIGHT = 380, 236
LEFT, RIGHT, TOP, BOTTOM = 52, 370, 10, 194  # the plot's own box within WIDTH x HEIGHT
MOST_MARKS = 8  # markers on a line; more of them hide the line


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """One line and the markers on it, both as SVG path data; ``chance`` has no markers."""

    name: str
    role: str
    path: str
    marks: str


@dataclass(frozen=True)
class LineChart:
    """Shares over a number of images K."""

    title: str
    summary: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    reference: Tick | None


@dataclass(frozen=True)
class HistogramChart:
    """Right samples above the axis, wrong ones below it; ``zero`` is where the decision changes sign."""

    summary: str
    n_right: int
    n_wrong: int
    right: str
    wrong: str
    axis: float
    zero: float | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def line_chart(
    title: str,
    curves: Sequence[Curve],
    roles: Sequence[str],
    *,
    x_label: str,
    y_label: str,
    reference: float = math.nan,
    reference_name: str = "",
) -> LineChart | None:
    """Lay out curves of shares (0 to 1) over K, on a vertical axis that is always 0 to 100%.

    Args:
        title: what the chart shows.
        curves: the lines; points that are not finite are left out.
        roles: a role for each curve.
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        reference: height of a dotted line; NaN for none.
        reference_name: what the dotted line is.

    Returns:
        The chart, or None where no curve has a point.
    """
    drawn = [(curve.name, role, _finite(curve)) for curve, role in zip(curves, roles, strict=True)]
    drawn = [item for item in drawn if item[2]]
    if not drawn:
        return None
    ks = [k for _, _, points in drawn for k, _ in points]
    x = LinearScale((min(ks), max(ks)), (LEFT + 6, RIGHT - 6))
    y = LinearScale((0.0, 1.0), (BOTTOM, TOP))
    words = [
        f"{name}: {percent(p[0][1])} at K = {p[0][0]}, {percent(p[-1][1])} at K = {p[-1][0]}" for name, _, p in drawn
    ]
    line = None
    if math.isfinite(reference):
        line = Tick(round(y(reference), 1), reference_name)
        words.append(f"{reference_name}: {percent(reference)}")
    return LineChart(
        title=title,
        summary=f"{title}. {'; '.join(words)}.",
        x_label=x_label,
        y_label=y_label,
        x_ticks=tuple(Tick(round(x(v), 1), f"{v:g}") for v in x.ticks(6) if v == int(v)),
        y_ticks=tuple(Tick(round(y(v), 1), f"{v:.0%}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)),
        lines=tuple(_line(name, role, points, x, y) for name, role, points in drawn),
        reference=line,
    )


def _finite(curve: Curve) -> list[tuple[int, float]]:
    return sorted((k, v) for k, v in zip(curve.k, curve.value, strict=True) if math.isfinite(v))


def _line(name: str, role: str, points: list[tuple[int, float]], x: LinearScale, y: LinearScale) -> Line:
    path = "M" + " ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in points)
    n = min(len(points), MOST_MARKS)
    chosen = {round(i * (len(points) - 1) / max(n - 1, 1)) for i in range(n)}
    return Line(name, role, path, "".join(mark(role, x(points[i][0]), y(points[i][1])) for i in sorted(chosen)))


def mark(role: str, x: float, y: float) -> str:
    """Return the path of a marker: a diamond, a point that the style sheet makes a dot or a square, or nothing."""
    if role == "chance":
        return ""
    if role == "plain":
        return f"M{x:.1f},{y - 4.5:.1f}l4.5,4.5-4.5,4.5-4.5-4.5Z"
    return f"M{x:.1f},{y:.1f}h0"


def histogram_chart(histogram: Histogram) -> HistogramChart | None:
    """Lay out the decision values of right and wrong samples, mirrored.

    Both sides are shares of their own group: errors are few, and as counts they would vanish next to the rest.

    Returns:
        The chart, or None for an empty histogram.
    """
    n_right, n_wrong = sum(histogram.right), sum(histogram.wrong)
    edges = histogram.edges
    if n_right + n_wrong == 0 or len(edges) < 2 or not all(map(math.isfinite, edges)):
        return None
    right = [c / max(n_right, 1) for c in histogram.right]
    wrong = [c / max(n_wrong, 1) for c in histogram.wrong]
    tallest = max(right + wrong)
    x = LinearScale((edges[0], edges[-1]), (LEFT, RIGHT))
    y = LinearScale((-tallest, tallest), (BOTTOM, TOP))
    zero = round(x(0.0), 1) if edges[0] <= 0 <= edges[-1] else None
    return HistogramChart(
        summary=_histogram_summary(histogram, n_right, n_wrong),
        n_right=n_right,
        n_wrong=n_wrong,
        right=_steps(edges, right, x, y),
        wrong=_steps(edges, [-share for share in wrong], x, y),
        axis=round(y(0.0), 1),
        zero=zero,
        x_ticks=tuple(Tick(round(x(v), 1), f"{v:g}".replace("-", "−")) for v in x.ticks(6)),
        y_ticks=tuple(Tick(round(y(v), 1), f"{abs(v):.0%}") for v in y.ticks(5)),
    )


def _steps(edges: Sequence[float], heights: Sequence[float], x: LinearScale, y: LinearScale) -> str:
    """Return SVG path data of a stepped outline that starts and ends on the axis."""
    parts = [f"M{x(edges[0]):.1f},{y(0.0):.1f}"]
    for right_edge, height in zip(edges[1:], heights, strict=True):
        parts.append(f"V{y(height):.1f}H{x(right_edge):.1f}")
    return "".join(parts) + f"V{y(0.0):.1f}Z"


def _histogram_summary(histogram: Histogram, n_right: int, n_wrong: int) -> str:
    words = []
    for counts, n, name in ((histogram.right, n_right, "right"), (histogram.wrong, n_wrong, "wrong")):
        if n:
            peak = max(range(len(counts)), key=counts.__getitem__)
            low, high = histogram.edges[peak], histogram.edges[peak + 1]
            words.append(f"{plural(n, f'{name} sample')}, most between {fixed(low)} and {fixed(high)}")
    return f"Histogram of decision values. {'; '.join(words)}."
