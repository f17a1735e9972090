"""unCLIP (Karlo): vectors of ViT-L/14 → small pictures → larger ones, by a second net without guidance."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fdgpu.decoding.pipelines.base import PipelineDenoiser, to_unit_interval
from fdgpu.decoding.spaces import space_of_encoder
from fdgpu.decoding.stage import Batch, Stage
from fdgpu.errors import InputError

ENLARGING_STEPS = 7


class Unclip(PipelineDenoiser):
    """``UnCLIPImageVariationPipeline``; guidance steers away from a vector that it has learnt."""

    steps, guidance = 25, 8.0
    least_steps = 2  # its scheduler divides by one step less

    def __init__(self, pipeline: Any, size: int | None, negative: Any) -> None:
        space = space_of_encoder(
            getattr(pipeline.image_encoder, "config", None), pipeline.text_proj.config.clip_embeddings_dim
        )
        super().__init__(pipeline, pipeline.decoder, space, negative)
        side = pipeline.super_res_first.config.sample_size
        if size not in (None, side):
            raise InputError(f"size is {size!r}: {self.name} makes pictures of {side} pixels, and of no other size")
        if negative is not None:
            raise InputError(f"negative: {self.name} has learnt its own, leave it out")
        self.size = (side, side)
        self.most_steps = pipeline.decoder_scheduler.config.num_train_timesteps
        self._prompt = lru_cache(maxsize=2)(self._encode_empty)

    def _encode_empty(self, guided: bool) -> tuple[Tensor, Tensor, Tensor]:
        return tuple(self.pipeline._encode_prompt([""], self.device, 1, guided))

    def pictures(self, vectors: Tensor, batch: Batch) -> Tensor:
        """Decode vectors (n, d)."""
        return to_unit_interval(self._enlarged(self._small(vectors, batch).clamp(-1, 1), batch))

    def _small(self, vectors: Tensor, batch: Batch) -> Tensor:
        pooled, states, mask = (part.repeat_interleave(len(vectors), 0) for part in self._prompt(batch.guided))
        context, added = self.pipeline.text_proj(
            image_embeddings=vectors,
            prompt_embeds=pooled.to(vectors),
            text_encoder_hidden_states=states.to(vectors),
            do_classifier_free_guidance=batch.guided,
        )
        mask = F.pad(mask, (self.pipeline.text_proj.config.clip_extra_context_tokens, 0), value=True).to(vectors.device)

        def predict(rows: Tensor, t: Tensor) -> Tensor:
            with self.fast():
                said: Tensor = self.net(rows, t, context, added, attention_mask=mask, return_dict=False)[0]
            return said

        config = self.net.config
        shape = (config.in_channels, config.sample_size, config.sample_size)
        return batch.denoise(Stage("decode pictures", self.pipeline.decoder_scheduler, shape, predict, batch.steps))

    def _enlarged(self, small: Tensor, batch: Batch) -> Tensor:
        first, last = self.pipeline.super_res_first, self.pipeline.super_res_last
        single = small.float()  # the CPU knows no bicubic in half precision
        large = F.interpolate(single, size=self.size, mode="bicubic", align_corners=False, antialias=True).to(small)

        def predict(rows: Tensor, t: Tensor) -> Tensor:
            with self.fast():
                said: Tensor = (last if t == 0 else first)(torch.cat([rows, large], 1), t, return_dict=False)[0]
            return said

        shape = (first.config.in_channels // 2, *self.size)
        scheduler = self.pipeline.super_res_scheduler
        return batch.denoise(Stage("enlarge pictures", scheduler, shape, predict, ENLARGING_STEPS, guided=False))
