"""Figures of an audit for notebooks and papers, in matplotlib (extra ``plot``).

Each function draws one thing, into ``ax`` or into a figure of its own, and returns the figure, which a notebook shows.
:meth:`fdgpu.AuditResult.plot` draws them for a class. What is drawn is computed where the page's charts are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from fdgpu.errors import InputError
from fdgpu.extras import require
from fdgpu.findings import Curve, CurveRole, Example, ImageTable, ModeFindings, Thumbnails
from fdgpu.report.figures import ROLES, finite_points, mirrored_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"hard": "#a8430b", "easy": "#1d5b9e", "plain": "#7b6a92", "chance": "#555b64"}  # the page's, on white
DASHES = {  # no line is told from another by colour alone
    CurveRole.DECISION_VALUE: "-", CurveRole.HARD_CAPTION: "--", CurveRole.EASY_CAPTION: "--",
    CurveRole.CONFIDENCE: "-.", CurveRole.CHANCE: ":",
}  # fmt: skip
PANEL = (4.6, 3.2)  # inches
DPI = 100  # in a notebook
ACROSS = 5  # pictures in a row


@cache
def _figure_class() -> type[Figure]:
    require("matplotlib", "plot", "plotting")
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """A figure that a notebook shows once, whether pyplot is there or not."""

        def _repr_png_(self) -> bytes:
            stream = BytesIO()
            self.savefig(stream, format="png", dpi=DPI)
            return stream.getvalue()

    return NotebookFigure


def new_figure(columns: int = 1, rows: int = 1) -> Figure:
    """Return an empty figure with room for so many panels.

    Raises:
        MissingExtraError: where matplotlib is not installed: ``pip install 'fdgpu[plot]'``.
    """
    return _figure_class()(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")


def _drawn_on(ax: Axes | None) -> tuple[Axes, Figure]:
    if ax is None:
        figure = new_figure()
        return figure.add_subplot(), figure
    root = ax.get_figure(root=True)
    if root is None:
        raise InputError("ax belongs to no figure: pass axes of one, or None")
    return ax, root


def decisions(mode: ModeFindings, ax: Axes | None = None) -> Figure:
    """Draw the decision values of right samples upwards and of wrong ones downwards, as shares of their own group.

    Example:
        >>> figure = fdgpu.plotting.decisions(audited.findings.classes[0].strongest)
        >>> figure.axes[0].get_xlabel()
        'decision value'
    """
    ax, figure = _drawn_on(ax)
    shares = mirrored_shares(mode.decisions) if mode.decisions else None
    if mode.decisions is not None and shares is not None:
        right, wrong = shares
        edges = np.array(mode.decisions.edges)
        ax.stairs(right, edges, fill=True, color=COLOURS["easy"], label=f"right ({sum(mode.decisions.right):,})")
        ax.stairs(
            [-share for share in wrong], edges, fill=True, color=COLOURS["hard"], hatch="//", edgecolor="white",
            label=f"wrong ({sum(mode.decisions.wrong):,})",
        )  # fmt: skip
        ax.axvline(0, color=COLOURS["chance"], linestyle=":")
        ax.legend()
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):.0%}")
    ax.set(xlabel="decision value", ylabel="share of its group", title="Decision values")
    return figure


def accuracy(curves: Sequence[Curve], whole: float = float("nan"), ax: Axes | None = None) -> Figure:
    """Draw accuracies among the first K images of several orders, beside that of the whole class.

    Args:
        curves: one for each order.
        whole: accuracy of the class; NaN draws no line.
        ax: where to draw.
    """
    ax, figure = _drawn_on(ax)
    for curve in curves:
        points = np.array(finite_points(curve)).reshape(-1, 2)
        ax.plot(*points.T, color=COLOURS[ROLES[curve.role]], linestyle=DASHES[curve.role], label=curve.name)
    if np.isfinite(whole):
        ax.axhline(whole, color=COLOURS["chance"], linestyle=":", label="whole class")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set(xlabel="first K images", ylabel="accuracy", title="Accuracy among the first K", ylim=(-0.02, 1.02))
    return figure


def pictures(examples: Sequence[Example], thumbnails: Thumbnails, title: str = "", ax: Axes | None = None) -> Figure:
    """Draw pictures in rows of five, framed by right and wrong, with what the model said; a missing one is grey.

    Args:
        examples: images in their order.
        thumbnails: their pictures.
        title: above them.
        ax: whose place they take.
    """
    ax, figure = _drawn_on(ax)
    ax.set_axis_off()
    ax.set_title(title)
    rows = -(-len(examples) // ACROSS)
    for i, example in enumerate(examples):
        row, column = divmod(i, ACROSS)
        tile = ax.inset_axes((column / ACROSS, 1 - (row + 1) / rows, 0.92 / ACROSS, 0.8 / rows))
        tile.set(xticks=[], yticks=[])
        tile.set_title(plain(example.prediction, 14), fontsize="x-small", pad=2)
        for spine in tile.spines.values():
            spine.set(color=COLOURS["easy" if example.correct else "hard"], linewidth=2)
            spine.set_linestyle("-" if example.correct else "--")
        pixels = thumbnails.pixels.get(example.path)
        if pixels is None:
            tile.set_facecolor("#dddddd")
        else:
            tile.imshow(pixels)
    return figure


def class_map(table: ImageTable, index: int, direction: int = 0, ax: Axes | None = None) -> Figure:
    """Draw each image of a class by its decision value, and by its place along the class's next most telling axis.

    Args:
        table: the listed images of an audit.
        index: of the class in ``findings.classes``.
        direction: of the class.
        ax: where to draw.
    """
    ax, figure = _drawn_on(ax)
    own = table.labels == index
    right = table.predictions[own] == index
    x, y = table.decisions[own, direction], table.across[own]
    for which, role, marker, name in ((right, "easy", "o", "right"), (~right, "hard", "x", "wrong")):
        ax.scatter(x[which], y[which], s=16, color=COLOURS[role], marker=marker, label=f"{name} ({which.sum():,})")
    ax.axvline(0, color=COLOURS["chance"], linestyle=":")
    ax.legend(fontsize="small")
    ax.set(xlabel="decision value", ylabel="next most telling axis", yticks=[], title="Map of the images")
    return figure


def plain(text: str, most: int = 80) -> str:
    """Return a text as it is, without matplotlib's formulas, and short."""
    return (text if len(text) <= most else f"{text[:most]}…").replace("$", r"\$")
