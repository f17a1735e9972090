"""An audit that was made: what it returns, as tables and figures too, and what it left in its folder."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from io import StringIO
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

import fdgpu.plotting as plotting
from fdgpu.auditing.captioning import CaptionedClasses
from fdgpu.auditing.gathering import hardest_curves
from fdgpu.auditing.outputs import SCHEMA, STORE, as_frame, audit_json, caption_table, class_table, effect_table
from fdgpu.checks import check_kind, check_name, check_whole, shown
from fdgpu.described import Described
from fdgpu.directions.estimator import FailureDirections
from fdgpu.errors import InputError
from fdgpu.files import parse_json, read_text_file
from fdgpu.findings import Curve, Findings, ModeFindings, Thumbnails
from fdgpu.report.page import render_report, summary_table
from fdgpu.store.embedding_store import EmbeddingStore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BYTES = 2_000_000_000  # of audit.json
NEEDED = ("path", "class", "prediction", "correct", "decision_value")  # of examples.parquet


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
    out: Path | None

    @cached_property
    def page(self) -> str:
        """The report as HTML, made when it is first asked for."""
        return render_report(self.findings, self.pictures)

    def _described(self) -> dict[str, object]:
        return self.findings._described() | {"out": None if self.out is None else str(self.out)}

    def _repr_html_(self) -> str:
        return summary_table(self.findings)

    def frame(self, table: str = Table.CLASSES) -> Any:
        """Return a table of what was found, as a data frame where pandas is installed, else of pyarrow.

        Args:
            table: ``"classes"``, a row each; ``"examples"``, every image that is shown, with its decision values;
                ``"captions"``, every candidate with its score; ``"effects"``, what each word does to the alignment; or
                ``"errors"``, what each error may be instead of the model's own. docs/audit_json.md has the columns of
                all but the first.

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


# --- what an audit left in its folder --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """A failure mode of an audit: of which class, which of its modes, and the audit's figures of it."""

    class_name: str
    mode: int
    figures: Mapping[str, Any]

    @property
    def column(self) -> str:
        """The column of ``examples.parquet`` with the decision values along its direction."""
        return f"decision_value_{self.mode}" if self.mode else "decision_value"

    @property
    def caption(self) -> str:
        """Its hardest caption, where one can be believed."""
        return next(iter(self.figures["reliable_hard_captions"]), "")


@dataclass(frozen=True)
class PastAudit:
    """What an audit found, and what its model said of every image that is shown.

    Attributes:
        name: as messages call it.
        document: as ``audit.json`` has it.
        examples: as ``examples.parquet`` has them.
        folder: where it lies; None of one that is in memory alone.
        fit: of one in memory.
        errors: sorted by cause; of one in memory.
    """

    name: str
    document: Mapping[str, Any]
    examples: pa.Table
    folder: Path | None
    fit: FailureDirections | None = None
    errors: pa.Table | None = None

    @classmethod
    def of(cls, audit: str | Path | AuditResult, name: str) -> PastAudit:
        """Read an audit's folder, or take a result.

        Args:
            audit: the folder or the result.
            name: of the parameter.

        Raises:
            InputError: for anything else, a folder that holds no audit, or files that are not of one.
        """
        fits = isinstance(audit, (str, Path, AuditResult))
        check_kind(audit, name, fits, "the folder that an audit was written to, or what fdgpu.audit returned")
        if isinstance(audit, AuditResult):
            document = audit_json(audit.findings, [])
            return cls(name, document, audit.examples, audit.out, audit.directions, audit.errors)
        folder = Path(audit)
        if not (folder / "audit.json").is_file():
            raise InputError(f"{folder} holds no audit.json: pass a folder that fdgpu audit has written")
        text = read_text_file(folder / "audit.json", MOST_BYTES, "a folder that fdgpu audit has written")
        try:
            document = parse_json(text)
            examples = pq.read_table(folder / "examples.parquet")
        except (ValueError, OSError, pa.ArrowException) as error:
            raise InputError(f"{folder} does not hold an audit as fdgpu writes it ({error}): audit again") from None
        schema = document.get("schema") if isinstance(document, dict) else None
        missing = [column for column in NEEDED if column not in examples.column_names]
        if schema != SCHEMA or missing:
            what = f"its table has no column {missing[0]}" if missing else f"its schema is {schema!r}, this is {SCHEMA}"
            raise InputError(f"{folder} does not hold an audit as this version writes it ({what}): audit again")
        return cls(str(folder), document, examples, folder)

    @property
    def failures(self) -> Iterator[Failure]:
        """The significant failure modes, class by class."""
        for one in self.document["classes"]:
            for mode, figures in enumerate(one["modes"]):
                if figures["significant"]:
                    yield Failure(one["name"], mode, figures)

    @property
    def directions(self) -> FailureDirections:
        """The fit, whose classes are numbered as the document lists them."""
        if self.fit is None and self.folder is not None:
            return FailureDirections.load(self.folder / "directions.safetensors")
        if self.fit is None:
            raise InputError(f"{self.name} has no fit: pass the folder of an audit")
        return self.fit

    @property
    def causes(self) -> list[Mapping[str, object]]:
        """The rows of ``causes.csv``: every error by its cause, and right images that are duplicates."""
        if self.errors is not None or self.folder is None:
            return [] if self.errors is None else self.errors.to_pylist()
        text = read_text_file(self.folder / "causes.csv", MOST_BYTES, "a folder that this version of fdgpu has written")
        return list(csv.DictReader(StringIO(text, newline="")))

    @property
    def store(self) -> EmbeddingStore | None:
        """The embeddings that lie in the folder; None without."""
        if self.folder is None or not (self.folder / STORE).is_dir():
            return None
        return EmbeddingStore.open(self.folder / STORE)
