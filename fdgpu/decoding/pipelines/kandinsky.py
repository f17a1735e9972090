"""Kandinsky 2.2's decoder: vectors of ViT-bigG/14 → MoVQ latents → pictures."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fdgpu.decoding.pipelines.base import PipelineDenoiser, to_unit_interval
from fdgpu.decoding.spaces import space_named
from fdgpu.decoding.stage import Batch


class Kandinsky(PipelineDenoiser):
    """``KandinskyV22Pipeline``; it holds no CLIP of its own, which is known by the width of its condition."""

    steps, guidance = 50, 4.0

    def __init__(self, pipeline: Any, size: int | None, negative: Any) -> None:
        width = pipeline.unet.config.encoder_hid_dim
        super().__init__(pipeline, pipeline.unet, space_named("ViT-bigG-14:laion2b_s39b_b160k", width), negative)
        scale = pipeline.movq_scale_factor
        self._make_room(size, scale, 512)

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        told = {"image_embeds": batch.beside(self.negative.to(vectors), vectors)}

        def predict(rows: Tensor, t: Tensor) -> Tensor:
            with self.fast():
                said: Tensor = self.net(rows, t, None, added_cond_kwargs=told, return_dict=False)[0]
            return said

        return self._drawn(batch, predict, self._decoded)

    def _decoded(self, latents: Tensor) -> Tensor:
        movq = self.pipeline.movq
        return to_unit_interval(movq.decode(latents.to(movq.dtype), force_not_quantize=True, return_dict=False)[0])
