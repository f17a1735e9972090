"""What a method of slice discovery is here, fdgpu as one, and the two baselines that fit nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.slices.planting import Samples
from fdgpu import FailureDirections


class Method(Protocol):
    """Proposes slices: fits one half, scores the other."""

    def propose(self, validation: Samples, held_out: Samples) -> NDArray[np.float64]:
        """Return (n_test, proposals), the score of every held-out sample, higher is likelier inside.

        Best proposal first, in the method's own order; -inf for a sample that a proposal never shows.
        """
        ...


@dataclass(frozen=True)
class Directions:
    """fdgpu: a failure direction (or several) for each label, hardest samples by decision value.

    A proposal shows samples of its own label only; a direction that the fit does not give is not proposed.
    """

    whiten: bool = True
    n_directions: int = 1

    def propose(self, validation: Samples, held_out: Samples) -> NDArray[np.float64]:
        """Fit on whether the thresholded score is the label."""
        fit = FailureDirections(whiten=self.whiten, n_directions=self.n_directions)
        fit.fit(validation.x, validation.labels, validation.correct)
        proposals = []
        for direction in range(self.n_directions):
            values = -np.asarray(fit.decision_function(held_out.x, held_out.labels, direction))
            for label in (0, 1):
                own = (held_out.labels == label) & ~np.isnan(values)
                if own.any():
                    proposals.append(np.where(own, values, -np.inf))
        return np.stack(proposals, axis=1) if proposals else np.empty((len(held_out.labels), 0))


@dataclass(frozen=True)
class Confidence:
    """The samples of each label by the model's own loss; looks at no embedding and fits nothing."""

    def propose(self, validation: Samples, held_out: Samples) -> NDArray[np.float64]:  # noqa: ARG002 - the interface
        """One proposal a label."""
        return np.stack([np.where(held_out.labels == label, held_out.losses, -np.inf) for label in (0, 1)], axis=1)


@dataclass(frozen=True)
class Random:
    """Scores by lot; as many proposals as the method with the most, to show what the best of so many gets by luck."""

    proposals: int = 25
    seed: int = 0

    def propose(self, validation: Samples, held_out: Samples) -> NDArray[np.float64]:  # noqa: ARG002 - the interface
        """Draw them."""
        return np.random.default_rng(self.seed).random((len(held_out.labels), self.proposals))
