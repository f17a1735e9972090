"""A share of each class, by lot."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def outside(labels: Tensor, share: float | Sequence[float], generator: torch.Generator) -> Tensor:
    """Return (n,) bool: of each class all but ``share``, one for all or one for each in the order of their labels.

    The same state of the generator gives at a lower share these and more.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    classes = labels.unique()
    shares = [share] * len(classes) if isinstance(share, float) else share
    for label, own in zip(classes, shares, strict=True):
        members = (labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        chosen[members[round(own * len(members)) :]] = True
    return chosen
