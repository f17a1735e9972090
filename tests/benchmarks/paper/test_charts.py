"""Nothing in a plot is cut off or lies on something else, and hard and easy have their colours in every panel."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas

from benchmarks.paper.__main__ import EXPERIMENTS
from benchmarks.paper.charts import STYLE, Panel, plotted
from benchmarks.paper.legend import BLUE, GREY, RED, colour, in_order, short
from benchmarks.paper.results import Figure, Summary, summarise
from benchmarks.stored import FOLDER

STORED = [name for name in EXPERIMENTS if (FOLDER / "paper" / f"{name}.json").is_file()]


def drawn(summaries: list[Summary], panels: Any) -> Canvas:
    with mpl.rc_context(STYLE):
        canvas = plotted(summaries, panels)
        FigureCanvasAgg(canvas).draw()  # type: ignore[no-untyped-call]
    return canvas


@pytest.mark.parametrize("name", STORED)
def test_legends_are_inside_the_figure_and_lie_on_nothing(name: str) -> None:
    experiment = EXPERIMENTS[name]
    canvas = drawn(experiment.stored(FOLDER / "paper" / f"{name}.json")[1], experiment.panels)
    legends = [axes.get_legend().get_window_extent() for axes in canvas.axes]
    assert [box for box in legends if box.x0 < 0 or box.y0 < 0 or box.x1 > canvas.bbox.x1] == []
    assert [pair for pair in combinations(legends, 2) if pair[0].overlaps(pair[1])] == []
    plots = [axes.get_window_extent() for axes in canvas.axes]
    assert [box for box in legends if any(box.overlaps(plot) for plot in plots)] == []
    assert min(plot.width for plot in plots) > 0.7 * canvas.bbox.width / len({round(plot.x0) for plot in plots})


@pytest.mark.parametrize("name", STORED)
def test_numbers_of_bars_do_not_touch_and_every_number_of_the_papers_is_in_sight(name: str) -> None:
    experiment = EXPERIMENTS[name]
    canvas = drawn(experiment.stored(FOLDER / "paper" / f"{name}.json")[1], experiment.panels)
    for axes in canvas.axes:
        numbers = [text.get_window_extent() for text in axes.texts]
        assert [pair for pair in combinations(numbers, 2) if pair[0].overlaps(pair[1])] == []
        papers = [line.get_ydata() for line in axes.lines if line.get_label() == "paper"]
        low, high = axes.get_ylim()
        assert [value for values in papers for value in values if not low <= value <= high] == []


def test_hard_and_easy_have_their_colours_whatever_they_are_of() -> None:
    for name in ("hard", "near the hard caption", "own hard"):
        assert colour(name, 3) == RED
    for name in ("easy", "near the easy caption"):
        assert colour(name, 3) == BLUE
    assert {colour(name, 3) for name in ("all", "all images", "neutral")} == {GREY}
    others = {colour(name, number) for number, name in enumerate(("first run", "second run", "ResNet-50", "ViT-B"))}
    assert len(others) == 4
    assert others.isdisjoint({RED, BLUE, GREY})


def test_a_line_has_the_colour_of_its_end() -> None:
    measures = ("near the hard caption, larger", "near the easy caption, larger", "all images, larger")
    figures = [Figure(measure, "fdgpu", 0.5, k) for measure in measures for k in (1, 2)]
    axes = drawn(summarise([figures], {}), [Panel("near", measures, "K")]).axes[0]
    assert {line.get_label(): line.get_color() for line in axes.lines} == {
        "near the hard caption": RED,
        "near the easy caption": BLUE,
        "all images": GREY,
    }


def test_an_intervention_that_a_method_took_no_part_in_leaves_no_gap() -> None:
    figures = [Figure("filtering: overall", method, 0.5) for method in ("base", "random", "fdgpu")]
    figures += [Figure("pictures: overall", method, 0.5) for method in ("base", "hard pictures")]
    panel = Panel("after", ("filtering: overall", "pictures: overall"))
    axes = drawn(summarise([figures], {}), [panel]).axes[0]
    middles = sorted(bar.get_x() + bar.get_width() / 2 for bar in axes.patches)
    assert middles == pytest.approx([-0.8 / 3, 0, 0.8 / 3, 1 - 0.4 / 3, 1 + 0.4 / 3])
    assert [label.get_text() for label in axes.get_xticklabels()] == ["filtering", "pictures"]


@pytest.mark.parametrize(
    ("measures", "names"),
    [
        (("accuracy, test", "accuracy, test, noisy", "accuracy, test, clean"), ["all", "noisy", "clean"]),
        (("filtering: minority", "filtering: overall"), ["minority", "overall"]),
        (("minority of predicted errors", "minority of actual errors"), ["predicted", "actual"]),
        (("own hard", "all", "own easy"), ["own hard", "all", "own easy"]),
        (("CV score",), ["CV score"]),
    ],
)
def test_names_leave_out_what_all_of_them_share(measures: tuple[str, ...], names: list[str]) -> None:
    assert short(measures) == names


def test_bars_stand_in_one_order() -> None:
    assert in_order(["fdgpu", "a stranger", "random", "base", "random"]) == ["base", "random", "fdgpu", "a stranger"]
