"""The bundled decoder's conventions, which its training shares: how pictures are folded and vectors said to the net."""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F

FOLDER = Path(__file__).parents[1] / "demo" / "decoder"
WEIGHTS = "diffusion_pytorch_model.safetensors"
SIDE = 32  # pixels
FOLD = 2


def fold(pictures: Tensor) -> Tensor:
    """uint8 pictures (n, 3, 64, 64) → latents (n, 12, 16, 16) in [-1, 1]: halved, then 2 x 2 pixels to channels."""
    halved = F.avg_pool2d(pictures.float() / 127.5 - 1, pictures.shape[-1] // SIDE)
    return F.pixel_unshuffle(halved, FOLD)


def unfold(latents: Tensor) -> Tensor:
    """Latents (n, 12, 16, 16) → pictures (n, 3, 32, 32) in [0, 1]."""
    return F.pixel_shuffle(latents, FOLD).add(1).div(2).clamp(0, 1)


def condition(vectors: Tensor) -> Tensor:
    """Unit vectors (n, d) → what the net is told, of entries about one in size; zero vectors ask for any picture."""
    return vectors * math.sqrt(vectors.shape[1])
