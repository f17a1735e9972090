"""What an experiment works with: CLIP, a network to be trained, and its recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.baselines import Examples
from benchmarks.paper.files.images import as_inputs, for_training
from benchmarks.paper.sets import Images, Inputs, Marked, Seen
from fdgpu import FailureDirections
from fdgpu.arrays import to_host
from fdgpu.demo.base_model import halved, small_convnet
from fdgpu.device import cpu_count
from fdgpu.networks import class_scores
from fdgpu.repair import Augment, Loss, TrainingRecipe, cross_entropy, fine_tune, resnet18, train

LATENT = "latent"  # a method of FailureDirections
Network = Callable[[int, int], nn.Module]  # classes, seed → untrained


@dataclass(frozen=True)
class Lab:
    """The same for all of an experiment.

    Attributes:
        clip: embeds images and captions.
        recipe: of every training.
        network: number of classes and seed → an untrained network.
        prepare: images and labels → what the network takes.
        augment: changes every batch while training.
        loss: binary cross-entropy where an image has several labels.
        workers: processes that load images that are files.
    """

    clip: Any
    recipe: TrainingRecipe
    network: Network
    prepare: Callable[[Images, Tensor], Inputs]
    augment: Augment | None = None
    loss: Loss = cross_entropy
    workers: int = 0

    @classmethod
    def offline(cls, clip: Any, recipe: TrainingRecipe) -> Lab:
        """For the bundled world: the demo's small net, on pictures at half of their 64 pixels."""
        return cls(clip, recipe, small_convnet, lambda images, _: halved(_tensor(images)))

    @classmethod
    def on_files(
        cls, clip: Any, recipe: TrainingRecipe, *, loss: Loss = cross_entropy, workers: int | None = None
    ) -> Lab:
        """For a data set's own images: the paper's ResNet-18, prepared and changed as the recipe says (A.3).

        ``workers`` processes load images that are files, by default one a core.
        """
        return cls(
            clip,
            recipe,
            lambda classes, seed: recipe.normalised(_seeded_resnet18(classes, recipe.resolution, seed)),
            lambda images, labels: as_inputs(images, labels, recipe),
            recipe.augment,
            loss,
            cpu_count() if workers is None else workers,
        )

    def see(self, marked: Marked) -> Seen:
        """Embed a set."""
        embeddings = self.clip.images(marked.images).cpu().numpy()
        return Seen(marked, self.prepare(marked.images, marked.labels), embeddings)

    def train(
        self, inputs: Inputs, labels: Tensor, seed: int, weights: Tensor | None = None, network: Network | None = None
    ) -> nn.Module:
        """Train a network from its start by this seed; another one than the lab's where it is given."""
        classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        model = (network or self.network)(classes, seed)
        in_memory = isinstance(inputs, Tensor)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)  # random parts of files are drawn by it, in this process and in the loader's
            return train(
                model,
                for_training(inputs, self.recipe),
                labels if in_memory else None,  # a Dataset has its own
                recipe=self.recipe,
                seed=seed,
                weights=weights,
                augment=self.augment,
                loss=self.loss,
                workers=0 if in_memory else self.workers,
            )

    def fine_tune(
        self, model: nn.Module, inputs: Inputs, labels: Tensor, recipe: TrainingRecipe, seed: int
    ) -> nn.Module:
        """Return a copy of a model whose last layer was trained further."""
        in_memory = isinstance(inputs, Tensor)
        return fine_tune(
            model,
            inputs,
            labels if in_memory else None,
            recipe=recipe,
            seed=seed,
            loss=self.loss,
            workers=0 if in_memory else self.workers,
            features_once=True,  # ``prepare`` draws nothing at random
        )

    def judge(self, model: nn.Module, seen: Seen) -> Examples:
        """Ask a model about a set."""
        scores = class_scores(model, seen.inputs, workers=self.workers)
        probabilities = to_host(scores.softmax(1), "a model's probabilities")
        return Examples(seen.labels.numpy(), seen.inputs, seen.embeddings, probabilities)

    def accuracies(self, model: nn.Module, seen: Seen) -> Accuracies:
        """Measure on a set."""
        right = torch.from_numpy(correct(self.judge(model, seen))).float()
        return Accuracies(float(right.mean()), float(right[seen.minority].mean()))


@dataclass(frozen=True)
class Accuracies:
    """Of all images, and of the minorities'."""

    overall: float
    minority: float


def correct(examples: Examples) -> NDArray[np.bool_]:
    """(n,) whether the model is right."""
    return np.asarray(examples.probabilities.argmax(axis=1) == examples.labels)


def find_directions(
    val: Examples, train_embeddings: NDArray[np.float32] | None, method: str = "svm", whiten: bool = True
) -> FailureDirections:
    """Fit with the paper's settings; the other method is told how wrong the model was."""
    fit = FailureDirections(method=method, whiten=whiten)
    loss = val.loss("the latent method") if method == LATENT else None
    return fit.fit(val.embeddings, val.labels, correct(val), reference=train_embeddings, loss=loss)


def _seeded_resnet18(classes: int, resolution: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return resnet18(classes, resolution)


def _tensor(images: Images) -> Tensor:
    if not isinstance(images, Tensor):
        raise TypeError(f"images is a {type(images).__name__}: the bundled world renders tensors")
    return images
