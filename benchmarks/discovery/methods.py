"""Every rival, each with its own published settings: a problem in, what it found out.

One fit may give several lines, such as Domino's five slices that it shows and all that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.baselines import Domino, Examples, PlaneSpot, Spotlight
from benchmarks.baselines.domino import COMPONENTS
from benchmarks.discovery.metric import Found
from benchmarks.discovery.problem import Floats, Problem, Samples
from fdgpu import FailureDirections
from fdgpu.directions.parameters import SearchSettings, SolverSettings

SVM, LATENT, PROBE = "fdgpu, SVM", "fdgpu, latent", "probe told the truth"
OWN, ALONE = " + own loss", ", vectors alone"
PERMUTATIONS, STOP_AFTER = 200, 10  # as an audit tests
SHOWN = 5  # slices that Domino shows
RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)  # times the mean eigenvalue
FEWEST = 5  # samples of either kind that a probe is fitted to

Lines = Mapping[str, Found]
Method = Callable[[Problem], Lines]


def confidence(problem: Problem) -> Lines:
    """The model's own loss; a sample is inside where its label has a probability below a half."""
    return {"confidence": _by_hardness(np.exp(-problem.test.loss), problem)}


def trained(problem: Problem) -> Lines:
    """The confidence of early-stopped and of biased networks, where they were trained."""
    return {name: _by_hardness(hardness, problem) for name, hardness in problem.trained.items()}


def random(problem: Problem) -> Lines:
    """Lots: as many proposals as the method with the most has, to show what the best of so many gets by luck."""
    lots = np.random.default_rng(problem.seed).random((len(problem.test.labels), COMPONENTS))
    return {"random": Found(lots - 0.9, lots[:, 0])}


def domino(problem: Problem) -> Lines:
    """Slices of 25 components, or of one for every pair of class and prediction; ranks by a class's two worst."""
    val, test = _examples(problem.val), _examples(problem.test)
    pairs = np.stack([problem.val.labels, problem.val.probabilities.argmax(axis=1)])
    fit = Domino.fit(val, components=max(COMPONENTS, len(np.unique(pairs, axis=1).T)), seed=problem.seed)
    odds, suspicion = fit.slice_odds(test), -fit.hardness(test)
    return {"Domino": Found(odds[:, :SHOWN], suspicion), "Domino, all slices": Found(odds, suspicion)}


def spotlight(problem: Problem) -> Lines:
    """Five balls of large loss."""
    return {"Spotlight": Found(Spotlight().rank(problem.val.x, problem.val.loss, problem.test.x))}


def planespot(problem: Problem) -> Lines:
    """Ten clusters of a plane and the confidence."""
    fit, test = PlaneSpot.fit(_examples(problem.val), seed=problem.seed), _examples(problem.test)
    return {"PlaneSpot": Found(fit.slice_odds(test), -fit.hardness(test))}


def svm(problem: Problem) -> Lines:
    """The paper's, hardest samples by decision value; tested where nothing is planted."""
    fit = FailureDirections.from_settings(SolverSettings(), _tested(problem))
    val, test = problem.val, problem.test
    fit.fit(val.x, val.labels, val.correct, reference=problem.reference, groups=problem.groups)
    return {
        SVM: _by_class(-np.asarray(fit.decision_function(test.x, test.labels)), test.labels, _p_values(fit, problem))
    }


def latent(problem: Problem) -> Lines:
    """A hidden failure class: with what the sample's own loss adds, and by the vectors alone."""
    fit = FailureDirections.from_settings(SolverSettings(method="latent"), _tested(problem))
    val, test = problem.val, problem.test
    fit.fit(val.x, val.labels, val.correct, reference=problem.reference, groups=problem.groups, loss=val.loss)
    p_values = _p_values(fit, problem)
    values = {LATENT: fit.decision_function(test.x, test.labels, loss=test.loss)}
    values[LATENT + ALONE] = fit.decision_function(test.x, test.labels)
    return {name: _by_class(-np.asarray(one), test.labels, p_values) for name, one in values.items()}


