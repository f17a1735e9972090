"""The mixture model: EM climbs, its parts are likelihoods, its slices are those that were there."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from benchmarks.baselines.domino import Mixture, fit_mixture, log_sum_exp
from fdgpu.errors import InputError


def blobs(n: int = 900, d: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three groups: two on which labels and scores agree, one with label 1 and low scores."""
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    z = rng.normal(size=(n, d)) + 3 * rng.normal(size=(3, d))[group]
    labels = (group > 0).astype(np.int64)
    scores = np.where(group == 1, rng.beta(8, 2, n), rng.beta(2, 8, n))
    return z, labels, np.stack([1 - scores, scores], axis=1), group


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("gamma", [0.0, 1.0, 10.0])
def test_likelihood_never_falls(seed: int, gamma: float) -> None:
    z, labels, scores, _ = blobs(seed=seed)
    _, history = fit_mixture(z, labels, scores, components=7, gamma=gamma, tol=-1.0, iterations=60, seed=seed)
    assert len(history) == 60
    assert np.diff(history).min() > -1e-9
    assert history[-1] > history[0] + 0.01


def test_joint_is_the_products_logarithm() -> None:
    rng = np.random.default_rng(0)
    mixture = Mixture(
        np.array([0.3, 0.7]),
        rng.normal(size=(2, 4)),
        rng.uniform(0.5, 2, (2, 4)),
        np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]]),
        np.array([[0.3, 0.3, 0.4], [0.6, 0.2, 0.2]]),
    )
    z, labels = rng.normal(size=(5, 4)), np.array([0, 1, 1, 2, 1])
    probabilities = rng.dirichlet(np.ones(3), 5)
    joint = mixture.log_joint(z, labels, probabilities, gamma=3.0)
    for i in range(5):
        for j in range(2):
            gauss = multivariate_normal(mixture.means[j], np.diag(mixture.variances[j])).logpdf(z[i])
            own = np.log(mixture.p[j, labels[i]])
            soft = sum(probabilities[i, c] * np.log(mixture.p_hat[j, c]) for c in range(3))
            assert joint[i, j] == pytest.approx(np.log(mixture.weights[j]) + gauss + 3 * (own + soft))
    np.testing.assert_allclose(log_sum_exp(joint)[:, 0], np.log(np.exp(joint).sum(axis=1)))


def test_slice_with_wrong_scores_comes_first() -> None:
    z, labels, scores, group = blobs()
    mixture, _ = fit_mixture(z, labels, scores, components=3)
    first = mixture.order[0]
    np.testing.assert_allclose(mixture.means[first], z[group == 2].mean(axis=0), atol=0.3)
    assert mixture.p[first, 1] > 0.9
    assert mixture.p_hat[first, 1] < 0.3
    np.testing.assert_allclose(mixture.p.sum(axis=1), 1)
    assert mixture.weights.sum() == pytest.approx(1)


def test_more_components_than_samples_of_a_cell_and_duplicate_rows_stay_finite() -> None:
    z, labels, scores, _ = blobs(n=40)
    z[:30] = z[0]
    mixture, history = fit_mixture(z, labels, scores, components=25)
    assert np.isfinite(history).all()
    assert (mixture.variances > 0).all()


def test_one_component_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        fit_mixture(*blobs()[:3], components=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"components": 2.5}, "components is 2.5: .* a whole number"),
        ({"gamma": float("nan")}, "gamma is nan: use 0 or more"),
        ({"gamma": float("inf")}, "gamma is inf"),
        ({"gamma": -1.0}, "gamma is -1"),
    ],
)
def test_settings_that_no_mixture_has(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_mixture(*blobs()[:3], **settings)  # type: ignore[arg-type]
