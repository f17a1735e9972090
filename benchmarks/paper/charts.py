"""Plots of summaries as SVG, one panel a measure; the same figures always give the same file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Canvas

from benchmarks.paper.legend import colour, in_order, short
from benchmarks.paper.results import Summary

STYLE: Any = {  # matplotlib types its settings one by one
    "svg.hashsalt": "fdgpu",  # element ids do not change from run to run
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
COLUMNS = 3
CROWDED = 8  # bars in a panel, above which their numbers stand upright


@dataclass(frozen=True)
class Panel:
    """One plot: of which measures, with lines over ``at`` or bars by method, and how its axes are called."""

    title: str
    measures: tuple[str, ...]
    x_label: str = ""
    y_label: str = ""
    y_range: tuple[float, float] | None = None


def draw(path: Path, summaries: Sequence[Summary], panels: Sequence[Panel]) -> None:
    """Write an SVG of the panels that have a figure."""
    with mpl.rc_context(STYLE):
        canvas = plotted(summaries, panels)
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, format="svg", metadata={"Date": None})
    # trailing blanks of matplotlib's writer would fail every check of white space
    path.write_text("\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()) + "\n")


def plotted(summaries: Sequence[Summary], panels: Sequence[Panel]) -> Canvas:
    """Plot the panels that have a figure, up to ``COLUMNS`` a row; measures without ``at`` become bars."""
    measured = {s.measure for s in summaries}
    panels = [panel for panel in panels if measured.intersection(panel.measures)]
    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))  # two rows of two, not of three and one
    rows = ceil(len(panels) / columns)
    canvas = Canvas(figsize=(4.2 * columns, 4.0 * rows), layout="constrained")
    grid = canvas.subplots(rows, columns, squeeze=False).flat
    for spare in grid[len(panels) :]:
        spare.remove()
    for axes, panel in zip(grid, panels, strict=False):
        own = [s for s in summaries if s.measure in panel.measures]
        (_lines if any(s.at is not None for s in own) else _bars)(axes, own, panel)
        axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
        if panel.y_range is not None:
            axes.set_ylim(*panel.y_range)
        _legend(axes)
    return canvas


def _lines(axes: Any, summaries: Sequence[Summary], panel: Panel) -> None:
    """One line a measure and method, with a band of one deviation; the paper's numbers as hollow diamonds."""
    alone = len(panel.measures) == 1
    labels = dict(zip(panel.measures, short(panel.measures), strict=True))
    for number, (measure, method) in enumerate(dict.fromkeys((s.measure, s.method) for s in summaries)):
        points = sorted((s for s in summaries if (s.measure, s.method) == (measure, method)), key=lambda s: s.at or 0)
        name = method if alone else labels[measure]
        own = colour(name, number)
        x, y = [s.at for s in points], [s.mean for s in points]
        axes.plot(
            x, y, marker="o", markersize=3, color=own, linewidth=1.8 if method == "fdgpu" else 1.1, label=name
        )  # fmt: skip
        low, high = [s.mean - s.deviation for s in points], [s.mean + s.deviation for s in points]
        axes.fill_between(x, low, high, color=own, alpha=0.12, linewidth=0)
        _diamonds(axes, [(s.at, s.paper) for s in points], own)


def _bars(axes: Any, summaries: Sequence[Summary], panel: Panel) -> None:
    """Groups of bars, a group a measure, with one deviation as a whisker and the number above."""
    methods = in_order(s.method for s in summaries)
    groups = [
        sorted((s for s in summaries if s.measure == measure), key=lambda s: methods.index(s.method))
        for measure in panel.measures
    ]
    width = 0.8 / max(map(len, groups))
    for number, method in enumerate(methods):
        # a group is as wide as what it has: an intervention that a method took no part in leaves no gap
        own = [
            (x + (group.index(s) - (len(group) - 1) / 2) * width, s)
            for x, group in enumerate(groups)
            for s in group
            if s.method == method
        ]
        bars = axes.bar(
            [x for x, _ in own], [s.mean for _, s in own], 0.92 * width, yerr=[s.deviation for _, s in own],
            label=method, color=colour(method, number), error_kw={"linewidth": 0.8},
        )  # fmt: skip
        upright = 90 if len(summaries) > CROWDED else 0
        axes.bar_label(bars, [f"{s.mean:.2f}" for _, s in own], fontsize=6.5, padding=2, rotation=upright)
        _diamonds(axes, [(x, s.paper) for x, s in own], "black")
    axes.set_xticks(range(len(groups)), [fill(name, 16) for name in short(panel.measures)])
    axes.set_ylim(0, 1.2 * max(max(s.mean + s.deviation, s.paper or 0) for s in summaries))  # with room for numbers


def _diamonds(axes: Any, points: Sequence[tuple[float | None, float | None]], own: str) -> None:
    """Mark the paper's numbers, where it has any."""
    known = [(at, value) for at, value in points if value is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "D", markersize=5, markerfacecolor="white", color=own, label="paper")


def _legend(axes: Any) -> None:
    """Name each thing once, below the plot; in two columns, since three are wider than a panel."""
    handles, labels = axes.get_legend_handles_labels()
    once = {name: handle for name, handle in zip(labels, handles, strict=True) if name != "paper"}
    once |= {name: handle for name, handle in zip(labels, handles, strict=True) if name == "paper"}
    axes.legend(
        once.values(), once.keys(), fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2
    )  # fmt: skip
