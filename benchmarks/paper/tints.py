"""Labels of which a share is wrong, and a red or green tint that mostly goes with them (paper, B.2)."""

from __future__ import annotations

import torch
from torch import Tensor


def flipped(truth: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Return labels of 0 and 1, (n,), each of them turned over with this probability."""
    wrong = torch.rand(len(truth), generator=generator) < chance
    return torch.where(wrong, 1 - truth, truth)


def tints(labels: Tensor, disagree: Tensor) -> Tensor:
    """Return (n,) 0, red, for the label 0 and 1, green, for the label 1; where they disagree the other way round."""
    return torch.where(disagree, 1 - labels, labels)


def painted(grey: Tensor, tint: Tensor) -> Tensor:
    """Return grey images (n, 3, h, w) in red or green alone, the channels 0 and 1."""
    channels = torch.arange(3, device=grey.device)
    return grey * (channels == tint[:, None])[:, :, None, None]
