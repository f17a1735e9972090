"""Every baseline behind the one interface: it finds what is hard, and says what it needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fdgpu.baselines import (
    Chance,
    Confidence,
    Domino,
    Examples,
    ModelConfidence,
    Ranking,
    early_stopped,
    learning_from_failure,
)
from fdgpu.errors import InputError
from fdgpu.networks import class_scores
from fdgpu.training import GeneralisedCrossEntropy, Recipe, train
from tests.training.test_loop import RECIPE, net, same, stripes


def sliced(n: int = 600, seed: int = 0) -> tuple[Examples, np.ndarray]:
    """Two classes of 16-d embeddings; a quarter of each lies elsewhere, and there the model is mostly wrong."""
    rng = np.random.default_rng(seed)
    labels, hard = np.arange(n) % 2, rng.random(n) < 0.25
    x = rng.normal(size=(n, 16))
    x[:, 0] += 6 * hard
    x[:, 1] += 6 * labels
    right = np.where(hard, rng.beta(2, 6, n), rng.beta(6, 2, n))
    p1 = np.where(labels == 1, right, 1 - right)
    return Examples(labels, embeddings=x, probabilities=np.stack([1 - p1, p1], 1)), hard


def share_of_hard(ranking: Ranking, examples: Examples, hard: np.ndarray, k: int = 50) -> float:
    values = ranking.hardness(examples)
    assert values.shape == (len(hard),)
    assert values.dtype == np.float64
    assert np.isfinite(values).all()
    labels = examples.class_ids()
    tops = [np.flatnonzero(labels == c)[np.argsort(values[labels == c])[:k]] for c in (0, 1)]
    return float(hard[np.concatenate(tops)].mean())


def test_domino_and_confidence_find_the_slice_and_chance_does_not() -> None:
    held_out, _ = sliced()
    test, hard = sliced(seed=1)
    assert share_of_hard(Domino.fit(held_out, components=8), test, hard) > 0.95
    assert 0.6 < share_of_hard(Confidence(), test, hard) < 1
    assert share_of_hard(Chance(), test, hard) < 0.45
    assert np.array_equal(Chance(3).hardness(test), Chance(3).hardness(test))
    assert not np.array_equal(Chance(3).hardness(test), Chance(4).hardness(test))


def test_confidence_is_the_probability_of_the_label() -> None:
    examples = Examples([1, 0], probabilities=torch.tensor([[0.3, 0.7], [0.6, 0.4]]))
    np.testing.assert_allclose(Confidence().hardness(examples), [0.7, 0.6], rtol=1e-6)


def test_early_stopped_is_the_first_third_and_ranks_by_its_own_confidence() -> None:
    pictures, labels = stripes()
    ranking = early_stopped(net(), pictures, labels, recipe=RECIPE, device="cpu")
    assert same(ranking.model, train(net(), pictures, labels, recipe=RECIPE, stop_after=2, device="cpu"))
    p = class_scores(ranking.model, pictures).double().softmax(1)[torch.arange(96), labels]
    np.testing.assert_allclose(ranking.hardness(Examples(labels, images=pictures)), p.numpy(), rtol=1e-6)
    longer = early_stopped(net(), pictures, labels, recipe=RECIPE, epochs=3, device="cpu")
    assert not same(longer.model, ranking.model)


def test_learning_from_failure_stays_with_the_majority() -> None:
    """Labels follow the stripes but for a tenth, in which they are the reverse: GCE believes in them less."""
    pictures, labels = stripes(200)
    odd = torch.arange(200) % 10 < 1
    given = torch.where(odd, 1 - labels, labels)
    recipe = Recipe(epochs=8, peak_lr=0.05, peak_epoch=2, batch=20, resolution=8)
    biased = learning_from_failure(net(), pictures, given, recipe=recipe, device="cpu")
    plain = ModelConfidence(train(net(), pictures, given, recipe=recipe, device="cpu"))
    examples = Examples(given, images=pictures)
    assert biased.hardness(examples)[odd].mean() < 0.5 * plain.hardness(examples)[odd].mean()
    again = train(net(), pictures, given, recipe=recipe, loss=GeneralisedCrossEntropy(0.7), device="cpu")
    assert same(biased.model, again)


@pytest.mark.parametrize(
    ("ranking", "examples", "message"),
    [
        (Confidence(), Examples([0, 1]), "confidence looks at probabilities, which was not given"),
        (Confidence(), Examples([0, 2], probabilities=np.ones((2, 2))), "labels holds 2, there are 2 probabilities"),
        (Confidence(), Examples([0, 1], probabilities=np.ones((3, 2))), "probabilities has shape"),
        (Confidence(), Examples([0], probabilities=np.full((1, 2), np.nan)), "NaN or infinity"),
        (Chance(), Examples([]), "class ids from 0"),
        (Chance(), Examples([-1, 0]), "class ids from 0"),
        (Chance(), Examples([0.5]), "class ids from 0"),
        (ModelConfidence(nn.Linear(2, 2)), Examples([0]), "a model looks at images"),
    ],
)
def test_what_a_ranking_needs(ranking: Ranking, examples: Examples, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ranking.hardness(examples)


def test_what_domino_cannot_fit() -> None:
    held_out, _ = sliced(100)
    with pytest.raises(InputError, match="Domino looks at embeddings"):
        Domino.fit(Examples([0, 1], probabilities=np.ones((2, 2))))
    with pytest.raises(InputError, match="show at least 1, and not all"):
        Domino.fit(held_out, slices=25)
    three = Examples(held_out.labels, None, held_out.embeddings, np.full((100, 3), 1 / 3))
    with pytest.raises(InputError, match="probabilities is of 3 classes, Domino was fitted on 2"):
        Domino.fit(held_out, components=4).hardness(three)


def test_domino_of_three_classes() -> None:
    """The third class has a slice on which the model says the first."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 3
    hard = (labels == 2) & (rng.random(600) < 0.3)
    x = rng.normal(size=(600, 8)) + 4 * np.eye(8)[labels] + 4 * np.eye(8)[5] * hard[:, None]
    sure = np.eye(3)[np.where(hard, 0, labels)] * 0.8 + 0.2 / 3
    examples = Examples(labels, embeddings=x, probabilities=sure)
    values = Domino.fit(examples, slices=1, components=8).hardness(examples)
    own = np.flatnonzero(labels == 2)
    assert hard[own[np.argsort(values[own])[:30]]].mean() > 0.95
