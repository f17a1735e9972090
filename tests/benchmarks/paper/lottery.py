"""A stand-in for a trained model of two classes, whose answers are a lottery over images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Lottery(nn.Module):
    """Scores that swing with the mean of a picture's pixels, each lottery at its own rate."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.rate = 1e4 + 1e3 * number
        self.scores = nn.Linear(2, 2)
        self.scores.weight.data = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        self.scores.bias.data.zero_()

    def forward(self, x: Tensor) -> Tensor:
        swing = self.rate * x.mean(dim=(1, 2, 3))
        return self.scores(torch.stack([swing.sin(), swing.cos()], dim=1))
