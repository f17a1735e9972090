"""The paper's data sets in their offline forms: base models and the rivals' networks are trained, which takes long.

CelebA's minority is a garment in the other one's colour; CIFAR-100's a subclass of which three quarters are missing in
training; ImageNet-C's the images with noise; Coloured MNIST's those with the other label's tint; ChestX-ray14's, of
each condition, the pictures without it that were taken lying. In CIFAR-10's form nothing is planted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from torch import Tensor, nn

from benchmarks.baselines import Examples, Ranking, early_stopped, learning_from_failure
from benchmarks.discovery.problem import Floats, Problem, Samples
from benchmarks.paper.experiments import celeba, chestxray14, cifar10, cifar100, coloured_mnist, imagenet_c
from benchmarks.paper.experiments.cifar100 import with_minority
from benchmarks.paper.lab import Lab, correct
from benchmarks.paper.sets import Seen
from fdgpu import ClipEmbedder
from fdgpu.auditing.columns.conditions import best_f1_threshold
from fdgpu.networks import class_scores
from fdgpu.repair import train

EARLY, BIASED = "early-stopped confidence", "Learning from Failure"
EXPERIMENTS = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (celeba, cifar100, cifar10, imagenet_c, coloured_mnist, chestxray14)
}


def problems(name: str, seed: int, rivals: bool = True) -> Iterator[Problem]:
    """Render and train one seed of an experiment's offline form; the rivals' networks as well, or not."""
    world = _world_of(name)(seed)
    if name == "chestxray14":
        yield from _conditions(name, world, rivals)
        return
    part, training, marked = _training(name, world)
    yield _problem(name, part, world, training, marked(world.val()), marked(world.test()), rivals)


@cache
def _world_of(name: str) -> Callable[[int], Any]:
    experiment = EXPERIMENTS[name]
    made: Callable[[int], Any] = experiment.offline(_clip(), experiment.document["offline"])
    return made


@cache
def _clip() -> ClipEmbedder:
    return ClipEmbedder.bundled("cpu")


def _training(name: str, world: Any) -> tuple[str, Seen, Callable[[Seen], Seen]]:
    """Return a seed's training set, and what marks the minority in the other sets; CIFAR-100 has one turn a seed."""
    if name == "cifar100":
        rare = world.turns[world.seed % len(world.turns)]
        training = world.train(dict.fromkeys(rare, world.settings["kept"]))
        return " and ".join(rare), training, lambda seen: with_minority(world, seen, rare)
    strength = {"celeba": "strength", "coloured_mnist": "share"}.get(name)
    training = world.train(world.settings[strength]) if strength else world.train()
    return "", training, lambda seen: seen


def _problem(name: str, part: str, world: Any, training: Seen, val: Seen, test: Seen, rivals: bool) -> Problem:
    lab, seed = world.lab, world.seed
    model = lab.train(training.inputs, training.labels, seed)
    trained = _rivals(lab, training, seed) if rivals else {}
    planted = name != "cifar10"
    on_test = lab.judge(model, test)
    return Problem(
        name,
        part,
        seed,
        _samples(lab.judge(model, val)),
        _samples(on_test),
        test.minority.numpy()[:, None][:, :planted],
        val.minority.numpy()[:, None][:, :planted],
        training.embeddings,
        {who: rival.hardness(on_test) for who, rival in trained.items()},
    )


def _rivals(lab: Lab, training: Seen, seed: int) -> dict[str, Ranking]:
    classes = int(training.labels.max()) + 1
    settings: dict[str, Any] = {"recipe": lab.recipe, "seed": seed, "augment": lab.augment}
    return {
        EARLY: early_stopped(lab.network(classes, seed), training.inputs, training.labels, **settings),
        BIASED: learning_from_failure(lab.network(classes, seed), training.inputs, training.labels, **settings),
    }


def _samples(judged: Examples) -> Samples:
    probabilities = np.asarray(judged.probabilities, np.float64)
    return Samples(judged.embeddings, judged.labels, probabilities, correct(judged))


# --- several conditions an image ------------------------------------------------------------------------------------


def _conditions(name: str, world: Any, rivals: bool) -> Iterator[Problem]:
    """Yield each condition as a problem of two classes; of those without it, pictures taken lying are the slice.

    The rivals' networks know all conditions at once, as the base model does; Learning from Failure's loss is that of
    two classes, condition by condition.
    """
    lab: Lab = world.lab
    training, val, test = world.train(), world.val(), world.test()
    model = lab.train(training.inputs, training.labels, world.seed)
    on_val, on_test = (_sigmoids(model, seen) for seen in (val, test))
    trained = (
        {who: _sigmoids(one, test) for who, one in _binary_rivals(lab, training, world.seed).items()} if rivals else {}
    )
    for column, condition in enumerate(world.conditions):
        threshold = best_f1_threshold(on_val[:, column], val.labels[:, column].bool().numpy())
        fitted, judged = (
            _binary(seen, column, p[:, column], threshold) for seen, p in ((val, on_val), (test, on_test))
        )
        truth, known = ((seen.minority & (seen.labels[:, column] == 0)).numpy()[:, None] for seen in (test, val))
        there = judged.labels == 1
        own = {who: np.where(there, p[:, column], 1 - p[:, column]) for who, p in trained.items()}
        yield Problem(name, condition, world.seed, fitted, judged, truth, known, training.embeddings, own)


def _binary_rivals(lab: Lab, training: Seen, seed: int) -> dict[str, nn.Module]:
    k, stop = training.labels.shape[1], max(1, round(lab.recipe.epochs / 3))
    settings: dict[str, Any] = {"recipe": lab.recipe, "seed": seed, "augment": lab.augment}
    images, labels = training.inputs, training.labels
    return {
        EARLY: train(lab.network(k, seed), images, labels, loss=lab.loss, stop_after=stop, **settings),
        BIASED: train(lab.network(k, seed), images, labels, loss=_BinaryBiased(), **settings),
    }


def _sigmoids(model: nn.Module, seen: Seen) -> Floats:
    return np.asarray(class_scores(model, seen.inputs).double().sigmoid().numpy())


def _binary(seen: Seen, column: int, p: Floats, threshold: float) -> Samples:
    labels = seen.labels[:, column].long().numpy()
    return Samples(seen.embeddings, labels, np.stack([1 - p, p], axis=1), (p >= threshold) == labels)


@dataclass(frozen=True)
class _BinaryBiased:
    """(1 − p^q) / q of the probability p of each condition's own answer, their mean (n,)."""

    q: float = 0.7

    def __call__(self, scores: Tensor, targets: Tensor) -> Tensor:
        log_p = -nn.functional.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="none")
        return (-(self.q * log_p).expm1() / self.q).mean(dim=1)
