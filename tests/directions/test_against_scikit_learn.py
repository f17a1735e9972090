"""The whole choice of C against scikit-learn's ``SVC``, fold by fold and C by C.

One thing is not compared as it comes: where every alpha sits at its bound, b may be anything in an interval, of which
libsvm's rule takes the middle. Its floating-point sums of steps, however, mostly leave one alpha an ulp short of its
bound; libsvm then takes that sample for a free one, and b lands on an end of the interval instead (every prediction
is then the same). :func:`oracle_intercept` applies libsvm's own rule to libsvm's own alphas with that ulp removed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC

from fdgpu import FailureDirections
from fdgpu.directions.batch import Directions
from fdgpu.directions.labellings import Layout, permuted_labels
from fdgpu.directions.numba_backend import NumbaBackend
from fdgpu.directions.parameters import SolverSettings
from tests.conftest import ClassData, make_class
from tests.directions.planting import class_samples

COSTS = tuple(np.logspace(-6, 0, 7))
SETTINGS = SolverSettings(COSTS, cv=2, tol=1e-3, max_iter=10**6)
CASES = [
    (20, 64, 0.5, 1.0),
    (63, 64, 0.2, 1.0),
    (100, 512, 0.5, 2.0),
    (256, 64, 0.2, 2.0),
    (256, 512, 0.05, 2.0),
    (500, 512, 0.5, 0.0),
    (1000, 64, 0.05, 1.0),
    (1000, 64, 0.5, 1.0),
]


def oracle(cost: float) -> SVC:
    return SVC(kernel="linear", class_weight="balanced", C=cost)


def oracle_intercept(fitted: SVC, x: np.ndarray, right: np.ndarray) -> float:
    bound = fitted.C * len(right) / (2 * np.where(right, right.sum(), (~right).sum()))
    alpha = np.zeros(len(right))
    alpha[fitted.support_] = np.abs(fitted.dual_coef_[0])
    inside = (alpha > 1e-9 * bound) & (alpha < (1 - 1e-9) * bound)
    if inside.any():
        return float(fitted.intercept_[0])
    at_bound = alpha >= (1 - 1e-9) * bound
    residual = np.where(right, 1.0, -1.0) - x @ fitted.coef_[0]
    may_rise, may_fall = right != at_bound, right == at_bound
    return float((residual[may_rise].max() + residual[may_fall].min()) / 2)


def oracle_decisions(data: ClassData, cost: float) -> np.ndarray:
    """Held-out decision values of scikit-learn, (n,)."""
    x = data.x.astype(np.float64)
    decisions = np.empty(len(x))
    for train, held in StratifiedKFold(2).split(x, data.right):
        fitted = oracle(cost).fit(x[train], data.right[train])
        decisions[held] = x[held] @ fitted.coef_[0] + oracle_intercept(fitted, x[train], data.right[train])
    return decisions


def solved(data: ClassData, threads: int) -> Directions[torch.Tensor]:
    batch = NumbaBackend(threads).open(class_samples(data.x, data.right), SETTINGS)
    return batch.one_direction()


@pytest.mark.parametrize(("n", "d", "errors", "separation"), CASES)
def test_scores_and_choice_of_cost(n: int, d: int, errors: float, separation: float) -> None:
    data = make_class(n, d, errors, separation, seed=n + d)
    solution = solved(data, threads=2)
    folds = [held for _, held in StratifiedKFold(2).split(data.x, data.right)]
    expected, doubt = np.empty(len(COSTS)), np.zeros(len(COSTS))
    for c, cost in enumerate(COSTS):
        decisions = oracle_decisions(data, cost)
        expected[c] = np.mean([balanced_accuracy_score(data.right[h], decisions[h] > 0) for h in folds])
        # both solvers stop within tol: a held-out value that close to zero may lie on either side of it, and then
        # moves the score by its share of a recall
        near = np.abs(decisions) < SETTINGS.tol * min(1.0, float(np.ptp(decisions)))
        for held in folds:
            for kind in (True, False):
                of_kind = data.right[held] == kind
                doubt[c] += near[held][of_kind].sum() / of_kind.sum() / 4
    assert (np.abs(solution.cv_scores[0, 0].numpy() - expected) <= doubt + 1e-6).all()
    assert (doubt < 0.06).all()
    best = int(np.argmax(expected))
    if (expected + doubt)[np.arange(len(COSTS)) != best].max() < expected[best] - doubt[best]:
        assert int(solution.C_index) == best
    if not doubt.any():
        assert int(solution.C_index) == best


@pytest.mark.parametrize(("n", "d", "separation"), [(64, 64, 1.0), (256, 64, 1.0), (400, 512, 1.5)])
def test_balanced_classes_need_no_correction_of_the_oracle(n: int, d: int, separation: float) -> None:
    data = make_class(n, d, 0.5, separation, seed=n)  # weights are 1: libsvm's sums are exact
    solution = solved(data, threads=1)
    for cost, score in zip(COSTS, solution.cv_scores[0, 0].tolist(), strict=True):
        raw = cross_val_score(oracle(cost), data.x.astype(np.float64), data.right, cv=2, scoring="balanced_accuracy")
        assert score == pytest.approx(raw.mean(), abs=2 / n)


@pytest.mark.parametrize(("n", "d", "errors"), [(63, 64, 0.2), (256, 512, 0.05), (1000, 64, 0.3)])
@pytest.mark.parametrize("cost", [0.1, 1.0])
def test_the_refit(n: int, d: int, errors: float, cost: float) -> None:
    data = make_class(n, d, errors, 1.0, seed=n)
    fit = FailureDirections(Cs=[cost], whiten=False).fit(data.x, np.zeros(n, int), data.right)
    fitted = oracle(cost).fit(data.x.astype(np.float64), data.right)
    w = fit.coef_[0, 0].astype(np.float64)
    assert np.linalg.norm(w - fitted.coef_[0]) <= 2e-3 * np.linalg.norm(fitted.coef_[0])
    expected = data.x @ fitted.coef_[0] + oracle_intercept(fitted, data.x.astype(np.float64), data.right)
    ours = fit.decision_function(data.x, np.zeros(n, int))
    assert np.abs(ours - expected).max() <= 1e-2 * np.std(expected)


def test_p_values_are_those_of_a_loop_over_scikit_learns_svc_with_the_same_draws() -> None:
    """Twenty classes, all of it by scikit-learn but the draws; b by libsvm's rule, see the top of the file."""
    costs, permutations, n, d = (1e-2, 1.0), 9, 32, 8
    parts = [make_class(n, d, 0.5, 0.15 * (k % 5), seed=k) for k in range(20)]
    x, right = np.concatenate([one.x for one in parts]), np.concatenate([one.right for one in parts])
    labels = np.repeat(np.arange(20), n)
    fit = FailureDirections(Cs=costs, whiten=False, n_permutations=permutations, random_state=3, tol=1e-5)
    fit.fit(x, labels, right)
    layout = Layout.of(class_samples(x, right, [n] * 20), torch.device("cpu"))
    drawn = permuted_labels(layout, 3, 0, permutations).numpy() > 0

    def best_score(rows: np.ndarray, own: np.ndarray) -> float:
        folds = list(StratifiedKFold(2).split(rows, own))
        scores = []
        for cost in costs:
            held_out = []
            for train, held in folds:
                fitted = SVC(kernel="linear", class_weight="balanced", C=cost, tol=1e-6).fit(rows[train], own[train])
                decisions = rows[held] @ fitted.coef_[0] + oracle_intercept(fitted, rows[train], own[train])
                held_out.append(balanced_accuracy_score(own[held], decisions > 0))
            scores.append(np.mean(held_out))
        return max(scores)

    for k, p in enumerate(fit.p_value_[:, 0]):
        rows = x[labels == k].astype(np.float64)
        observed = best_score(rows, right[labels == k])
        null = np.array([best_score(rows, one[labels == k]) for one in drawn])
        assert p == pytest.approx((1 + (null >= observed - 1e-9).sum()) / (1 + permutations)), k
