"""Every baseline behind the one interface: it finds what is hard, and says what it needs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.baselines import (
    Chance,
    Confidence,
    Domino,
    Examples,
    GeneralisedCrossEntropy,
    ModelConfidence,
    Ranking,
    early_stopped,
    learning_from_failure,
)
from benchmarks.baselines.domino import cells
from fdgpu.errors import InputError, ModelError
from fdgpu.networks import class_scores
from fdgpu.repair import TrainingRecipe, cross_entropy, train
from tests.repair.test_training_loop import RECIPE, net, same, stripes


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
    recipe = TrainingRecipe(epochs=8, peak_lr=0.05, peak_epoch=2, batch=20, resolution=8)
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
        (Confidence(), Examples([0, 1], probabilities=[["a", "b"]] * 2), "probabilities is of type <U1"),
        (Confidence(), Examples([0, 1], probabilities=[[0.5, 0.5], [3.0, -2.0]]), "1 rows .* row 1 .* softmax them"),
        (
            Confidence(),
            Examples([0, 1], probabilities=[[0.9, 0.8], [0.5, 0.5]]),
            r"row 0 has the sum 1.7.*\[1 − p, p\]",
        ),
        (ModelConfidence(nn.Linear(2, 2)), Examples([0]), "a model looks at images"),
        (
            ModelConfidence(nn.Linear(2, 2)),
            Examples([0], images=torch.ones(2, 2)),
            "labels has 1 entries, images has 2",
        ),
        (ModelConfidence(nn.Linear(2, 2)), Examples([0] * 3, images=torch.ones(2, 2)), "labels has 3 .* images has 2"),
        (ModelConfidence(nn.Linear(2, 2)), Examples([2], images=torch.ones(1, 2)), "labels holds 2, there are 2"),
    ],
)
def test_what_a_ranking_needs(ranking: Ranking, examples: Examples, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ranking.hardness(examples)


@given(st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=1, max_size=20), st.booleans())
@settings(deadline=None)
def test_a_softmax_is_taken_and_logits_are_not(logits: list[list[float]], half: bool) -> None:
    scores, labels = torch.tensor(logits), np.arange(len(logits)) % 3
    p = scores.softmax(1)
    given_as = p.half() if half else p
    found = Confidence().hardness(Examples(labels, probabilities=given_as))
    np.testing.assert_allclose(found, p[torch.arange(len(p)), torch.from_numpy(labels)], atol=1e-3)
    if ((scores < -0.01).any(1) | ((scores.sum(1) - 1).abs() > 0.01)).any():
        with pytest.raises(InputError, match="softmax them"):
            Confidence().hardness(Examples(labels, probabilities=scores))


@pytest.mark.parametrize("weight", [torch.nan, torch.inf])
def test_a_model_that_diverged_ranks_nothing(weight: float) -> None:
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, weight)
    images = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    with pytest.raises(ModelError, match=r"scores are not finite for 2 of 2 images, the first is 0: train it anew"):
        ModelConfidence(model).hardness(Examples([0, 1], images=images))


def test_a_class_that_a_model_rules_out_has_no_confidence() -> None:
    model = nn.Linear(1, 2)
    model.weight.data, model.bias.data = torch.zeros(2, 1), torch.tensor([0.0, -torch.inf])
    assert ModelConfidence(model).hardness(Examples([0, 1], images=torch.ones(2, 1))).tolist() == [1, 0]


def test_what_domino_cannot_fit() -> None:
    held_out, _ = sliced(100)
    with pytest.raises(InputError, match="Domino looks at embeddings"):
        Domino.fit(Examples([0, 1], probabilities=np.ones((2, 2))))
    with pytest.raises(InputError, match="show at least 1, and not all"):
        Domino.fit(held_out, slices=25)
    three = Examples(held_out.labels, None, held_out.embeddings, np.full((100, 3), 1 / 3))
    with pytest.raises(InputError, match="probabilities is of 3 classes, Domino was fitted on 2"):
        Domino.fit(held_out, components=4).hardness(three)
    narrow = Examples(held_out.labels, None, held_out.embeddings[:, :8], held_out.probabilities)
    with pytest.raises(InputError, match="embeddings has 8 columns, the principal components are of 16"):
        Domino.fit(held_out, components=4).hardness(narrow)
    logits = Examples(held_out.labels, None, held_out.embeddings, np.log(held_out.probabilities))
    with pytest.raises(InputError, match="softmax them"):
        Domino.fit(logits, components=4)
    for dimensions in (0, -1, 2.5):
        with pytest.raises(InputError, match=f"dimensions is {dimensions}: use a whole number"):
            Domino.fit(held_out, components=4, dimensions=dimensions)


def confused(classes: int, seed: int = 0) -> Examples:
    """Every class is taken for the next in a fifth of its examples, which lie elsewhere."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(100 * classes) % classes)
    wrong = rng.random(len(labels)) < 0.2
    x = rng.normal(size=(len(labels), 12)) + 2 * rng.normal(size=(classes, 12))[labels] + 3 * wrong[:, None]
    sure = np.eye(classes)[np.where(wrong, (labels + 1) % classes, labels)] * 0.8 + 0.2 / classes
    return Examples(labels, embeddings=x, probabilities=sure)


