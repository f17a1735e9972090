"""Methods of slice discovery: each is fitted on one half of the samples and proposes slices of the other.

A method returns (n_test, proposals), the score of every held-out sample, higher is likelier inside; the best proposal
first, in the method's own order; -inf for a sample that a proposal never shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Domino, Examples, Spotlight
from benchmarks.discovery.planting import Samples
from fdgpu import FailureDirections

Method = Callable[[Samples, Samples], NDArray[np.float64]]


def directions(
    validation: Samples, held_out: Samples, whiten: bool = True, n_directions: int = 1
) -> NDArray[np.float64]:
    """Fdgpu: a failure direction (or several) for each label, hardest samples by decision value.

    It is fitted on whether the thresholded score is the label. A proposal shows samples of its own label only; a
    direction that the fit does not give is not proposed.
    """
    fit = FailureDirections(whiten=whiten, n_directions=n_directions)
    fit.fit(validation.x, validation.labels, validation.correct)
    proposals = []
    for direction in range(n_directions):
        values = -np.asarray(fit.decision_function(held_out.x, held_out.labels, direction))
        for label in (0, 1):
            own = (held_out.labels == label) & ~np.isnan(values)
            if own.any():
                proposals.append(np.where(own, values, -np.inf))
    return np.stack(proposals, axis=1) if proposals else np.empty((len(held_out.labels), 0))


def confidence(_: Samples, held_out: Samples) -> NDArray[np.float64]:
    """The samples of each label by the model's own loss; looks at no embedding and fits nothing."""
    return np.stack([np.where(held_out.labels == label, held_out.losses, -np.inf) for label in (0, 1)], axis=1)


def domino(validation: Samples, held_out: Samples, **settings: Any) -> NDArray[np.float64]:
    """All slices of Domino's mixture, as published: 25 over 128 principal components, of which it shows the first 5."""
    return Domino.fit(_examples(validation), **settings).slice_odds(_examples(held_out))


def spotlight(validation: Samples, held_out: Samples, **settings: Any) -> NDArray[np.float64]:
    """Spotlight's balls of large loss."""
    return Spotlight(**settings).rank(validation.x, validation.losses, held_out.x)


def random(_: Samples, held_out: Samples, proposals: int = 25, seed: int = 0) -> NDArray[np.float64]:
    """Lots; as many proposals as the method with the most, to show what the best of so many gets by luck."""
    return np.random.default_rng(seed).random((len(held_out.labels), proposals))


def _examples(samples: Samples) -> Examples:
    both = np.stack([1 - samples.scores, samples.scores], axis=1)  # (n, 2) probabilities of label 0 and 1
    return Examples(samples.labels, embeddings=samples.x, probabilities=both)
