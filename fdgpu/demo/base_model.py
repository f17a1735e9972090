"""The classifier that the demo audits: a small convolutional net, trained with the paper's schedule (A.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fdgpu.progress import Reporter, silent

EPOCHS = 8
PEAK_EPOCH = 2
PEAK_LR = 0.1
BATCH = 128
LAYERS = ((16, 2), (32, 1), (64, 2), (128, 2))  # channels and stride


def small_convnet(classes: int) -> nn.Sequential:
    """Return four convolutions and a linear layer; takes floats in [0, 1], (n, 3, 32, 32)."""
    layers: list[nn.Module] = [nn.BatchNorm2d(3)]
    channels = 3
    for width, stride in LAYERS:
        layers += [nn.Conv2d(channels, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def triangular(step: int, steps: int, peak: int) -> float:
    """Return the share of the peak learning rate: linearly up to ``peak`` steps, then linearly to zero."""
    return step / peak if step < peak else max(0.0, (steps - step) / (steps - peak))


def train_base_model(
    pictures: Tensor,
    labels: Tensor,
    seed: int,
    *,
    epochs: int = EPOCHS,
    device: torch.device | str = "cpu",
    progress: Reporter = silent,
) -> nn.Sequential:
    """Train with SGD, momentum 0.9, weight decay 5e-4 and the triangular schedule, stepped every batch.

    Args:
        pictures: (n, 3, h, w) uint8.
        labels: (n,) classes.
        seed: decides the weights' start and the order of the batches.
        epochs: passes over the pictures.
        device: where to train.
        progress: told of every epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = small_convnet(int(labels.max()) + 1).to(device).to(memory_format=torch.channels_last)
    steps_per_epoch = -(-len(labels) // BATCH)
    optimizer = torch.optim.SGD(model.parameters(), lr=PEAK_LR, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda s: triangular(s + 1, epochs * steps_per_epoch + 1, PEAK_EPOCH * steps_per_epoch)
    )
    inputs, targets = _as_input(pictures, device), labels.to(device)
    model.train()
    for epoch in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            loss = F.cross_entropy(model(inputs[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        progress("train the base model", epoch + 1, epochs)
    model.eval()
    return model


@torch.inference_mode()
def predict(model: nn.Module, pictures: Tensor, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Return predicted classes (n,) and the confidence in them (n,), both on the CPU."""
    scores = torch.cat([model(_as_input(batch, device)).softmax(1).cpu() for batch in pictures.split(1024)])
    confidence, predicted = scores.max(1)
    return predicted, confidence


def _as_input(pictures: Tensor, device: torch.device | str) -> Tensor:
    """Halve the resolution: a small net on two cores has no time for more."""
    halves = [F.avg_pool2d(batch.to(device).float() / 255, 2) for batch in pictures.split(1024)]
    return torch.cat(halves).contiguous(memory_format=torch.channels_last)
