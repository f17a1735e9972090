"""Which vectors are decoded, and under which labels their pictures are added."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.baselines import Examples
from benchmarks.paper.fitted import Fitted
from benchmarks.paper.lab import Lab
from benchmarks.paper.rankings import both_methods
from benchmarks.paper.sets import Marked, Seen
from benchmarks.paper.synthetic import Words, decoded, vectors_to_decode
from fdgpu import FailureDirections
from fdgpu.repair import TrainingRecipe

AXES = {"class 0": [1.0, 0, 0, 0], "class 1": [0, 1.0, 0, 0], "dark": [0, 0, 1.0, 0], "pale": [0, 0, -1.0, 0]}


class Reader:
    """Reads captions as sums of what they name."""

    def texts(self, captions: list[str]) -> Tensor:
        rows = [sum(np.array(axis) for word, axis in AXES.items() if word in caption) for caption in captions]
        return torch.nn.functional.normalize(torch.tensor(np.array(rows), dtype=torch.float32), dim=1)


def fitted() -> Fitted:
    """Models fail on dark images of class 0 and on pale ones of class 1."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    shade = generator.choice([-1.0, 1.0], 120)
    embeddings = generator.normal(0, 0.1, (120, 4)).astype(np.float32)
    embeddings[np.arange(120), labels] += 1
    embeddings[:, 2] += shade
    wrong = shade == np.where(labels == 0, 1, -1)
    val = Examples(labels, None, embeddings, np.eye(2)[np.where(wrong, 1 - labels, labels)])
    n = 6
    marked = Marked(torch.zeros(n), torch.arange(n) % 2, torch.zeros(n), torch.zeros(n).bool())
    train = Seen(marked, torch.zeros(n, 3, 32, 32), embeddings[:n])
    lab = Lab.offline(Reader(), TrainingRecipe(2, 0.1, 1, 8, 32))
    return Fitted(lab, train, torch.nn.Identity(), val, both_methods(val, embeddings))


def words() -> list[Words]:
    every = [[f"class {label}", f"a dark class {label}", f"a pale class {label}"] for label in (0, 1)]
    return [Words(own, own[0], own[1 + label]) for label, own in enumerate(every)]


def test_the_hard_end_and_the_hard_caption_show_what_the_model_fails_on() -> None:
    own = fitted()
    vectors = vectors_to_decode(own, words(), alpha=0.2, seed=0)
    reference, hard, latent = vectors["reference caption"], vectors["fdgpu"], vectors["fdgpu, latent"]
    for own_hard in (hard, latent):
        assert own_hard[0, 2] > 0.1  # dark
        assert own_hard[1, 2] < -0.1
    assert torch.allclose(hard.norm(dim=1), torch.ones(2))
    plain = FailureDirections(whiten=False).fit(
        own.val.embeddings, own.val.labels, own.val.probabilities.argmax(1) == own.val.labels
    )
    w = torch.from_numpy(np.asarray(plain.directions_, np.float32)[:, 0])
    before, after = (torch.arccos((vector * -w).sum(1)) for vector in (reference, hard))
    assert torch.allclose(after / before, torch.full((2,), 0.8), atol=1e-3)  # a fifth of the angle is gone
    assert torch.equal(vectors["hard caption"], vectors["oracle"])


def test_pictures_are_added_under_their_class_and_by_the_same_noise() -> None:
    asked = []

    def painter(vectors: Tensor, seed: int) -> Tensor:
        asked.append(seed)
        return vectors[:, :1, None, None].expand(-1, 3, 32, 32) / 4

    own = fitted()
    sets = decoded(own, {"one": torch.tensor([[1.0], [2.0]]), "other": torch.zeros(2, 1)}, painter, 2, seed=7)
    assert list(sets) == ["base", "one", "other"]
    assert len(sets["base"].labels) == 6
    assert sets["one"].labels.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 1, 1]
    assert sets["one"].inputs[6:, 0, 0, 0].tolist() == [0.25, 0.25, 0.5, 0.5]
    assert asked == [7, 7]
