"""How far a denoised picture is from the true one, as the bundled CLIP sees them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.decoding.bundled import unfold
from fdgpu.embedding import ClipEmbedder


class SeenLoss:
    """1 − the cosine between the vectors of what the net takes the picture for and of the picture itself.

    Squared errors of pixels hardly tell a shirt from a coat; the bundled CLIP does, and who decodes its vectors wants
    pictures that it sees as it saw the ones they came from. Near pure noise the net can only name the mean of all
    pictures that are possible, which looks like none of them: there the loss counts for nothing.
    """

    def __init__(self, clip: ClipEmbedder) -> None:
        self._model, self._preprocess = clip.model.requires_grad_(False), clip.preprocess

    def __call__(self, clean: Tensor, vectors: Tensor, signal: Tensor) -> Tensor:
        """Return the mean over a batch.

        Args:
            clean: (n, 12, 16, 16) latents that the net takes for the clean ones.
            vectors: (n, d) unit vectors of the true pictures.
            signal: (n,) share of the picture in the noisy latents' variance, the weight of each.
        """
        pixels = self._preprocess.normalise(self._preprocess.resize(unfold(clean)), torch.float32)
        seen = F.normalize(self._model.encode_image(pixels), dim=1)
        return (signal * (1 - (seen * vectors).sum(dim=1))).mean()
