"""Latent diffusion whose cross-attention context is the CLIP vector: the paper's retrieval-augmented model (A.7)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fdgpu.decoding.pipelines.base import PipelineDenoiser, to_unit_interval
from fdgpu.decoding.spaces import ClipSpace, space_of_encoder
from fdgpu.decoding.stage import Batch, Stage
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
        self.side = self._side(size, pipeline.unet.config.sample_size, scale, 768)
        self.size = (self.side * scale, self.side * scale)
        self.most_steps = pipeline.scheduler.config.num_train_timesteps

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        told = batch.beside(self.negative, vectors)[:, None]

        def predict(rows: Tensor, t: Tensor) -> Tensor:
            with self.fast():
                said: Tensor = self.net(rows, t, encoder_hidden_states=told, return_dict=False)[0]
            return said

        shape = (self.net.config.in_channels, self.side, self.side)
        latents = batch.denoise(Stage("decode pictures", self.pipeline.scheduler, shape, predict, batch.steps))
        return batch.in_parts(self._decoded, latents)

    def _decoded(self, latents: Tensor) -> Tensor:
        vae = self.pipeline.vae
        return to_unit_interval(vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0])


def _space(pipeline: Any) -> ClipSpace:
    """RDM holds a whole CLIP, image variations only its vision tower."""
    whole = getattr(pipeline, "clip", None)
    if whole is not None:
        return space_of_encoder(whole.config.vision_config, whole.config.projection_dim)
    tower = pipeline.image_encoder.config
    return space_of_encoder(tower, tower.projection_dim)
