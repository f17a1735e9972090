"""What an experiment asks of a world: the sets of one seed, rendered or read from a data set's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from benchmarks.paper.lab import Lab
from benchmarks.paper.sets import Seen


class Evaluated(Protocol):
    """A world that says on what directions are fitted and models judged; how it trains is the experiment's own."""

    @property
    def lab(self) -> Lab:
        """Return what trains and judges."""
        ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the experiment's settings."""
        ...

    @property
    def seed(self) -> int:
        """Return what the sets and the trainings were drawn by."""
        ...

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
