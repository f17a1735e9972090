"""A base model, and the directions of its failures."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from benchmarks.baselines import Examples
from benchmarks.paper.lab import Lab
from benchmarks.paper.rankings import OURS, Fits, both_methods
from benchmarks.paper.sets import Seen
from fdgpu import FailureDirections


@dataclass(frozen=True)
class Fitted:
    """What a training set gave.

    Attributes:
        lab: where.
        train: the training set.
        model: the base model.
        val: what it says of validation.
        fits: the directions of its failures there, by the name of their method.
    """

    lab: Lab
    train: Seen
    model: nn.Module
    val: Examples
    fits: Fits

    @property
    def directions(self) -> FailureDirections:
        """The paper's."""
        return self.fits[OURS]

    @classmethod
    def on(cls, lab: Lab, train: Seen, val: Seen, seed: int) -> Fitted:
        """Train, and look for directions in validation."""
        return cls.of(lab, train, lab.train(train.inputs, train.labels, seed), val)

    @classmethod
    def of(cls, lab: Lab, train: Seen, model: nn.Module, val: Seen) -> Fitted:
        """Look for the directions of a model that was trained before, by another validation, say."""
        judged = lab.judge(model, val)
        return cls(lab, train, model, judged, both_methods(judged, train.embeddings))
