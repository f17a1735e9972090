"""Networks of other kinds than the demo's, small enough for two cores: a residual net and a vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

WIDTHS = (32, 64, 128)
SIDE = 32  # pixels
PATCH = 8  # pixels; of half as many a side it costs three times as much


class Residual(nn.Module):
    """Two convolutions beside a shortcut, as in ResNet-18."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            shortcut = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, h / stride, w / stride)."""
        return F.relu(self.body(x) + self.shortcut(x))


def residual_net(classes: int, seed: int) -> nn.Sequential:
    """Return a stem and three residual blocks; takes floats in [0, 1], (n, 3, 32, 32)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stem = [nn.BatchNorm2d(3), nn.Conv2d(3, WIDTHS[0], 3, 2, padding=1, bias=False), nn.BatchNorm2d(WIDTHS[0])]
        blocks = [Residual(WIDTHS[max(i - 1, 0)], width, 1 if i == 0 else 2) for i, width in enumerate(WIDTHS)]
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes)]
        return nn.Sequential(*stem, nn.ReLU(), *blocks, *head)


def small_transformer(classes: int, seed: int) -> nn.Sequential:
    """Return a vision transformer of four layers on patches of 8 x 8; takes floats in [0, 1], (n, 3, 32, 32)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = VisionTransformer(
            SIDE, PATCH, num_layers=4, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=classes
        )
        return nn.Sequential(nn.BatchNorm2d(3), transformer)
