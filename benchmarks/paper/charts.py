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
COLOURS = {  # in the order in which bars stand
    "base": "#444444",
    "random": "#8a8a8a",
    "confidence": "#1f5fa8",
    "early-stopped confidence": "#5fa3d9",
    "Learning from Failure": "#8e5bb5",
    "Domino": "#c98a12",
    "reference caption": "#b9a27c",
    "hard caption": "#e0776f",
    "fdgpu": "#b3261e",
    "oracle": "#2b8a3e",
    "CLIP": "#b3261e",  # of latent spaces ours
    "the model's own": "#444444",
    "another network": "#8e5bb5",
    "reference pictures": "#1f5fa8",
    "easy pictures": "#2b8a3e",
    "hard pictures": "#b3261e",
}
ORDER = tuple(COLOURS)
COLUMNS = 3
OTHERS = ("#444444", "#b3261e", "#1f5fa8", "#2b8a3e")


@dataclass(frozen=True)
class Panel:
    """One plot: of which measures, with lines over ``at`` or bars by method, and how its axes are called."""

    title: str
    measures: tuple[str, ...]
    x_label: str = ""
    y_label: str = ""
    y_range: tuple[float, float] | None = None


def draw(path: Path, summaries: Sequence[Summary], panels: Sequence[Panel]) -> None:
    """Write an SVG of the panels that have a figure, in rows of ``COLUMNS``; measures without ``at`` become bars."""
    measured = {s.measure for s in summaries}
    panels = [panel for panel in panels if measured.intersection(panel.measures)]
    columns, rows = min(COLUMNS, len(panels)), ceil(len(panels) / COLUMNS)
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(4.2 * columns, 3.8 * rows), layout="constrained")
        grid = canvas.subplots(rows, columns, squeeze=False).flat
        for spare in grid[len(panels) :]:
            spare.remove()
        for axes, panel in zip(grid, panels, strict=False):
            own = [s for s in summaries if s.measure in panel.measures]
            (_lines if any(s.at is not None for s in own) else _bars)(axes, own, panel)
            axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
            if panel.y_range is not None:
                axes.set_ylim(*panel.y_range)
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, format="svg", metadata={"Date": None})
    # trailing blanks of matplotlib's writer would fail every check of white space
    path.write_text("\n".join(line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()) + "\n")


def _lines(axes: Any, summaries: Sequence[Summary], panel: Panel) -> None:
    """One line a measure and method, with a band of one deviation; the paper's numbers as hollow diamonds."""
    for place, (measure, method) in enumerate(dict.fromkeys((s.measure, s.method) for s in summaries)):
        points = sorted((s for s in summaries if (s.measure, s.method) == (measure, method)), key=lambda s: s.at or 0)
        alone = len(panel.measures) == 1
        colour = (COLOURS.get(method) if alone else None) or OTHERS[place % len(OTHERS)]
        x, y = [s.at for s in points], [s.mean for s in points]
        axes.plot(
            x, y, marker="o", markersize=3, color=colour, linewidth=1.8 if method == "fdgpu" else 1.1,
            label=method if alone else measure,
        )  # fmt: skip
        low, high = [s.mean - s.deviation for s in points], [s.mean + s.deviation for s in points]
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        _diamonds(axes, [(s.at, s.paper) for s in points], colour)
    _legend(axes, len(axes.lines))


def _bars(axes: Any, summaries: Sequence[Summary], panel: Panel) -> None:
    """Groups of bars, a group a measure, with one deviation as a whisker and the number above."""
    found = dict.fromkeys(s.method for s in summaries)
    methods = sorted(found, key=lambda method: ORDER.index(method) if method in ORDER else len(ORDER))
    width = 0.8 / max(len(methods), 1)
    for place, method in enumerate(methods):
        own = [(panel.measures.index(s.measure), s) for s in summaries if s.method == method]
        x = [group + (place - (len(methods) - 1) / 2) * width for group, _ in own]
        bars = axes.bar(
            x, [s.mean for _, s in own], 0.92 * width, yerr=[s.deviation for _, s in own], label=method,
            color=COLOURS.get(method) or OTHERS[place % len(OTHERS)], error_kw={"linewidth": 0.8},
        )  # fmt: skip
        axes.bar_label(bars, [f"{s.mean:.2f}" for _, s in own], fontsize=6.5, padding=2)
        _diamonds(axes, [(at, s.paper) for at, (_, s) in zip(x, own, strict=True)], "black")
    axes.set_xticks(range(len(panel.measures)), [fill(measure.replace(": ", ", "), 14) for measure in panel.measures])
    axes.margins(y=0.12)
    _legend(axes, len(methods))


def _diamonds(axes: Any, points: Sequence[tuple[float | None, float | None]], colour: str) -> None:
    """Mark the paper's numbers, where it has any."""
    known = [(at, value) for at, value in points if value is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "D", markersize=5, markerfacecolor="white", color=colour, label="paper")


def _legend(axes: Any, entries: int) -> None:
    """Name each thing once, below the plot."""
    handles, labels = axes.get_legend_handles_labels()
    once = {name: handle for name, handle in zip(labels, handles, strict=True) if name != "paper"}
    once |= {name: handle for name, handle in zip(labels, handles, strict=True) if name == "paper"}
    axes.legend(
        once.values(),
        once.keys(),
        fontsize=7.5,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=min(3, entries + 1),
    )
