"""PlaneSpot (Plumb et al., arXiv 2207.04104): clusters of a plane and the model's confidence.

Written after the paper; the confidence's weight and the most components are those of a public port, which was read.

Embeddings are reduced to two dimensions, each scaled to [0, 1]. Beside them stands the model's confidence times 0.025,
so that it hardly moves a cluster that the plane tells apart. A Gaussian mixture with full covariances is fitted to the
three, with the number of components, from 1 to 32, that has the lowest BIC. Components come in the order of their error
rate times their number of errors.

Where this is not the paper:

- t-SNE of 50 principal components stands for scvis, a variational autoencoder with t-SNE's objective. As t-SNE has no
  network that places others, a sample lies at the mean of its five nearest neighbours among those that were reduced.
- At most 2000 samples are reduced, in 500 steps, and the mixture is fitted to these. The number of components rises
  until four in a row have not lowered the BIC. All of both would take most of the time of the whole protocol.
- The paper's tasks are binary, and the confidence is that of class 1. Of more than two classes it is that of the
  example's label, so that the others are one class.

Examples are ranked within a class by the error rate that their components have on average.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.domino import PrincipalComponents
from benchmarks.baselines.ranking import Examples
from fdgpu.errors import InputError

WEIGHT, MOST_COMPONENTS, SHOWN = 0.025, 32, 10
REDUCED, DIMENSIONS, NEIGHBOURS, FEWEST = 2000, 50, 5, 100
STEPS, PATIENCE = 500, 4


@dataclass(frozen=True)
class Plane:
    """Places any embedding among those that t-SNE has placed: ``places`` (m, 2) in [0, 1] of ``points`` (m, k)."""

    space: PrincipalComponents
    points: NDArray[np.float64]
    places: NDArray[np.float64]

    @classmethod
    def fit(cls, embeddings: NDArray[np.float32], seed: int) -> Plane:
        """Reduce (m, d)."""
        from sklearn.manifold import TSNE

        space = PrincipalComponents.fit(embeddings, min(DIMENSIONS, len(embeddings)))
        points = space(embeddings)
        places = TSNE(init="pca", max_iter=STEPS, random_state=seed).fit_transform(points).astype(np.float64)
        low, high = places.min(axis=0), places.max(axis=0)
        return cls(space, points, (places - low) / (high - low))

    def __call__(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (n, 2)."""
        from sklearn.neighbors import KNeighborsRegressor

        near = KNeighborsRegressor(NEIGHBOURS, algorithm="brute").fit(self.points, self.places)
        return np.asarray(near.predict(self.space(embeddings)))


@dataclass(frozen=True)
class PlaneSpot:
    """A fitted mixture.

    Attributes:
        plane: of embeddings.
        mixture: scikit-learn's.
        error_rates: (k,) of each component among the examples that it was fitted to.
        order: (k,) components, the most important first, without those that hold no errors.
    """

    plane: Plane
    mixture: Any
    error_rates: NDArray[np.float64]
    order: NDArray[np.int64]

    @classmethod
    def fit(cls, held_out: Examples, *, most: int = MOST_COMPONENTS, seed: int = 0) -> PlaneSpot:
        """Fit to labels, embeddings and probabilities of examples that the base model was not trained on.

        Args:
            held_out: at least 100, with all three.
            most: components that are tried.
            seed: of the examples that are reduced, of t-SNE and of the mixtures.

        Raises:
            InputError: if a part of ``held_out`` is missing, there are too few, or ``most`` is not at least 1.
        """
        labels, probabilities = held_out.class_ids(), held_out.distributions("PlaneSpot")
        embeddings = held_out.matrix("embeddings", "PlaneSpot").astype(np.float32)
        if len(labels) < FEWEST:
            raise InputError(f"held_out has {len(labels)} examples: a plane needs at least {FEWEST}")
        if most < 1:
            raise InputError(f"most is {most}: try at least 1 component; PlaneSpot tries up to {MOST_COMPONENTS}")
        rows = np.random.default_rng(seed).permutation(len(labels))[:REDUCED]
        plane = Plane.fit(embeddings[rows], seed)
        mixture = _mixture(_beside(plane.places, labels[rows], probabilities[rows]), most, seed)
        component = mixture.predict(_beside(plane(embeddings), labels, probabilities))
        wrong = probabilities.argmax(axis=1) != labels
        errors = np.bincount(component, wrong, mixture.n_components)
        rates = errors / np.bincount(component, minlength=mixture.n_components).clip(1)
        order = np.argsort(-rates * errors, kind="stable")
        return cls(plane, mixture, rates, order[errors[order] > 0])

    def slice_odds(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n, k) log odds of the first ten components against all others; above 0 is inside."""
        share = self._shares(examples)[:, self.order[:SHOWN]]
        tiny = np.finfo(np.float64).tiny
        return np.asarray(np.log(share.clip(tiny)) - np.log((1 - share).clip(tiny)))

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,), lower is harder: one minus the error rate of the example's components."""
        return np.asarray(1 - self._shares(examples) @ self.error_rates)

    def _shares(self, examples: Examples) -> NDArray[np.float64]:
        embeddings = examples.matrix("embeddings", "PlaneSpot").astype(np.float32)
        beside = _beside(self.plane(embeddings), examples.class_ids(), examples.distributions("PlaneSpot"))
        return np.asarray(self.mixture.predict_proba(beside))


def _beside(
    places: NDArray[np.float64], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (n, 3)."""
    of = np.ones_like(labels) if probabilities.shape[1] == 2 else labels
    confidence = np.take_along_axis(probabilities, of[:, None], axis=1)
    return np.concatenate([places, WEIGHT * confidence], axis=1)


def _mixture(rows: NDArray[np.float64], most: int, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # EM that has not settled has a higher BIC
        best, lowest = None, np.inf
        for k in range(1, most + 1):
            one = GaussianMixture(k, random_state=seed).fit(rows)
            if (bic := one.bic(rows)) < lowest:
                best, lowest = one, bic
            elif best is not None and k - best.n_components >= PATIENCE:
                break
    return best
