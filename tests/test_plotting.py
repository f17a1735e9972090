"""Figures in matplotlib: what is drawn is what was found, and a name is never read as a formula."""

from __future__ import annotations

import sys
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

import fdgpu
from fdgpu import plotting
from fdgpu.errors import InputError, MissingExtraError
from fdgpu.findings import Curve, CurveRole, Example, Histogram, ImageTable, ModeFindings, Thumbnails
from fdgpu.report.figures import mirrored_shares

HISTOGRAM = Histogram((-1.0, 0.0, 1.0, 2.0), (1, 3, 4), (3, 1, 0))


def png(figure: Any) -> Image.Image:
    return Image.open(BytesIO(figure._repr_png_()))


def test_decision_values_are_shares_of_right_upwards_and_of_wrong_downwards() -> None:
    figure = plotting.decisions(ModeFindings(decisions=HISTOGRAM))
    right, wrong = figure.axes[0].patches[:2]
    assert right.get_data().values.tolist() == [1 / 8, 3 / 8, 4 / 8]
    assert wrong.get_data().values.tolist() == [-3 / 4, -1 / 4, 0]
    assert right.get_data().edges.tolist() == list(HISTOGRAM.edges)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["right (8)", "wrong (4)"]
    assert mirrored_shares(HISTOGRAM) == ([1 / 8, 3 / 8, 4 / 8], [3 / 4, 1 / 4, 0])
    assert png(figure).width > 200


@pytest.mark.parametrize("histogram", [None, Histogram((), (), ()), Histogram((0.0, 1.0), (0,), (0,))])
def test_without_images_there_is_an_empty_figure(histogram: Histogram | None) -> None:
    assert plotting.decisions(ModeFindings(decisions=histogram)).axes[0].patches[:] == []


def test_accuracies_are_drawn_in_the_colours_of_the_page() -> None:
    curves = (
        Curve("lowest decision value", CurveRole.DECISION_VALUE, (10, 5), (0.5, float("nan"))),
        Curve("least confidence", CurveRole.CONFIDENCE, (5, 10), (0.6, 0.7)),
    )
    ax = plotting.accuracy(curves, 0.8).axes[0]
    assert [line.get_xydata().tolist() for line in ax.lines[:2]] == [[[10, 0.5]], [[5, 0.6], [10, 0.7]]]
    assert [to_hex(line.get_color()) for line in ax.lines[:2]] == [plotting.COLOURS["hard"], plotting.COLOURS["plain"]]
    assert len({line.get_linestyle() for line in ax.lines}) == 3
    assert set(ax.lines[2].get_ydata()) == {0.8}
    assert plotting.accuracy(()).axes[0].lines[:] == []


def test_pictures_are_framed_by_right_and_wrong_and_a_missing_one_is_grey() -> None:
    pixels = np.full((4, 6, 3), 200, np.uint8)
    shown = [Example("a", False, "$x_1$ & <dog> of a long name", -1.0), Example("b", True, "cat", 1.0)]
    figure = plotting.pictures(shown, Thumbnails({"a": pixels}), "Hardest")
    first, second = figure.axes[0].child_axes
    assert (first.images[0].get_array() == pixels).all()
    assert second.images[:] == []
    edges = [to_hex(tile.spines["left"].get_edgecolor()) for tile in (first, second)]
    assert edges == [plotting.COLOURS["hard"], plotting.COLOURS["easy"]]
    png(figure)  # a name is drawn, not parsed
    png(plotting.pictures([], Thumbnails()))


def test_the_map_has_a_dot_an_image_of_the_class() -> None:
    table = ImageTable(
        ("a", "b", "c"), np.array([0, 1, 1]), np.array([0, 1, 0]), np.array([[9.0], [1.0], [-2.0]]),
        np.array([0.0, 3.0, 4.0]), np.zeros((3, 0), int),
    )  # fmt: skip
    right, wrong = plotting.class_map(table, 1).axes[0].collections
    assert right.get_offsets().tolist() == [[1.0, 3.0]]
    assert wrong.get_offsets().tolist() == [[-2.0, 4.0]]


def test_a_result_plots_what_is_known_of_a_class() -> None:
    n = 60
    rng = np.random.default_rng(0)
    right = np.arange(n) % 3 > 0
    result = fdgpu.audit(
        None, ["a"] * n, np.where(right, "a", "b").tolist(), class_names=["a", "b", "c"],
        embeddings=rng.normal(size=(n, 6)) + 2 * right[:, None], directions=fdgpu.FailureDirections(),
    )  # fmt: skip
    whole = result.plot("a")
    titles = [ax.get_title() for ax in whole.axes]
    assert titles == ["Decision values", "Accuracy among the first K", "Map of the images", "Hardest", "Easiest"]
    (by_decision, whole_class) = result.plot("a", "accuracy").axes[0].lines
    order = np.argsort(result.decisions, kind="stable")
    shares = np.cumsum(right[order]) / np.arange(1, n + 1)
    ks = by_decision.get_xdata().astype(int)
    assert np.allclose(by_decision.get_ydata(), shares[ks - 1])
    assert whole_class.get_ydata()[0] == pytest.approx(right.mean())
    for wrong, message in (
        (("d",), "class_name is 'd': use one of a, b, c"),
        (("a", "unsure"), "panel is 'unsure': use one of decisions, accuracy, map, hardest, easiest, all"),
        (("a", "map", 1), "direction is 1"),
        (("b",), "'b' has no direction to plot"),
    ):
        with pytest.raises(InputError, match=message):
            result.plot(*wrong)


def test_axes_of_a_figure_of_ones_own_are_drawn_on() -> None:
    own = plotting.new_figure(2)
    left, right = own.subplots(1, 2)
    assert plotting.decisions(ModeFindings(decisions=HISTOGRAM), left) is own
    assert plotting.accuracy((), ax=right) is own
    right.remove()
    with pytest.raises(InputError, match="ax belongs to no figure"):
        plotting.accuracy((), ax=right)


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    plotting._figure_class.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"plotting needs matplotlib.*pip install 'fdgpu\[plot\]'"):
        plotting.decisions(ModeFindings())
