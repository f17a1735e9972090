"""One class of the findings, with its failure modes → what its section of the page shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from fdgpu.findings import ClassFindings, Example, Findings, ModeFindings, ScoredCaption, Side, Slice, Thumbnails
from fdgpu.report.figures import (
    HistogramChart,
    LineChart,
    Ticks,
    WordDot,
    accuracy_chart,
    histogram_chart,
    shares_chart,
    word_chart,
)
from fdgpu.report.listing import NOTHING, Listing
from fdgpu.report.pictures import DecodedGrid, Encoding, Strip, decoded_grid, make_strip
from fdgpu.report.wording import (
    class_sentence,
    count,
    failure_sentence,
    is_chance,
    plural,
    solver_remarks,
    status_words,
    verdict,
)

BY_CONFIDENCE = ("Hardest by confidence", "the model’s own, for comparison")
MOST_SLICES = 8
WITHOUT_GRAM = (
    "This class is too large for its Gram matrix, so it was solved by Newton steps without one: the same objective, to "
    "the same tolerance."
)


@dataclass(frozen=True)
class ModeView:
    """One failure mode: ``number`` counts from 1; ``share`` says which of the class's errors are its own."""

    number: int
    findings: ModeFindings
    sentence: Markup
    share: str
    verdict: str
    remarks: tuple[str, ...]
    words: tuple[dict[tuple[str, str], list[WordDot]], Ticks] | None
    strips: tuple[Strip, ...]
    histogram: HistogramChart | None
    charts: tuple[LineChart, ...]

    @property
    def longest(self) -> float:
        """The largest |alignment| of the captions that are shown: both sides share the scale of their bars."""
        shown = (*self.findings.reliable_hard_captions, *self.findings.reliable_easy_captions)
        return max((abs(c.alignment) for c in shown if math.isfinite(c.alignment)), default=0.0)

    @property
    def withheld(self) -> tuple[tuple[Side, ScoredCaption], ...]:
        """The captions of both sides that are not reliable, hard ones first."""
        sides = ((Side.HARD, self.findings.hard_captions), (Side.EASY, self.findings.easy_captions))
        return tuple((side, caption) for side, captions in sides for caption in captions if caption.withheld)


@dataclass(frozen=True)
class ClassView:
    """A class as its section shows it; ``index`` makes its anchor, since names need not be unique.

    ``chance`` marks a class that was tested and found no better than chance. ``strips`` are the pictures that belong
    to no mode in particular, where there are several.
    """

    index: int
    findings: ClassFindings
    sentence: Markup
    status: str
    chance: bool
    error_rate: float
    notes: tuple[str, ...]
    errors: str  # what its errors are called
    modes: tuple[ModeView, ...]
    strips: tuple[Strip, ...]
    decoded: DecodedGrid | None
    slices: tuple[Slice, ...] = ()  # that are significant; those that follow from others come last
    more_slices: int = 0  # beyond these

    @property
    def hardest(self) -> tuple[str, ...]:
        """The hardest reliable caption of each mode that has one."""
        reliable = (mode.reliable_hard_captions for mode in self.findings.modes)
        return tuple(captions[0].caption for captions in reliable if captions)

    @property
    def no_caption(self) -> str:
        """What to show where no mode has a reliable caption."""
        return self.findings.strongest.hardest_caption or "–"

    @property
    def unconverged(self) -> bool:
        """Whether the solver stopped early on any mode."""
        return not all(mode.converged for mode in self.findings.modes)

    @property
    def edge(self) -> ModeFindings | None:
        """The first mode whose C lies on an edge of the grid that is worth widening; none of the latent method."""
        if self.findings.solver == "latent":
            return None
        return next((mode for mode in self.findings.modes if mode.C_at_edge and not mode.C_tied), None)


def class_view(
    index: int, findings: Findings, thumbnails: Thumbnails, encoding: Encoding, listing: Listing = NOTHING
) -> ClassView:
    """Return what the section of ``findings.classes[index]`` shows; a class without a direction shows no charts."""
    one = findings.classes[index]

    def strips(*rows: tuple[str, str, str, Sequence[Example]]) -> tuple[Strip, ...]:
        return tuple(make_strip(*row, thumbnails, encoding, listing.rows_of(index)) for row in rows if row[-1])

    unsure = strips(("plain", *BY_CONFIDENCE, one.unsure_examples)) if one.found else ()
    alone, with_loss = len(one.modes) == 1, ", with the image’s own loss" if findings.uses_loss else ""
    modes = []
    for number, mode in enumerate(one.modes, 1):
        own = strips(
            ("hard", "Hardest", f"lowest decision value{with_loss}", mode.hard_examples),
            ("easy", "Easiest", f"highest decision value{with_loss}", mode.easy_examples),
        )
        charts = (
            accuracy_chart(mode, one.accuracy_shown),
            shares_chart(mode.planted) if mode.planted else None,
        )
        modes.append(
            ModeView(
                number=number,
                findings=mode,
                sentence=failure_sentence(one, mode, findings),
                share=f"{count(mode.n_errors)} of {plural(one.n_errors, 'error')}",
                verdict=verdict(mode, one.n_permutations, findings),
                remarks=solver_remarks(mode, one.solver, findings),
                words=word_chart(mode.word_effects),
                # With one mode only, the pictures by confidence stand in the same block as its own.
                strips=own + unsure if alone else own,
                histogram=histogram_chart(mode.decisions) if mode.decisions else None,
                charts=tuple(chart for chart in charts if chart is not None),
            )
        )
    slices = sorted(
        (own for own in findings.slices if own.class_name == one.name), key=lambda own: own.follows_from is not None
    )
    return ClassView(
        index=index,
        findings=one,
        sentence=class_sentence(one, findings) + ".",
        status=status_words(one),
        chance=is_chance(one),
        error_rate=one.n_errors / one.n if one.n else math.nan,
        errors=("false alarms", "misses")[index % 2] if findings.conditions else "errors",
        notes=(WITHOUT_GRAM,) if one.found and one.solver == "newton" else (),
        modes=tuple(modes),
        strips=() if alone else unsure,
        decoded=decoded_grid(one, thumbnails, encoding),
        slices=tuple(slices[:MOST_SLICES]),
        more_slices=max(0, len(slices) - MOST_SLICES),
    )


def bar_length(caption: ScoredCaption, side: Side, longest: float) -> float:
    """Return the length of a caption's bar in per cent of the longest; 0 where it points to the other side."""
    if longest <= 0 or not math.isfinite(caption.alignment):
        return 0.0
    towards = -caption.alignment if side == Side.HARD else caption.alignment
    return round(100 * max(towards / longest, 0.0), 1)
