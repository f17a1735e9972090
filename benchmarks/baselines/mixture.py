"""Domino's error-aware mixture model (Eyuboglu et al., ICLR 2022, arXiv 2203.14960), written after the paper.

A slice j has a weight pi_j, a Gaussian over embeddings with a diagonal covariance, a distribution over labels and one
over predictions, both over classes. EM climbs

    sum_i log sum_j  pi_j  N(z_i | mu_j, sigma_j)  P(y_i | j)^gamma  P(yhat_i | j)^gamma

where yhat_i are the model's probabilities, log P(yhat_i | j) = sum_c yhat_ic log phat_jc. As in the paper components
start in the cells of the confusion matrix, and the slices whose labels and predictions differ most, by the largest
|phat_jc - p_jc| of a class, come first. How components that share a cell are told apart at the start is a choice of
this file: k-means within the cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from fdgpu.errors import InputError

SMALLEST_P = 1e-4  # of a label or prediction in a slice: one odd sample must not cost a slice everything
SMALLEST_VARIANCE = 1e-3  # of a slice, over that of all samples: a slice of one sample is not infinitely likely


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


def maximise(
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


@dataclass(frozen=True)
class MixtureFit:
    """How EM runs: components, the weight gamma of labels and predictions, most steps, and when it stops.

    ``tol`` is of the rise of the mean log likelihood in a step; ``seed`` is of the start.

    Raises:
        InputError: for less than two components, or a gamma that is negative or not finite.
    """

    components: int = 25
    gamma: float = 10.0
    iterations: int = 100
    tol: float = 1e-4
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.components, Integral) or self.components < 2:
            raise InputError(
                f"components is {self.components}: a mixture tells slices apart, use a whole number of at least 2"
            )
        if not 0 <= self.gamma < np.inf:
            raise InputError(f"gamma is {self.gamma}: use 0 or more; Domino takes 10")

    def __call__(
        self, z: NDArray[np.float64], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> tuple[Mixture, list[float]]:
        """Run EM on z (n, d), labels (n,) from 0 and probabilities (n, c) of the model.

        Returns:
            The mixture, and the mean log likelihood before every step.
        """
        floor = SMALLEST_VARIANCE * z.var(axis=0) + 1e-12
        mixture = maximise(self._start(z, labels, probabilities), z, labels, probabilities, floor)
        history: list[float] = []
        for _ in range(self.iterations):
            joint = mixture.log_joint(z, labels, probabilities, self.gamma)
            total = log_sum_exp(joint)
            history.append(float(total.mean()))
            if len(history) > 1 and history[-1] - history[-2] < self.tol:
                break
            mixture = maximise(np.exp(joint - total), z, labels, probabilities, floor)
        return mixture, history

    def _start(
        self, z: NDArray[np.float64], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Deal components to the cells of the confusion matrix in turn, and split a cell by k-means."""
        cell = cells(labels, probabilities)
        filled = np.unique(cell)
        responsibility = np.zeros((len(z), self.components))
        for place, value in enumerate(filled):
            rows = np.flatnonzero(cell == value)
            own = np.arange(self.components)[place :: len(filled)][: len(rows)]
            if len(own):
                responsibility[rows, own[_clusters(z[rows], len(own), self.seed)]] = 1.0
        return 0.99 * responsibility + 0.01 / self.components  # no component starts empty


def cells(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (n,) cells of the confusion matrix, numbered row by row."""
    return np.asarray(probabilities.shape[1] * labels + _said(probabilities), np.int64)


def _said(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
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
        raise InputError("Domino starts from scikit-learn's k-means: pip install 'fdgpu[baselines]'") from None
    return np.asarray(MiniBatchKMeans(count, n_init=1, random_state=seed).fit_predict(z), np.int64)
