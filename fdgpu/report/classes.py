"""One class of the findings, with its failure modes → what its section of the page shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fdgpu.findings import ClassFindings, Example, Findings, ModeFindings, PlantedTruth, Status, Thumbnails
from fdgpu.report.evidence import CaptionRow, caption_bars, withheld
from fdgpu.report.figures import EffectChart, HistogramChart, LineChart, effect_chart, histogram_chart, line_chart
from fdgpu.report.formats import chance, count, plural, power, precise
from fdgpu.report.pictures import DecodedView, Encoding, Strip, decoded_view, make_strip

STATUS_WORDS = {Status.OK: "direction found"}  # the others are their own names
SIGNIFICANT, CHANCE = "significant", "not distinguishable from chance"
BY_CONFIDENCE = ("Hardest by confidence", "the model’s own, for comparison")
WITHOUT_GRAM = (
    "This class is too large for its Gram matrix, so it was solved by Newton steps without one: the same objective, to "
    "the same tolerance."
)


@dataclass(frozen=True)
class ModeView:
    """One failure mode: ``number`` counts from 1; ``share`` says which of the class's errors are its own."""

    number: int
    findings: ModeFindings
    share: str
    verdict: str
    remarks: tuple[str, ...]
    hard_captions: tuple[CaptionRow, ...]
    easy_captions: tuple[CaptionRow, ...]
    withheld: tuple[CaptionRow, ...]
    effects: EffectChart | None
    strips: tuple[Strip, ...]
    histogram: HistogramChart | None
    charts: tuple[LineChart, ...]


@dataclass(frozen=True)
class ClassView:
    """A class as its section shows it; ``index`` makes its anchor, since names need not be unique.

    ``chance`` marks a class that was tested and found no better than chance. ``strips`` are the pictures that belong
    to no mode in particular, where there are several.
    """

    index: int
    findings: ClassFindings
    status: str
    chance: bool
    error_rate: float
    notes: tuple[str, ...]
    modes: tuple[ModeView, ...]
    strips: tuple[Strip, ...]
    decoded: DecodedView | None

    @property
    def found(self) -> bool:
        """Whether the class has a direction."""
        return self.findings.found

    @property
    def hardest(self) -> tuple[str, ...]:
        """The hardest reliable caption of each mode that has one."""
        return tuple(mode.hard_captions[0].caption for mode in self.modes if mode.hard_captions)

    @property
    def no_caption(self) -> str:
        """What to say where no mode has a reliable caption."""
        return self.findings.strongest.hardest_caption or "–"

    @property
    def unconverged(self) -> bool:
        """Whether the solver stopped early on any mode."""
        return not all(mode.converged for mode in self.findings.modes)

    @property
    def edge(self) -> ModeFindings | None:
        """The first mode whose C lies on an edge of the grid that is worth widening."""
        return next((mode for mode in self.findings.modes if mode.C_at_edge and not mode.C_tied), None)


def class_view(index: int, findings: Findings, thumbnails: Thumbnails, encoding: Encoding) -> ClassView:
    """Return what the section of ``findings.classes[index]`` shows; a class without a direction shows no charts."""
    one = findings.classes[index]
    unsure = _strips([("plain", *BY_CONFIDENCE, one.unsure_examples)] if one.found else [], thumbnails, encoding)
    alone = len(one.modes) == 1
    return ClassView(
        index=index,
        findings=one,
        status=_status(one, findings),
        chance=_is_chance(one, findings),
        error_rate=one.n_errors / one.n if one.n else math.nan,
        notes=(WITHOUT_GRAM,) if one.found and one.solver == "newton" else (),
        modes=tuple(
            _mode_view(number, one, findings, _mode_strips(mode, thumbnails, encoding) + (unsure if alone else ()))
            for number, mode in enumerate(one.modes, 1)
        ),
        strips=() if alone else unsure,
        decoded=decoded_view(one, thumbnails, encoding),
    )


def _is_chance(one: ClassFindings, findings: Findings) -> bool:
    return findings.tested and one.found and not one.significant


def _status(one: ClassFindings, findings: Findings) -> str:
    if findings.tested and one.found:
        return SIGNIFICANT if one.significant else CHANCE
    return STATUS_WORDS.get(Status(one.status), one.status.replace("_", " "))


