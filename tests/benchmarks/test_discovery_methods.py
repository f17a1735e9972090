"""Every method finds a slice that is easy to find, and lots do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from benchmarks.baselines import Examples, PlaneSpot, Spotlight, planespot
from benchmarks.baselines.planespot import _beside
from benchmarks.discovery import methods
from benchmarks.discovery.methods import METHODS, OWN, PROBE, RIDGES, SVM, confidence, probe, random, ridge, svm
from benchmarks.discovery.metric import judge, precision_at
from benchmarks.discovery.problem import Problem, Samples
from benchmarks.discovery.worlds import null
from fdgpu.errors import InputError


@pytest.fixture(scope="module")
def easy() -> Problem:
    """Two classes; of class 1 a fifth lies apart, and there every answer is wrong, and elsewhere right."""
    rng = np.random.default_rng(0)
    n = 1200
    labels = rng.integers(2, size=n)
    inside = (labels == 1) & (rng.random(n) < 0.2)
    x = rng.normal(size=(n, 16)) + 3 * np.outer(labels, np.eye(16)[0]) + 8 * np.outer(inside, np.eye(16)[1])
    p = np.where(inside, rng.uniform(0.05, 0.2, n), rng.uniform(0.8, 0.95, n))
    probabilities = np.where(labels[:, None] == np.arange(2), p[:, None], 1 - p[:, None])

    def half(rows: slice) -> Samples:
        return Samples(x[rows].astype(np.float32), labels[rows], probabilities[rows], ~inside[rows])

    val, test = half(slice(600)), half(slice(600, None))
    hardness = {"Learning from Failure": p[600:]}
    return Problem("easy", "", 0, val, test, inside[600:, None], inside[:600, None], val.x, hardness)


@pytest.fixture(autouse=True, scope="module")
def quick() -> Iterator[None]:
    """PlaneSpot reduces fewer samples, and Spotlight looks for one ball, which take most of the time otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planespot, "REDUCED", 200)
        patch.setattr(planespot, "STEPS", 250)
        patch.setattr(methods, "Spotlight", partial(Spotlight, spotlights=1))
        yield


@pytest.mark.parametrize("name", [name for name in METHODS if name != "random"])
def test_finds_an_obvious_slice(easy: Problem, name: str) -> None:
    lines = METHODS[name](easy)
    assert lines
    for line, found in lines.items():
        single, ranked = judge(found, easy), judge(found, easy, [50])
        assert found.proposals.shape[0] == len(found.ranked) == 600, line
        assert min(single["precision@10"], single["precision@25"]) >= 0.9, line
        assert ranked["minority in top 50"] >= 0.9, line
        if line.startswith(("confidence", "Learning", "fdgpu", "probe")):  # others' slices are parts of it
            assert single["discovered"] == 1.0, line


def test_lots_find_what_their_number_of_chances_allows(easy: Problem) -> None:
    (found,) = random(easy).values()
    assert found.proposals.shape == (600, 25)
    assert precision_at(25, found.proposals, easy.truth)[0] < 0.6
    assert precision_at(1, found.proposals, easy.truth)[0] == 1.0  # one of 25 hits a slice of a tenth
    assert judge(found, easy)["discovered"] == 0


@pytest.mark.parametrize("method", [confidence, svm, probe])
def test_a_proposal_of_one_label_shows_no_other(easy: Problem, method: methods.Method) -> None:
    for found in method(easy).values():
        for column in found.proposals.T:
            assert len(np.unique(easy.test.labels[column > -np.inf])) == 1


def test_a_label_without_errors_or_truth_is_not_proposed(easy: Problem) -> None:
    assert svm(easy)[SVM].proposals.shape[1] == 1
    assert probe(easy)[PROBE].proposals.shape[1] == 1
    assert probe(replace(easy, truth=easy.truth[:, :0], val_truth=easy.val_truth[:, :0])) == {}


def test_confidence_holds_what_is_below_a_half(easy: Problem) -> None:
    held = (confidence(easy)["confidence"].proposals > 0).any(axis=1)
    np.testing.assert_array_equal(held, ~easy.test.correct)


def test_own_margin_helps_a_probe_where_vectors_say_little(easy: Problem) -> None:
    noise = np.random.default_rng(1).normal(size=(600, 16)).astype(np.float32)
    blind = replace(easy, val=replace(easy.val, x=noise), test=replace(easy.test, x=noise[::-1].copy()))
    found = probe(blind)
    alone, own = (precision_at(25, found[name].proposals, easy.truth)[0] for name in (PROBE, PROBE + OWN))
    assert own == 1.0
    assert alone < 0.6


def test_ridge_leaves_each_sample_out_as_a_loop_does(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, other = rng.normal(size=(40, 5)), rng.normal(size=(7, 5))
    y = x[:, 0] + rng.normal(size=40) > 0.5
    for penalty in RIDGES:
        monkeypatch.setattr(methods, "RIDGES", (penalty,))
        left_out, predicted = ridge(x.astype(np.float32), y, other.astype(np.float32))
        alpha = penalty * np.trace(np.cov(x.T, bias=True)) * 40 / 5
        plain = Ridge(alpha).fit(x, y)
        np.testing.assert_allclose(predicted, plain.predict(other), atol=1e-5)
        loop = [Ridge(alpha).fit(np.delete(x, i, 0), np.delete(y, i)).predict(x[i : i + 1])[0] for i in range(40)]
        np.testing.assert_allclose(left_out, loop, atol=1e-5)


def test_p_values_are_of_null_worlds_only(easy: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "PERMUTATIONS", 20)
    assert svm(easy)[SVM].p_values is None
    for problem in null(0, classes=2, samples=180, d=8):
        p = svm(problem)[SVM].p_values
        assert p is not None
        assert len(p) == 2
        assert ((p > 0) & (p <= 1)).all()


def test_planespot_orders_by_errors_and_refuses_what_it_cannot_reduce(easy: Problem) -> None:
    val = Examples(easy.val.labels, embeddings=easy.val.x, probabilities=easy.val.probabilities)
    fit = PlaneSpot.fit(val)
    assert len(fit.order) >= 1
    component = fit.mixture.predict(_beside(fit.plane(easy.val.x), easy.val.labels, easy.val.probabilities))
    errors = np.array([(~easy.val.correct)[component == k].sum() for k in fit.order])
    assert (errors > 0).all()
    assert (np.diff(errors**2 / np.array([(component == k).sum() for k in fit.order])) <= 0).all()
    assert errors.sum() == (~easy.val.correct).sum()
    places = fit.plane(easy.val.x)
    assert (places.min(axis=0) >= 0).all()
    assert (places.max(axis=0) <= 1).all()
    with pytest.raises(InputError, match="at least 100"):
        PlaneSpot.fit(Examples(val.labels[:50], embeddings=val.embeddings[:50], probabilities=val.probabilities[:50]))
    with pytest.raises(InputError, match="most is 0"):
        PlaneSpot.fit(val, most=0)
