"""Means over seeds beside the paper's number, plots that repeat, and settings that can be read."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.paper.__main__ import EXPERIMENTS, table
from benchmarks.paper.charts import draw
from benchmarks.paper.experiment import recipe_of
from benchmarks.paper.experiments.cifar100 import averaged
from benchmarks.paper.results import Figure, Summary, concluded, summarise

SEEDS = [
    [Figure("share", "fdgpu", 0.8, 10), Figure("share", "fdgpu", 0.6, 20), Figure("accuracy", "base", 0.5)],
    [Figure("share", "fdgpu", 0.6, 10), Figure("share", "fdgpu", 0.4, 20), Figure("accuracy", "base", 0.7)],
]


def test_mean_and_deviation_stand_beside_the_papers_number() -> None:
    first, second, third = summarise(SEEDS, {("share", "fdgpu", 20): 0.9})
    assert (first.measure, first.at, first.paper) == ("share", 10, None)
    assert first.mean == pytest.approx(0.7)
    assert first.deviation == pytest.approx(0.02**0.5)
    assert second.paper == 0.9
    assert third.row()["values"] == "0.5000 0.7000"
    assert summarise(SEEDS[:1], {})[0].deviation == 0


def test_the_score_of_the_mean_is_correlated_with_the_strength() -> None:
    """Scores on a line of the ratio: r is 1 there, and that of a curve for (n - 1) / (n + 1)."""
    experiment = EXPERIMENTS["celeba"]
    seeds = [
        [Figure("CV score", "fdgpu", 0.5 + 0.01 * n + noise * (-1) ** n, n) for n in (1, 2, 4)] for noise in (-0.1, 0.1)
    ]
    found = {s.measure: s.mean for s in experiment.summary(seeds)}
    assert found["Pearson r, CV score and ratio, of means"] == pytest.approx(1)
    expected = np.corrcoef([0, 1 / 3, 3 / 5], [1, 2, 4])[0, 1]
    assert found["Pearson r, CV score and correlation, of means"] == pytest.approx(expected)


def test_what_is_stored_is_read_back() -> None:
    for summary in summarise(SEEDS, {("share", "fdgpu", 10): 0.9}):
        assert Summary.of_row(json.loads(json.dumps(summary.row()))).row() == summary.row()


def test_a_conclusion_is_of_means_and_its_values_are_of_seeds() -> None:
    """Of a product the mean of the seeds' own is another number than that of the means."""

    def product(figures: Sequence[Figure]) -> list[Figure]:
        one, other, _ = (figure.value for figure in figures)
        return [Figure("product", "fdgpu", one * other)]

    found = concluded(product, summarise(SEEDS, {}), {("product", "fdgpu", None): 0.4})[0]
    assert found.mean == pytest.approx(0.7 * 0.5)
    assert found.values == pytest.approx((0.48, 0.24))
    assert found.deviation == pytest.approx(0.24 / 2**0.5)
    assert found.paper == 0.4


def test_a_conclusion_has_no_deviation_where_a_seed_lacks_a_figure() -> None:
    def count(figures: Sequence[Figure]) -> list[Figure]:
        return [Figure("count", "fdgpu", len(figures))]

    found = concluded(count, summarise([*SEEDS, SEEDS[1][:2]], {}), {})[0]
    assert (found.mean, found.values, found.known_deviation) == (3, (3,), None)


def test_what_is_not_known_at_a_seed_has_no_deviation_either() -> None:
    found = summarise([[Figure("r", "fdgpu", 0.5)], [Figure("r", "fdgpu", float("nan"))]], {})[0]
    assert np.isnan([found.mean, found.deviation]).all()


def test_turns_are_averaged() -> None:
    assert averaged(SEEDS) == [
        Figure("share", "fdgpu", pytest.approx(0.7), 10),
        Figure("share", "fdgpu", pytest.approx(0.5), 20),
        Figure("accuracy", "base", pytest.approx(0.6)),
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_settings_can_be_read_and_a_plot_is_the_same_twice(name: str, tmp_path: Path) -> None:
    experiment = EXPERIMENTS[name]
    settings = experiment.document["offline"]
    assert "recipe" not in settings or recipe_of(settings).epochs > 1
    assert all(0 < value < 1 for value in experiment.paper.values())
    figures = [
        Figure(measure, method, 0.5, at)
        for panel in experiment.panels
        for measure in panel.measures
        for method in ("fdgpu", "random")
        for at in ((1, 2) if panel.x_label else (None,))
    ]
    summaries = summarise([figures], experiment.paper)
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    for path in (one, other):
        draw(path, summaries, experiment.panels)
    assert one.read_bytes() == other.read_bytes()
    words = "".join(ET.parse(one).getroot().itertext())  # noqa: S314 - our own file
    assert all(panel.title in words for panel in experiment.panels)
    assert "fdgpu" in words
    assert table(experiment, summaries).row_count == len(summaries)
