"""Random changes of a batch of images while training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Augment = Callable[[Tensor, torch.Generator], Tensor]


def flip_and_shift(inputs: Tensor, generator: torch.Generator, pixels: int = 4) -> Tensor:
    """Mirror half of the images, and move each by up to ``pixels`` in both directions; what comes in is black.

    Args:
        inputs: (n, c, h, w) floats, on any device.
        generator: on the CPU.
        pixels: largest shift.
    """
    n, _, h, w = inputs.shape
    mirrored = (torch.rand(n, generator=generator) < 0.5).to(inputs.device)
    moved = torch.randint(-pixels, pixels + 1, (2, n), generator=generator).to(inputs.device)
    rows = torch.arange(h, device=inputs.device) + moved[0, :, None]
    columns = torch.arange(w, device=inputs.device) + moved[1, :, None]
    inside = ((rows >= 0) & (rows < h))[:, None, :, None] & ((columns >= 0) & (columns < w))[:, None, None, :]
    columns = torch.where(mirrored[:, None], w - 1 - columns, columns)
    image = torch.arange(n, device=inputs.device)[:, None, None]
    taken = inputs[image, :, rows.clamp(0, h - 1)[:, :, None], columns.clamp(0, w - 1)[:, None, :]]
    return (taken.movedim(-1, 1) * inside).contiguous(memory_format=torch.channels_last)