@given(st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_domino_does_not_depend_on_how_classes_are_numbered(numbers: list[int]) -> None:
    """One component a pair of class and prediction; with fewer the last classes would go without, which is refused."""
    own, of = confused(5), np.argsort(numbers)
    other = Examples(np.array(numbers)[own.labels], None, own.embeddings, own.probabilities[:, of])
    filled = len(np.unique(cells(own.class_ids(), own.probabilities)))
    assert filled == 10
    found = [Domino.fit(one, slices=1, components=filled).hardness(one) for one in (own, other)]
    np.testing.assert_allclose(*found, rtol=1e-6, atol=1e-6)
    for one in (own, other):
        with pytest.raises(InputError, match=r"components is 9, 10 pairs of class and prediction .* at least 10"):
            Domino.fit(one, slices=1, components=filled - 1)


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


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(9, 4, generator=generator, dtype=torch.float64)
    return scores, torch.randint(4, (9,), generator=generator)


@given(st.integers(0, 100), st.floats(0.05, 1.0))
@settings(deadline=None)
def test_generalised_cross_entropy_is_its_formula_and_its_gradient_is_weighed(seed: int, q: float) -> None:
    scores, targets = drawn(seed)
    scores.requires_grad_()
    p = scores.softmax(1)[torch.arange(9), targets]
    loss = GeneralisedCrossEntropy(q)(scores, targets)
    torch.testing.assert_close(loss, (1 - p**q) / q)
    (own,) = torch.autograd.grad(loss.sum(), scores, retain_graph=True)
    (plain,) = torch.autograd.grad(cross_entropy(scores, targets).sum(), scores)
    torch.testing.assert_close(own, plain * (p.detach() ** q)[:, None])


def test_generalised_cross_entropy_goes_over_into_cross_entropy() -> None:
    scores, targets = drawn(0)
    torch.testing.assert_close(
        GeneralisedCrossEntropy(1e-6)(scores, targets), cross_entropy(scores, targets), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("q", [0.0, -0.1, 1.1, float("nan")])
def test_a_q_that_cannot_be(q: float) -> None:
    with pytest.raises(InputError, match="at most 1"):
        GeneralisedCrossEntropy(q)


def test_generalised_cross_entropy_takes_one_class_an_image() -> None:
    with pytest.raises(InputError, match="several labels an image use binary_cross_entropy"):
        GeneralisedCrossEntropy()(torch.zeros(3, 2), torch.zeros(3, 2))


def test_the_loss_of_an_example_is_that_of_its_label() -> None:
    examples = Examples(np.array([0, 1, 1]), probabilities=np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]))
    assert examples.loss("it").tolist() == pytest.approx([-np.log(0.25), -np.log(0.5), -np.log(1e-12)])
    with pytest.raises(InputError, match="it looks at probabilities"):
        Examples(np.array([0])).loss("it")
