"""Shares among the hardest, and flags of as many as ours."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.baselines import Examples
from benchmarks.paper.rankings import both_methods, cheap_rankings, ours_and_confidence, share_in_top
from benchmarks.paper.remedies import as_many


def test_share_in_top_is_of_each_class_and_averaged() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0])
    labels = np.repeat([0, 1], 4)
    inside = np.array([True, False, False, True, True, True, False, False])
    assert share_in_top(values, labels, inside, (1, 2, 4)) == {1: 1.0, 2: 0.75, 4: 0.5}


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.floats(-1, 1)), min_size=1, max_size=40))
def test_as_many_of_each_class_as_ours_and_the_lowest(rows: list[tuple[int, bool, float]]) -> None:
    labels, flagged = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    values = np.array([r[2] for r in rows])
    own = as_many(values, labels, flagged)
    for label in range(3):
        members = labels == label
        assert own[members].sum() == flagged[members].sum()
        if own[members].any() and not own[members].all():
            assert values[members & own].max() <= values[members & ~own].min()


def test_the_latent_method_is_told_how_wrong_the_model_was() -> None:
    """Of two classes a tenth is hard along one axis and mostly right: what the model said of the label shows it."""
    rng = np.random.default_rng(0)
    labels, minority = np.repeat([0, 1], 200), np.tile(np.arange(200) % 10 == 0, 2)
    embeddings = rng.normal(size=(400, 8)).astype(np.float32)
    embeddings[minority, 0] += 4
    p = np.where(minority, rng.beta(5, 4, 400), rng.beta(18, 2, 400))
    probabilities = np.stack([np.where(labels == 0, p, 1 - p), np.where(labels == 0, 1 - p, p)], axis=1)
    examples = Examples(labels, None, embeddings, probabilities)
    fits = both_methods(examples, embeddings)
    assert [fits[name].method for name in fits] == ["svm", "latent"]
    rankings = cheap_rankings(fits, seed=0)
    assert list(rankings) == ["fdgpu", "fdgpu, latent", "confidence", "random"]
    assert list(ours_and_confidence(fits)) == ["fdgpu", "fdgpu, latent", "confidence"]
    hard = {name: share_in_top(own.hardness(examples), labels, minority, [20])[20] for name, own in rankings.items()}
    assert hard["fdgpu, latent"] >= 0.95
    fit = fits["fdgpu, latent"]
    told = np.asarray(fit.decision_function(embeddings, labels, loss=examples.loss("it")), np.float64)
    assert np.array_equal(rankings["fdgpu, latent"].hardness(examples), told)
    assert not np.array_equal(told, np.asarray(fit.decision_function(embeddings, labels)))
