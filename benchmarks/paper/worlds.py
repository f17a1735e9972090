"""What an experiment asks of a world: the sets of one seed, rendered or read from a data set's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Seen


class Evaluated(Protocol):
    """A world that says on what directions are fitted and models judged; how it trains is the experiment's own."""

    lab: Lab
    settings: Mapping[str, Any]
    seed: int

    def val(self) -> Seen:
        """Return validation, on which directions are fitted."""
        ...

    def test(self) -> Seen:
        """Return test, on which everything is measured."""
        ...


class ThreeSets(Evaluated, Protocol):
    """A world with one training set."""

    def train(self) -> Seen:
        """Return training."""
        ...
