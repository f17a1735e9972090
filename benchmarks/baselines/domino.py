"""Domino (Eyuboglu et al., ICLR 2022, arXiv 2203.14960), written after the paper: slices, and a ranking by them.

Its error-aware mixture model is fitted to the principal components z of embeddings. A slice j has a weight pi_j, a
Gaussian over z with a diagonal covariance, a distribution over labels and one over predictions, both over classes. EM
climbs

    sum_i log sum_j  pi_j  N(z_i | mu_j, sigma_j)  P(y_i | j)^gamma  P(yhat_i | j)^gamma

where yhat_i are the model's probabilities, log P(yhat_i | j) = sum_c yhat_ic log phat_jc. As in the paper components
start in the cells of the confusion matrix, and the slices whose labels and predictions differ most, by the largest
|phat_jc - p_jc| of a class, come first. How components that share a cell are told apart at the start is a choice of
this file: k-means within the cell.

Samples are ranked by the log odds of their slice, which have the order of the paper's posterior: in 128 dimensions that
is 1.0 to the last bit for so many samples that they could not be ranked by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines.ranking import Examples
from fdgpu.errors import InputError

SLICES, GAMMA = 2, 10.0  # as the paper on failure directions sets them (B.1.5)
COMPONENTS, DIMENSIONS = 25, 128  # Domino's own
SMALLEST_P = 1e-4  # of a label or prediction in a slice: one odd sample must not cost a slice everything
SMALLEST_VARIANCE = 1e-3  # of a slice, over that of all samples: a slice of one sample is not infinitely likely


@dataclass(frozen=True)
class PrincipalComponents:
    """The leading ones: x (n, d) to (x - mean) basis (n, m); mean (d,), basis (d, m) orthonormal columns."""

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]

    @classmethod
    def fit(cls, x: NDArray[np.float32], dimensions: int) -> PrincipalComponents:
        """Take them from the covariance's eigenvectors; all of them where x has fewer columns than ``dimensions``.

        Raises:
            InputError: for less than one dimension.
        """
        if not isinstance(dimensions, Integral) or dimensions < 1:
            raise InputError(f"dimensions is {dimensions}: use a whole number of at least 1; Domino takes 128")
        mean = x.mean(axis=0)
        centred = x - mean
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))  # ascending
        return cls(mean, np.ascontiguousarray(vectors[:, ::-1][:, :dimensions]).astype(np.float32))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Project.

        Raises:
            InputError: if x has another number of columns than the components were taken from.
        """
        if x.shape[1] != len(self.mean):
            raise InputError(
                f"embeddings has {x.shape[1]} columns, the principal components are of {len(self.mean)}: pass "
                "embeddings of the same space"
            )
        return ((x - self.mean) @ self.basis).astype(np.float64)


@dataclass(frozen=True)
class Mixture:
    """Parameters of k slices: weights (k,), means and variances (k, d), p and p_hat (k, c): labels, predictions."""

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    variances: NDArray[np.float64]
    p: NDArray[np.float64]
    p_hat: NDArray[np.float64]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(k,) slices, the one whose labels and predictions differ most first."""
        return np.argsort(-np.abs(self.p - self.p_hat).max(axis=1), kind="stable")

    def log_joint(
        self, z: NDArray[np.float64], labels: NDArray[np.int64], probabilities: NDArray[np.float64], gamma: float
    ) -> NDArray[np.float64]:
        """Return (n, k) log of every term of the sum over slices, from z (n, d), labels (n,), probabilities (n, c)."""
        precision = 1 / self.variances
        distance = z**2 @ precision.T - 2 * z @ (self.means * precision).T + (self.means**2 * precision).sum(axis=1)
        gauss = -0.5 * (distance + np.log(2 * np.pi * self.variances).sum(axis=1))
        discrete = np.log(self.p).T[labels] + probabilities @ np.log(self.p_hat).T
        return np.asarray(np.log(self.weights) + gauss + gamma * discrete)


def log_sum_exp(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 1) log of the sum of exponentials along a row."""
    top = rows.max(axis=1, keepdims=True)
    return np.asarray(top + np.log(np.exp(rows - top).sum(axis=1, keepdims=True)))


