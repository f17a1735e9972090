"""A stand-in for a trained model of two classes, whose answers are a lottery over images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Lottery(nn.Module):
    """Scores that swing with the mean of a picture's pixels, each lottery at its own rate."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.rate = 1e4 + 1e3 * number

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2)."""
        swing = (self.rate * x.mean(dim=(1, 2, 3))).sin()
        return torch.stack([swing, -swing], dim=1)
