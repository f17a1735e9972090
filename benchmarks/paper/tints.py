"""Labels of which a quarter is wrong, and a red or green tint that mostly goes with them (paper, B.2)."""

from __future__ import annotations

import torch
from torch import Tensor

RED, GREEN = 0, 1  # also the tint's channel


def flipped(truth: Tensor, chance: float, generator: torch.Generator) -> Tensor:
    """Return labels of 0 and 1, (n,), each of them turned over with this probability."""
    wrong = torch.rand(len(truth), generator=generator) < chance
    return torch.where(wrong, 1 - truth, truth)


def disagreeing(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return (n,) bool: of each label all but ``share`` of the images, whose tint is the other label's.

    The same generator gives, at a lower share, these and more.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in (0, 1):
        members = (labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        chosen[members[round(share * len(members)) :]] = True
    return chosen


def tints(labels: Tensor, disagree: Tensor) -> Tensor:
    """Return (n,) red where the label is 0 and green where it is 1, or the other way round."""
    return torch.where(disagree, 1 - labels, labels)


def painted(grey: Tensor, tint: Tensor) -> Tensor:
    """Return grey images (n, 3, h, w) in red or green alone."""
    channels = torch.arange(3, device=grey.device)
    return grey * (channels == tint[:, None])[:, :, None, None]
