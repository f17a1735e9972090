"""The classifier that the demo audits: a small convolutional net, trained by the paper's recipe (A.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.embedding.classifier import Answered, Answers
from fdgpu.networks import class_scores
from fdgpu.progress import Reporter, silent
from fdgpu.repair.training_loop import train
from fdgpu.repair.training_recipe import TrainingRecipe

LAYERS = ((16, 2), (32, 1), (64, 2), (128, 2))  # channels and stride


def small_convnet(classes: int, seed: int) -> nn.Sequential:
    """Return four convolutions and a linear layer; takes floats in [0, 1], (n, 3, 32, 32)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.BatchNorm2d(3)]
        channels = 3
        for width, stride in LAYERS:
            layers += [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def train_base_model(
    pictures: Tensor,
    labels: Tensor,
    seed: int,
    *,
    recipe: TrainingRecipe | None = None,
    device: torch.device | str = "cpu",
    progress: Reporter = silent,
) -> nn.Module:
    """Train a small net.

    Args:
        pictures: (n, 3, h, w) uint8.
        labels: (n,) classes.
        seed: decides the weights' start and the order of the batches.
        recipe: by default the one named "demo".
        device: where to train.
        progress: called after every epoch.
    """
    model = small_convnet(int(labels.max()) + 1, seed)
    return train(
        model,
        halved(pictures),
        labels,
        recipe=recipe or TrainingRecipe.named("demo"),
        seed=seed,
        device=device,
        progress=lambda _, done, total: progress("train the base model", done, total),
    )


def predict(model: nn.Module, pictures: Tensor, labels: Tensor) -> Answered:
    """Return predicted classes, and the probabilities of these and of the true classes ``labels`` (n,)."""
    return answer(model, halved(pictures), labels)


def answer(model: nn.Module, inputs: Tensor, labels: Tensor) -> Answered:
    """Return what :func:`predict` does, of pictures that are :func:`halved`."""
    answers = Answers()
    answers.add(class_scores(model, inputs), labels)
    return answers.finish()


def halved(pictures: Tensor) -> Tensor:
    """Return uint8 as floats in [0, 1] of half the resolution; a small net on two cores has no time for more."""
    return torch.cat([F.avg_pool2d(batch.float() / 255, 2) for batch in pictures.split(1024)])
