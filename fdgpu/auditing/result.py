"""What an audit returns: everything that was found, as tables and figures too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import fdgpu.plotting as plotting
from fdgpu.auditing.captioning import CaptionedClasses
from fdgpu.auditing.gathering import hardest_curves
from fdgpu.auditing.outputs import as_frame, caption_table, class_table, effect_table
from fdgpu.checks import check_name, check_whole, shown
from fdgpu.described import Described
from fdgpu.directions.estimator import FailureDirections
from fdgpu.errors import InputError
from fdgpu.findings import Curve, Findings, ModeFindings, Thumbnails
from fdgpu.report.page import summary_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Table(StrEnum):
    """A table that :meth:`AuditResult.frame` gives."""

    CLASSES = "classes"
    EXAMPLES = "examples"
    CAPTIONS = "captions"
    EFFECTS = "effects"
    ERRORS = "errors"


class Panel(StrEnum):
    """What :meth:`AuditResult.plot` draws."""

    DECISIONS = "decisions"
    ACCURACY = "accuracy"
    HARDEST = "hardest"
    EASIEST = "easiest"
    UNSURE = "unsure"
    MAP = "map"
    ALL = "all"


@dataclass(frozen=True, repr=False)
class AuditResult(Described):
    """An audit in memory, which a notebook shows as a table of its classes.

    Attributes:
        findings: everything the report shows, as plain data.
        directions: the fit.
        mode_decisions: (n, r) decision value of every image along each direction of its class, the strongest first, by
            its vector alone; NaN where its class has no such direction or it was skipped. (n, k, r) where images have k
            conditions.
        captions: candidates and scores of every class, by direction.
        examples: every image that examples and figures come from, with the model's answer and its decision values: the
            table of ``examples.parquet``.
        errors: every error of val and test, and what it may be instead of the model's own: ``causes.csv`` as a table.
        pictures: small ones, of the images that the page shows.
        page: the report as HTML.
        out: the folder it was written to, or None.

    Example:
        >>> audited.decisions.shape, audited.examples.num_rows, audited.findings.classes[0].name
        ((120,), 120, 'cat')
    """

    findings: Findings
    directions: FailureDirections
    mode_decisions: NDArray[np.float64]
    captions: CaptionedClasses
    examples: pa.Table
    errors: pa.Table
    pictures: Thumbnails
    page: str
    out: Path | None

    def _described(self) -> dict[str, object]:
        return self.findings._described() | {"out": None if self.out is None else str(self.out)}

    def _repr_html_(self) -> str:
        return summary_table(self.findings)

    def frame(self, table: str = Table.CLASSES) -> Any:
        """Return a table of what was found, as a data frame where pandas is installed, else of pyarrow.

        Args:
            table: ``"classes"``, a row each; ``"examples"``, every image that is shown, with its decision values;
                ``"captions"``, every candidate with its score; ``"effects"``, what each word does to the alignment; or
                ``"errors"``, what each error may be instead of the model's own. docs/audit_json.md has their columns.

        Raises:
            InputError: for a table that there is not.

        Example:
            >>> audited.frame("classes")["class"].tolist()
            ['cat', 'dog']
        """
        name = check_name(table, "table", Table)
        if name == Table.CLASSES:
            return as_frame(class_table(self.findings))
        if name == Table.CAPTIONS:
            return as_frame(caption_table(self.captions, self.findings))
        if name == Table.EFFECTS:
            return as_frame(effect_table(self.captions, self.findings))
        return as_frame(self.examples if name == Table.EXAMPLES else self.errors)

    def plot(self, class_name: str, panel: str = Panel.ALL, direction: int = 0) -> Figure:
        """Draw a class in matplotlib: a figure that a notebook shows, or that ``savefig`` writes.

        Args:
            class_name: as in ``findings.classes``.
            panel: ``"decisions"``, the values of right and of wrong images; ``"accuracy"``, among the first K images by
                decision value, by confidence, and nearest to the captions; ``"hardest"`` and ``"easiest"`` images,
                and by confidence those on which the model is sure and wrong (``"unsure"``, as the page has them);
                ``"map"``, all images of the class; ``"all"`` of these.
            direction: of the class.

        Raises:
            InputError: for a class, a direction or a panel that there is not.
            MissingExtraError: where matplotlib is not installed: ``pip install 'fdgpu[plot]'``.

        Example:
            >>> audited.plot("cat", "decisions").savefig(tmp_path / "cat.pdf")
        """
        names = [one.name for one in self.findings.classes]
        index = names.index(check_name(class_name, "class_name", names))
        one = self.findings.classes[index]
        if not one.modes:
            raise InputError(f"{shown(class_name)} has no direction to plot ({one.status}): {one.remedy}")
        mode = one.modes[check_whole(direction, "direction", 0, len(one.modes) - 1, ", the directions of the class")]
        draw = self._panels(index, mode, direction)
        chosen = check_name(panel, "panel", (*draw, Panel.ALL))
        if chosen != Panel.ALL:
            return draw[chosen](None)
        figure = plotting.new_figure(3, 2)
        figure.suptitle(plotting.plain(f"{one.name}: {mode.hardest_caption}" if mode.hardest_caption else one.name))
        for ax, into in zip_longest(figure.subplots(2, 3).flat, draw.values()):
            into(ax) if into else ax.remove()
        return figure

    def _panels(self, index: int, mode: ModeFindings, direction: int) -> dict[str, Callable[[Axes | None], Figure]]:
        """Return what draws each panel of a class; one of which nothing is known is left out."""
        one, table = self.findings.classes[index], self.findings.images
        strips = {
            Panel.HARDEST: ("Hardest", mode.hard_examples),
            Panel.EASIEST: ("Easiest", mode.easy_examples),
            Panel.UNSURE: ("Hardest by confidence", one.unsure_examples),
        }
        curves = self._curves(one.name, mode, direction)
        draw: dict[str, Callable[[Axes | None], Figure]] = {
            Panel.DECISIONS: partial(plotting.decisions, mode),
            Panel.ACCURACY: partial(plotting.accuracy, curves, one.accuracy_shown),
        }
        if table is not None:
            draw[Panel.MAP] = partial(plotting.class_map, table, index, direction)
        for panel, (title, examples) in strips.items():
            if examples:
                draw[panel] = partial(plotting.pictures, examples, self.pictures, title)
        return draw

    def _curves(self, class_name: str, mode: ModeFindings, direction: int) -> tuple[Curve, ...]:
        own = self.examples.filter(pc.equal(self.examples["class"], class_name))
        confidence = own["confidence"].to_numpy() if "confidence" in own.column_names else None
        values = own[f"decision_value_{direction}" if direction else "decision_value"].to_numpy()
        return (*hardest_curves(own["correct"].to_numpy(), values, confidence), *mode.nearest_accuracy)

    @property
    def decisions(self) -> NDArray[np.float64]:
        """(n,) decision values along the strongest direction of each image's class; (n, k) of k conditions."""
        return self.mode_decisions[..., 0]
