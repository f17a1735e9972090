"""Kandinsky 2.2's decoder: vectors of ViT-bigG/14 → MoVQ latents → pictures."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fdgpu.decoding.pipelines.base import PipelineDenoiser, to_unit_interval
from fdgpu.decoding.spaces import space_named
from fdgpu.decoding.stage import Batch, Stage


class Kandinsky(PipelineDenoiser):
    """``KandinskyV22Pipeline``; it holds no CLIP of its own, which is known by the width of its condition."""

    steps, guidance = 50, 4.0

    def __init__(self, pipeline: Any, size: int | None, negative: Any) -> None:
        width = pipeline.unet.config.encoder_hid_dim
        super().__init__(pipeline, pipeline.unet, space_named("ViT-bigG-14:laion2b_s39b_b160k", width), negative)
        scale = pipeline.movq_scale_factor
        self.side = self._side(size, pipeline.unet.config.sample_size, scale, 512)
        self.size = (self.side * scale, self.side * scale)
        self.most_steps = pipeline.scheduler.config.num_train_timesteps

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        told = {"image_embeds": batch.beside(self.negative, vectors)}

        def predict(rows: Tensor, t: Tensor) -> Tensor:
            with self.fast():
                said: Tensor = self.net(rows, t, None, added_cond_kwargs=told, return_dict=False)[0]
            return said

        shape = (self.net.config.in_channels, self.side, self.side)
        latents = batch.denoise(Stage("decode pictures", self.pipeline.scheduler, shape, predict, batch.steps))
        return batch.in_parts(self._decoded, latents)

    def _decoded(self, latents: Tensor) -> Tensor:
        return to_unit_interval(self.pipeline.movq.decode(latents, force_not_quantize=True, return_dict=False)[0])