def probe(problem: Problem) -> Lines:
    """The ceiling: ridge regressions of the truth, one for each class and slice, alone and with the own margin."""
    val, test = problem.val, problem.test
    alone: list[Floats] = []
    with_margin: list[Floats] = []
    for label in np.unique(test.labels):
        own, other = val.labels == label, test.labels == label
        for inside in problem.val_truth[own].T:
            if min(inside.sum(), (~inside).sum()) < FEWEST:
                continue
            left_out, predicted = ridge(val.x[own], inside, test.x[other])
            margins = _margin(val.loss[own]), _margin(test.loss[other])
            for columns, scores in (
                (alone, _logistic(inside, (left_out,), (predicted,))),
                (with_margin, _logistic(inside, (left_out, margins[0]), (predicted, margins[1]))),
            ):
                columns.append(np.full(len(test.labels), -np.inf))
                columns[-1][other] = scores
    if not alone:
        return {}
    return {PROBE: Found(np.stack(alone, axis=1)), PROBE + OWN: Found(np.stack(with_margin, axis=1))}


METHODS: dict[str, Method] = {
    one.__name__: one for one in (confidence, trained, domino, spotlight, planespot, random, svm, latent, probe)
}
OURS = ("svm", "latent")


def ridge(x: NDArray[np.float32], y: NDArray[np.bool_], other: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Regress y (n,) on x (n, d) with the penalty, of five, that leaves the least error on samples that are left out.

    Returns:
        (n,) the prediction of each by all the others, and (m,) of ``other`` (m, d).
    """
    mean, centre = x.mean(axis=0, dtype=np.float64), float(y.mean())
    z, target = x - mean, y - centre
    values, vectors = np.linalg.eigh(z.T @ z)
    scores, values = z @ vectors, values.clip(0)
    fits = []
    for penalty in RIDGES:
        shrunk = 1 / (values + penalty * values.mean())
        w = shrunk * (scores.T @ target)
        leverage = 1 / len(x) + (scores**2) @ shrunk
        left_out = target - (target - scores @ w) / (1 - leverage).clip(1e-6)
        fits.append((float(((target - left_out) ** 2).mean()), left_out, w))
    _, left_out, w = min(fits, key=lambda one: one[0])
    return left_out + centre, (other - mean) @ vectors @ w + centre


def _logistic(inside: NDArray[np.bool_], fitted: tuple[Floats, ...], others: tuple[Floats, ...]) -> Floats:
    """Return (m,) log odds, of features that are standardised."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(np.stack(fitted, axis=1), inside)
    return np.asarray(model.decision_function(np.stack(others, axis=1)))


def _margin(loss: Floats) -> Floats:
    """Return the log odds of the true class, between ±8."""
    return np.asarray(-loss - np.log(-np.expm1(-loss).clip(-1, -1e-12))).clip(-8, 8)


def _by_hardness(hardness: Floats, problem: Problem) -> Found:
    """Propose each class's samples of low probability."""
    values = -np.log(2) - np.log(np.maximum(hardness, 1e-300))
    return _by_class(values, problem.test.labels, None)


def _by_class(values: Floats, labels: NDArray[np.int64], p_values: Floats | None) -> Found:
    """Propose each class, those that have values."""
    own = (labels == label for label in np.unique(labels))
    known = [rows & ~np.isnan(values) for rows in own]
    columns = [np.where(rows, values, -np.inf) for rows in known if rows.any()]
    proposals = np.stack(columns, axis=1) if columns else np.empty((len(labels), 0))
    return Found(proposals, np.where(np.isnan(values), -np.inf, values), p_values)


def _tested(problem: Problem) -> SearchSettings:
    return SearchSettings(n_permutations=PERMUTATIONS, stop_after=STOP_AFTER) if _is_null(problem) else SearchSettings()


def _is_null(problem: Problem) -> bool:
    return problem.setting == "null"


def _p_values(fit: FailureDirections, problem: Problem) -> Floats | None:
    """Return (classes,) of those that were tested."""
    if not _is_null(problem):
        return None
    p = np.asarray(fit.p_value_, np.float64).reshape(-1)
    return p[~np.isnan(p)]


def _examples(samples: Samples) -> Examples:
    return Examples(samples.labels, embeddings=samples.x, probabilities=samples.probabilities)
