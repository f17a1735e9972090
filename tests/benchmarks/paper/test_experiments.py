"""Both experiments run from end to end on a few photographs, and every figure that is plotted or compared is there."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.paper.__main__ import EXPERIMENTS
from fdgpu import ClipEmbedder

FEW: dict[str, dict[str, Any]] = {
    "spurious": {
        "strengths": [2, 6], "strength": 6, "train": [0, 60], "pool": [1000, 1040], "held_out": 60, "top": [5, 10],
        "added": 10,
    },
    "superclasses": {
        "train": {"split": "base", "start": 0, "stop": 30}, "pool": {"split": "base", "start": 1000, "stop": 1015},
        "val": {"split": "val", "start": 0, "stop": 40}, "test": {"split": "test", "start": 0, "stop": 40},
        "top": [5, 10], "added": 5,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def clip() -> Iterator[ClipEmbedder]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield ClipEmbedder.bundled("cpu")
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_gives_the_figures_that_its_plot_and_the_paper_have(name: str, clip: ClipEmbedder) -> None:
    experiment = EXPERIMENTS[name]
    settings = copy.deepcopy(experiment.document["offline"]) | FEW[name]
    settings["recipe"]["epochs"] = 3
    figures = experiment.run(clip, settings, 0)
    assert len({figure.key for figure in figures}) == len(figures)
    measures = {figure.measure for figure in figures}
    assert {measure for panel in experiment.panels for measure in panel.measures} <= measures
    named = {(figure.measure, figure.method) for figure in figures}
    assert {(measure, method) for measure, method, _ in experiment.paper} <= named
    methods = {figure.method for figure in figures if figure.measure == "filtering: minority"}
    assert methods == {"base", "fdgpu", "confidence", "random", "oracle"}
    shares = [figure for figure in figures if not figure.measure.startswith("Pearson")]
    assert all(0 <= figure.value <= 1 for figure in shares)
    assert experiment.run(clip, settings, 0) == figures
