"""Latent diffusion whose cross-attention context is the CLIP vector: the paper's retrieval-augmented model (A.7)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fdgpu.decoding.pipelines.base import PipelineDenoiser
from fdgpu.decoding.spaces import ClipSpace, space_of_encoder
from fdgpu.decoding.stage import Batch
from fdgpu.errors import InputError


class Context(PipelineDenoiser):
    """A vector is a context of one token, unconditional is a zero; nothing is retrieved, as in the paper."""

    steps, guidance = 50, 7.5

    def __init__(self, pipeline: Any, size: int | None, negative: Any) -> None:
        super().__init__(pipeline, pipeline.unet, _space(pipeline), negative)
        width = pipeline.unet.config.cross_attention_dim
        if width != self.space.dimension:
            raise InputError(
                f"the UNet of this {self.name} attends to vectors of {width} numbers, its CLIP gives "
                f"{self.space.dimension}: its context is not the CLIP vector"
            )
        scale = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
        self._make_room(size, scale, 768)

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        told = batch.beside(self.negative.to(vectors), vectors)[:, None]

        def predict(rows: Tensor, t: Tensor) -> Tensor:
            with self.fast():
                said: Tensor = self.net(rows, t, encoder_hidden_states=told, return_dict=False)[0]
            return said

        return self._drawn(batch, predict, self._by_vae)


class RetrievalAugmented(Context):
    """``RDMPipeline``, whose own call makes CLIP's vectors unit vectors first, as its training did."""

    length = 1.0


def _space(pipeline: Any) -> ClipSpace:
    """RDM holds a whole CLIP, image variations only its vision tower; either may be loaded without."""
    whole, tower = getattr(pipeline, "clip", None), getattr(pipeline, "image_encoder", None)
    if whole is not None:
        return space_of_encoder(whole.config.vision_config, whole.config.projection_dim)
    if tower is not None:
        return space_of_encoder(tower.config, tower.config.projection_dim)
    return ClipSpace(pipeline.unet.config.cross_attention_dim)
