"""Domino (benchmarks.baselines.mixture) as a method of slice discovery, in the setting it was published with.

As in its paper z is the embedding reduced to 128 principal components, there are 25 components, gamma is 10, and
the five first slices are the ones shown. Samples are ranked by the log odds of their slice: the order of the paper's
posterior, which in 128 dimensions is 1.0 to the last bit for so many samples that they could not be ranked by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.mixture import MixtureFit, log_sum_exp
from benchmarks.baselines.principal import PrincipalComponents
from benchmarks.slices.planting import Samples


@dataclass(frozen=True)
class Domino:
    """All slices of the mixture, largest difference of labels and predictions first; the paper shows the first 5."""

    components: int = 25
    dimensions: int = 128
    gamma: float = 10.0

    def propose(self, validation: Samples, held_out: Samples) -> NDArray[np.float64]:
        """Return (n_test, components) log odds of each slice against all others."""
        space = PrincipalComponents.fit(validation.x, self.dimensions)
        fit = MixtureFit(self.components, self.gamma)
        mixture, _ = fit(space(validation.x), validation.labels, _of_both(validation))
        joint = mixture.log_joint(space(held_out.x), held_out.labels, _of_both(held_out), self.gamma)
        odds = [joint[:, j] - log_sum_exp(np.delete(joint, j, axis=1))[:, 0] for j in mixture.order]
        return np.stack(odds, axis=1)


def _of_both(samples: Samples) -> NDArray[np.float64]:
    """Return (n, 2) scores of label 0 and 1."""
    return np.stack([1 - samples.scores, samples.scores], axis=1)