def _maximise(
    responsibility: NDArray[np.float64],
    z: NDArray[np.float64],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    floor: NDArray[np.float64],
) -> Mixture:
    """M step. Bounds on variances and probabilities are kept by clipping: for two classes the optimum within them."""
    mass = responsibility.sum(axis=0) + 1e-12
    means = responsibility.T @ z / mass[:, None]
    variances = np.maximum(responsibility.T @ z**2 / mass[:, None] - means**2, floor)
    one_hot = np.eye(probabilities.shape[1])[labels]
    p, p_hat = (_bounded(responsibility.T @ shares / mass[:, None]) for shares in (one_hot, probabilities))
    return Mixture(mass / mass.sum(), means, variances, p, p_hat)


def _bounded(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows that sum to one, no entry far below the smallest p."""
    clipped = np.clip(p, SMALLEST_P, 1 - SMALLEST_P)
    return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def fit_mixture(
    z: NDArray[np.float64],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    *,
    components: int = COMPONENTS,
    gamma: float = GAMMA,
    iterations: int = 100,
    tol: float = 1e-4,
    seed: int = 0,
) -> tuple[Mixture, list[float]]:
    """Run EM.

    Args:
        z: (n, d).
        labels: (n,) from 0.
        probabilities: (n, c) of the model.
        components: slices.
        gamma: weight of labels and predictions in the likelihood.
        iterations: most steps.
        tol: smallest rise of the mean log likelihood after which another step is taken.
        seed: of the k-means by which components start.

    Returns:
        The mixture, and the mean log likelihood before every step.

    Raises:
        InputError: for less than two components, or a gamma that is negative or not finite.
    """
    if not isinstance(components, Integral) or components < 2:
        raise InputError(f"components is {components}: a mixture tells slices apart, use a whole number of at least 2")
    if not 0 <= gamma < np.inf:
        raise InputError(f"gamma is {gamma}: use 0 or more; Domino takes 10")
    floor = SMALLEST_VARIANCE * z.var(axis=0) + 1e-12
    mixture = _maximise(_start(z, labels, probabilities, components, seed), z, labels, probabilities, floor)
    history: list[float] = []
    for _ in range(iterations):
        joint = mixture.log_joint(z, labels, probabilities, gamma)
        total = log_sum_exp(joint)
        history.append(float(total.mean()))
        if len(history) > 1 and history[-1] - history[-2] < tol:
            break
        mixture = _maximise(np.exp(joint - total), z, labels, probabilities, floor)
    return mixture, history


def _start(
    z: NDArray[np.float64], labels: NDArray[np.int64], probabilities: NDArray[np.float64], components: int, seed: int
) -> NDArray[np.float64]:
    """Deal components to the cells of the confusion matrix in turn, and split a cell by k-means."""
    cell = cells(labels, probabilities)
    filled = np.unique(cell)
    responsibility = np.zeros((len(z), components))
    for turn, value in enumerate(filled):
        rows = np.flatnonzero(cell == value)
        own = np.arange(components)[turn :: len(filled)][: len(rows)]
        if len(own):
            responsibility[rows, own[_clusters(z[rows], len(own), seed)]] = 1.0
    return 0.99 * responsibility + 0.01 / components  # no component starts empty


def cells(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (n,) cells of the confusion matrix, numbered row by row."""
    return np.asarray(probabilities.shape[1] * labels + _predicted(probabilities), np.int64)


def _predicted(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (n,) predicted classes; of equal ones the last, so that one half of two classes is the second."""
    classes = probabilities.shape[1]
    return np.asarray(classes - 1 - probabilities[:, ::-1].argmax(axis=1), np.int64)


def _clusters(z: NDArray[np.float64], count: int, seed: int) -> NDArray[np.int64]:
    """Return (n,) clusters of k-means."""
    if count == 1:
        return np.zeros(len(z), np.int64)
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError:
        raise InputError("Domino starts from scikit-learn's k-means: pip install scikit-learn") from None
    return np.asarray(MiniBatchKMeans(count, n_init=1, random_state=seed).fit_predict(z), np.int64)


@dataclass(frozen=True)
class Domino:
    """The mixture of held-out examples; ranks by the worst slices of an example's class, or by each slice.

    Attributes:
        space: principal components of the held-out embeddings.
        mixture: over all classes.
        slices: how many of its components are shown of each class.
        gamma: weight of labels and predictions in the likelihood.
    """

    space: PrincipalComponents
    mixture: Mixture
    slices: int
    gamma: float

    @classmethod
    def fit(
        cls,
        held_out: Examples,
        *,
        slices: int = SLICES,
        components: int = COMPONENTS,
        gamma: float = GAMMA,
        dimensions: int = DIMENSIONS,
        seed: int = 0,
    ) -> Domino:
        """Fit the mixture to ``held_out``; it has to hold labels, embeddings and probabilities.

        Args:
            held_out: examples that the base model was not trained on.
            slices: how many components are shown of each class.
            components: of the mixture, over all classes; at least one for each pair of class and prediction in
                ``held_out``.
            gamma: weight of labels and predictions in the likelihood.
            dimensions: principal components that are kept of the embeddings.
            seed: of the k-means by which components start.

        Raises:
            InputError: if one part of ``held_out`` is missing, a setting is out of its range, or scikit-learn, by which
                components start, is not installed.
        """
        if not 1 <= slices < components:
            raise InputError(f"slices is {slices}, components is {components}: show at least 1, and not all of them")
        embeddings = held_out.matrix("embeddings", "Domino").astype(np.float32)
        labels, probabilities = held_out.class_ids(), held_out.distributions("Domino")
        _check_enough(components, len(np.unique(cells(labels, probabilities))))
        space = PrincipalComponents.fit(embeddings, dimensions)
        mixture, _ = fit_mixture(
            space(embeddings), labels, probabilities, components=components, gamma=gamma, seed=seed
        )
        return cls(space, mixture, slices, gamma)

    def hardness(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n,) log odds against the slices of the example's class in which labels and predictions differ most.

        Raises:
            InputError: if labels, embeddings or probabilities are missing, or of another width than Domino was fitted
                on.
        """
        joint, labels = self._log_joint(examples), examples.class_ids()
        out = np.empty(len(labels))
        for label in np.unique(labels).tolist():
            own = labels == label
            worst, rest = np.split(joint[own][:, self._order_of(label)], [self.slices], axis=1)
            out[own] = (log_sum_exp(rest) - log_sum_exp(worst))[:, 0]
        return out

    def slice_odds(self, examples: Examples) -> NDArray[np.float64]:
        """Return (n, components), the log odds of each slice against all others, in the mixture's order.

        Raises:
            InputError: as :meth:`hardness` does.
        """
        joint = self._log_joint(examples)
        odds = [joint[:, j] - log_sum_exp(np.delete(joint, j, axis=1))[:, 0] for j in self.mixture.order]
        return np.stack(odds, axis=1)

    def _log_joint(self, examples: Examples) -> NDArray[np.float64]:
        z = self.space(examples.matrix("embeddings", "Domino").astype(np.float32))
        labels, probabilities = examples.class_ids(), examples.distributions("Domino")
        if probabilities.shape[1] != self.mixture.p.shape[1]:
            raise InputError(
                f"probabilities is of {probabilities.shape[1]} classes, Domino was fitted on "
                f"{self.mixture.p.shape[1]}: pass those of the same model"
            )
        return self.mixture.log_joint(z, labels, probabilities, self.gamma)

    def _order_of(self, label: int) -> NDArray[np.int64]:
        """Return the components, those first that are of this class and differ most.

        Were the slices the worst of all classes, a class without one among them would be ranked by another's.
        """
        differ = np.abs(self.mixture.p - self.mixture.p_hat).max(axis=1)
        return np.argsort(-self.mixture.p[:, label] * differ, kind="stable")


def _check_enough(components: int, filled: int) -> None:
    """With fewer, the classes of the highest ids would start without a component, and rank by those of others."""
    if components < filled:
        raise InputError(
            f"components is {components}, {filled} pairs of class and prediction occur in held_out: use at least "
            f"{filled}, one a pair, or fit fewer classes at a time"
        )
