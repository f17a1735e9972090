"""A share of each class, by lot."""

from __future__ import annotations

import torch
from torch import Tensor


def outside(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return (n,) bool: of each class all but ``share``.

    The same state of the generator gives at a lower share these and more.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero()[:, 0]
        members = members[torch.randperm(len(members), generator=generator)]
        chosen[members[round(share * len(members)) :]] = True
    return chosen
