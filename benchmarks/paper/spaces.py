"""The same method in other latent spaces (B.1.6): who has the minority among the hardest there?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper.fitted import Fitted
from benchmarks.paper.lab import find_directions
from benchmarks.paper.rankings import share_in_top
from benchmarks.paper.results import Figure
from benchmarks.paper.sets import Seen
from fdgpu.arrays import to_host
from fdgpu.networks import penultimate

Space = Callable[[Seen], NDArray[np.float32]]  # a set → (n, d) features of its images

CLIP, OWN, OTHER = "CLIP", "the model's own", "another network"


def spaces_of(fitted: Fitted, others: Mapping[str, Space]) -> dict[str, Space]:
    """Return CLIP's space, the base model's last but one layer, and others."""
    workers = fitted.lab.workers
    return {
        CLIP: lambda seen: seen.embeddings,
        OWN: lambda seen: to_host(penultimate(fitted.model, seen.inputs, workers=workers), "the model's own features"),
        **others,
    }


def compare(spaces: Mapping[str, Space], fitted: Fitted, val: Seen, test: Seen, top: list[int]) -> list[Figure]:
    """Find directions in each space, and see what they rank hardest in test and flag in training.

    In the model's own space, the paper remarks, next to no training example is flagged, as it has learned them all; how
    much of the training set's minority is flagged in each space says whether that is so here.
    """
    labels, figures = test.labels.numpy(), []
    for name, space in spaces.items():
        train = space(fitted.train)
        directions = find_directions(replace(fitted.val, embeddings=space(val)), train)
        values = np.asarray(directions.decision_function(space(test), labels), np.float64)
        shares = share_in_top(values, labels, test.minority.numpy(), top)
        figures += [Figure("minority in top K, by space", name, share, k) for k, share in shares.items()]
        flagged = np.asarray(directions.decision_function(train, fitted.train.labels.numpy())) < 0
        minority = fitted.train.minority.numpy()
        figures.append(Figure("flagged of the training set's minority", name, float(flagged[minority].mean())))
    return figures