def _mode_view(number: int, one: ClassFindings, findings: Findings, strips: tuple[Strip, ...]) -> ModeView:
    mode = one.modes[number - 1]
    hard, easy = caption_bars(mode.reliable_hard_captions, mode.reliable_easy_captions)
    return ModeView(
        number=number,
        findings=mode,
        share=f"{count(mode.n_errors)} of {plural(one.n_errors, 'error')}",
        verdict=verdict(mode, one.n_permutations, findings) if findings.tested else "",
        remarks=_remarks(mode, findings.C_grid),
        hard_captions=hard,
        easy_captions=easy,
        withheld=withheld(mode.hard_captions, mode.easy_captions),
        effects=effect_chart(mode),
        strips=strips,
        histogram=histogram_chart(mode.decisions) if mode.decisions else None,
        charts=_charts(mode, one.accuracy_shown),
    )


def verdict(mode: ModeFindings, drawn: int, findings: Findings) -> str:
    """Say what the permutation test found.

    Args:
        mode: the failure mode.
        drawn: permutations that were drawn for its class.
        findings: the audit, for the permutations that were asked for and the false discovery rate.
    """
    asked = plural(findings.n_permutations, "permutation")
    least = f", the smallest p that {asked} can show" if mode.p_value <= findings.p_value_min * (1 + 1e-9) else ""
    found = "Distinguishable" if mode.significant else "Not distinguishable"
    words = (
        f"{found} from chance at a false discovery rate of {precise(100 * findings.fdr)}%: "
        f"p {chance(mode.p_value)}{least}; q {chance(mode.q_value)}."
    )
    if not mode.significant:
        words += " What it shows may be noise."
    if 0 < drawn < findings.n_permutations:
        words += f" Stopped after {count(drawn)} of {asked}: its p-value was settled."
    return words


def _remarks(mode: ModeFindings, grid: Sequence[float]) -> tuple[str, ...]:
    remarks = []
    if not mode.converged:
        remarks.append(
            "The solver stopped at its iteration bound before it reached its tolerance, so this direction is "
            "approximate. Raise max_iter or tol, or drop the largest Cs, and fit again."
        )
    if mode.C_at_edge:
        remarks.append(edge_remark(mode.C, grid, tied=mode.C_tied))
    return tuple(remarks)


def edge_remark(C: float, grid: Sequence[float], *, tied: bool = False) -> str:
    """Say what it means that the best C lies on the edge of the grid, and what to do.

    With ``tied`` the next C scores the same: the smallest C was taken for being the smallest, and to widen the grid
    would change nothing.
    """
    end = "largest" if grid and C >= max(grid) > min(grid) else "smallest"
    where = f" ({power(min(grid))} to {power(max(grid))})" if grid else ""
    chosen = f"The best C, {power(C)}, is the {end} of the grid{where}"
    if tied and end == "smallest":
        return f"{chosen}, taken because larger ones score the same. An even smaller C would not change the direction."
    beyond = "larger" if end == "largest" else "smaller"
    return f"{chosen}: a better one may lie beyond it. Widen Cs with {beyond} values and fit again."


def _mode_strips(mode: ModeFindings, thumbnails: Thumbnails, encoding: Encoding) -> tuple[Strip, ...]:
    kinds = (
        ("hard", "Hardest", "lowest decision value", mode.hard_examples),
        ("easy", "Easiest", "highest decision value", mode.easy_examples),
    )
    return _strips(kinds, thumbnails, encoding)


def _strips(
    kinds: Sequence[tuple[str, str, str, Sequence[Example]]], thumbnails: Thumbnails, encoding: Encoding
) -> tuple[Strip, ...]:
    return tuple(
        make_strip(role, heading, chosen_by, examples, thumbnails, encoding)
        for role, heading, chosen_by, examples in kinds
        if examples
    )


def _charts(mode: ModeFindings, accuracy: float) -> tuple[LineChart, ...]:
    charts = (_accuracy_chart(mode, accuracy), shares_chart(mode.planted) if mode.planted else None)
    return tuple(chart for chart in charts if chart is not None)


def _accuracy_chart(mode: ModeFindings, accuracy: float) -> LineChart | None:
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
    return line_chart(
        f"Share of “{planted.hard}” among the top K",
        planted.shares,
        x_label="top K images",
        y_label=f"share of “{planted.hard}”",
    )
