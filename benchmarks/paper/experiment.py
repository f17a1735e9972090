"""What an experiment is to the command line, and its settings in the TOML file beside its module."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.paper.charts import Panel
from benchmarks.paper.results import Figure, Key, Summary, concluded, means, published, summarise
from fdgpu.repair import TrainingRecipe

FOLDER = Path(__file__).parent / "experiments"

WorldOf = Callable[[int], Any]  # a seed → the sets of an experiment, made when they are asked for


@dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        name: of its module, its TOML file, and its results.
        run: the sets of one seed → figures.
        offline: embedder and settings → the sets of any seed, in the matching form on the bundled world.
        panels: of its plot.
        on_files: embedder, settings and folder → the same from the data set's own files.
        conclude: means over seeds → figures that follow from them.
    """

    name: str
    run: Callable[[Any], list[Figure]]
    offline: Callable[[Any, Mapping[str, Any]], WorldOf]
    panels: Sequence[Panel]
    on_files: Callable[[Any, Mapping[str, Any], Path], WorldOf]
    conclude: Callable[[Sequence[Figure]], list[Figure]] = lambda _: []

    @cached_property
    def document(self) -> dict[str, Any]:
        """The TOML file: settings ``offline`` and ``on_files``, and ``paper``, a list of its numbers."""
        return tomllib.loads((FOLDER / f"{self.name}.toml").read_text(encoding="utf-8"))

    def summary(self, seeds: Sequence[Sequence[Figure]]) -> list[Summary]:
        """Return means and deviations, the paper's numbers beside them, and what follows."""
        measured = summarise(seeds, self.paper)
        return measured + concluded(self.conclude, measured, self.paper)

    def stored(self, path: Path) -> tuple[dict[str, str], list[Summary]]:
        """Read the machine and what was measured on it; what follows, and the paper's numbers, are those of today."""
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = [Summary.of_row(row) for row in document["rows"]]
        follows = {figure.key for figure in self.conclude(means(rows))}
        measured = [replace(row, paper=self.paper.get(row.key)) for row in rows if row.key not in follows]
        return document["machine"], measured + concluded(self.conclude, measured, self.paper)

    @property
    def paper(self) -> dict[Key, float]:
        """The paper's numbers."""
        return published(self.document.get("paper", []))


def recipe_of(settings: Mapping[str, Any], name: str = "recipe") -> TrainingRecipe:
    """Return the recipe that the settings name; or one written out, which sees pictures at half of their 64 pixels."""
    given = settings[name]
    return TrainingRecipe.named(given) if isinstance(given, str) else TrainingRecipe(**{"resolution": 32, **given})
