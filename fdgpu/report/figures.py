"""The geometry of the charts: findings in, positions and words out; ``templates/figures.html`` draws them.

Colours are roles ("hard", "easy", "plain"), which the style sheet turns into colours for light and for dark;
each role also has its own dash and marker, so that no line is told from another by colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fdgpu.findings import Curve, CurveRole, Histogram, ModeFindings, PlantedTruth, WordEffect
from fdgpu.report.wording import fixed, percent, plural, signed, significant, tick_labels

WIDTH, HEIGHT = 380, 236
LEFT, RIGHT, TOP, BOTTOM = 52, 370, 10, 194  # the plot's own box within WIDTH x HEIGHT
MOST_MARKS = 8  # markers on a line; more of them hide the line


MARGIN = 4.0  # per cent of the words' plot on either side, for half a dot and half a label
AGAINST = {"mean": "against the slot’s average", "left out": "against leaving it out"}
ROLES: dict[CurveRole, str] = {
    CurveRole.HARD_CAPTION: "hard",
    CurveRole.EASY_CAPTION: "easy",
    CurveRole.DECISION_VALUE: "hard",
    CurveRole.CONFIDENCE: "plain",
    CurveRole.CHANCE: "chance",
}
Ticks = tuple[tuple[float, str], ...]  # positions on an axis with their labels


@dataclass(frozen=True)
class LinearScale:
    """Map the numbers of ``domain`` linearly to the positions of ``span``.

    A domain of one point maps to the middle of the span.
    """

    domain: tuple[float, float]
    span: tuple[float, float]

    def __call__(self, value: float) -> float:
        """Return the position of ``value``; outside the domain the line goes on."""
        low, high = self.domain
        start, end = self.span
        if high == low:
            return (start + end) / 2
        return start + (value - low) / (high - low) * (end - start)

    def ticks(self, about: int = 5) -> list[float]:
        """Return round numbers within the domain, about ``about`` of them."""
        low, high = self.domain
        if high == low:
            return [low]
        step = round_step((high - low) / max(about - 1, 1))
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        # Multiples of the step, counted in whole numbers: adding the step up would drift (0.30000000000000004).
        digits = max(0, -math.floor(math.log10(step)) + 1)
        return [round(i * step, digits) for i in range(first, last + 1)]


def round_step(rough: float) -> float:
    """Return the 1, 2 or 5 times a power of ten that is next at or above ``rough`` (> 0)."""
    magnitude = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 5.0):
        if rough <= factor * magnitude * (1 + 1e-9):
            return factor * magnitude
    return 10.0 * magnitude


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
    x_ticks: Ticks
    y_ticks: Ticks
    lines: tuple[Line, ...]
    reference: tuple[float, str] | None


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
    x_label: str
    x_ticks: Ticks
    y_ticks: Ticks


def line_chart(
    title: str,
    curves: Sequence[Curve],
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
        x_label: name of the horizontal axis.
        y_label: name of the vertical axis.
        reference: height of a dotted line; NaN for none.
        reference_name: what the dotted line is.

    Returns:
        The chart, or None where no curve has a point.
    """
    drawn = [(c.name, ROLES[c.role], points) for c in curves if (points := finite_points(c))]
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
        line = (round(y(reference), 1), reference_name)
        words.append(f"{reference_name}: {percent(reference)}")
    return LineChart(
        title=title,
        summary=f"{title}. {'; '.join(words)}.",
        x_label=x_label,
        y_label=y_label,
        x_ticks=tuple((round(x(v), 1), f"{v:g}") for v in x.ticks(6) if v == int(v)),
        y_ticks=tuple((round(y(v), 1), f"{v:.0%}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)),
        lines=tuple(_line(name, role, points, x, y) for name, role, points in drawn),
        reference=line,
    )


def accuracy_chart(mode: ModeFindings, accuracy: float) -> LineChart | None:
    """Lay out the accuracy of the K images nearest to a caption, beside that of the whole class."""
    return line_chart(
        "Accuracy near the captions",
        mode.nearest_accuracy,
        x_label="K images nearest to the caption",
        y_label="accuracy",
        reference=accuracy,
        reference_name="whole class",
    )


def shares_chart(planted: PlantedTruth) -> LineChart | None:
    """Lay out the share of the planted minority among the top K (the paper's figure 2)."""
    share = f"hare of “{planted.hard}”"
    return line_chart(f"S{share} among the top K", planted.shares, x_label="top K images", y_label=f"s{share}")


def finite_points(curve: Curve) -> list[tuple[int, float]]:
    """Return (K, value) of a curve in ascending order, without those that are no numbers."""
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
    """Lay out the decision values of right and wrong samples, mirrored; None for an empty histogram."""
    shares = mirrored_shares(histogram)
    if shares is None:
        return None
    right, wrong = shares
    n_right, n_wrong, edges = sum(histogram.right), sum(histogram.wrong), histogram.edges
    tallest = max(right + wrong)
    x = LinearScale((edges[0], edges[-1]), (LEFT, RIGHT))
    y = LinearScale((-tallest, tallest), (BOTTOM, TOP))
    zero = round(x(0.0), 1) if edges[0] <= 0 <= edges[-1] else None
    labels, times = tick_labels(x.ticks(6))
    return HistogramChart(
        summary=_histogram_summary(histogram, n_right, n_wrong),
        n_right=n_right,
        n_wrong=n_wrong,
        right=_steps(edges, right, x, y),
        wrong=_steps(edges, [-share for share in wrong], x, y),
        axis=round(y(0.0), 1),
        zero=zero,
        x_label=f"decision value{times}",
        x_ticks=tuple((round(x(v), 1), label) for v, label in zip(x.ticks(6), labels, strict=True)),
        y_ticks=tuple((round(y(v), 1), f"{abs(v):.0%}") for v in y.ticks(5)),
    )


def mirrored_shares(histogram: Histogram) -> tuple[list[float], list[float]] | None:
    """Return the share of the right samples, and of the wrong ones, in each bin; None for an empty histogram.

    Both are shares of their own group: errors are few, and as counts they would vanish next to the rest.
    """
    n_right, n_wrong, edges = sum(histogram.right), sum(histogram.wrong), histogram.edges
    if n_right + n_wrong == 0 or len(edges) < 2 or not all(map(math.isfinite, edges)):
        return None
    return [c / max(n_right, 1) for c in histogram.right], [c / max(n_wrong, 1) for c in histogram.wrong]


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
            words.append(f"{plural(n, f'{name} sample')}, most between {significant(low)} and {significant(high)}")
    return f"Histogram of decision values. {'; '.join(words)}."


@dataclass(frozen=True)
class WordDot:
    """One word: its dot, and its interval from ``start`` over ``length``; ``role`` "unsure" if that covers zero.

    Positions are percentages of the plot's width, so that it grows and shrinks with the page while dots stay round.
    """

    word: str
    role: str
    at: float
    start: float
    length: float
    value: str


def word_chart(effects: Sequence[WordEffect]) -> tuple[dict[tuple[str, str], list[WordDot]], Ticks] | None:
    """Lay out word effects on one scale that all slots share, symmetric around zero.

    Returns:
        The words of each slot, hardest first, by the slot's name and what they are measured against; and the ticks.
        None where there is nothing to draw.
    """
    drawn = [one for one in effects if math.isfinite(one.effect) and math.isfinite(one.half_width)]
    reach = max((abs(one.effect) + one.half_width for one in drawn), default=0.0)
    if reach <= 0:
        return None
    x = LinearScale((-reach, reach), (MARGIN, 100 - MARGIN))
    slots: dict[tuple[str, str], list[WordDot]] = {
        (one.slot.replace("_", " "), AGAINST.get(one.against, one.against)): [] for one in drawn
    }
    for one in sorted(drawn, key=lambda one: one.effect):
        slots[one.slot.replace("_", " "), AGAINST.get(one.against, one.against)].append(_dot(one, x))
    ticks = x.ticks(5)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else reach  # zero alone, where the next round number lies outside
    digits = max(1, math.ceil(-math.log10(step) - 1e-9))  # decimals by which the ticks differ
    return slots, tuple((round(x(v), 1), signed(v, digits) if v else "0") for v in ticks)


def _dot(one: WordEffect, x: LinearScale) -> WordDot:
    low, high = one.effect - one.half_width, one.effect + one.half_width
    return WordDot(
        word=one.word,
        role="unsure" if low <= 0 <= high else "hard" if one.effect < 0 else "easy",
        at=round(x(one.effect), 1),
        start=round(x(low), 1),
        length=round(x(high) - x(low), 1),
        value=f"{signed(one.effect)} ± {fixed(one.half_width)}",
    )
